"""The command line: ``python -m mmvae_jax.main --config=configs/mmvae_plus.py``."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags
from absl import logging as absl_logging
from ml_collections import config_flags

from mmvae_jax import command_line, entry_point, runner
from mmvae_jax.training import runtime
from mmvae_jax.types import UserError

MODES = ("train", "evaluate", "report", "impute", "sample")

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Config file, FILE.py or FILE.py:key=value,...; needed by --mode=train."
)
_MODE = flags.DEFINE_enum(
    "mode", "train", MODES, "train: trains, evaluates, reports. The others use a trained workdir."
)
_WORKDIR = flags.DEFINE_string("workdir", "", "Folder of the run [runs/<config>-<dataset>].")
_INPUT = flags.DEFINE_string("input", "", "impute: .npz, or folder of .npy, with gaps.")
_OUTPUT = flags.DEFINE_string("output", "", "impute, sample: the .npz to write.")
_NUM_SAMPLES = flags.DEFINE_integer(
    "num_samples",
    64,
    "sample: number of items; impute: draws averaged per filled-in value.",
    lower_bound=1,
)
_DRAWS = flags.DEFINE_integer("draws", 0, "impute: draws to write, with their spread.")
_PRIVATE_SCALE = flags.DEFINE_float(
    "private_scale", 1.0, "sample: alpha, factor on the scale of the private prior."
)
_STEP = flags.DEFINE_string("step", "", "Checkpoint: a number, best, or empty for the latest.")
_COORDINATOR = flags.DEFINE_string(
    "coordinator_address", "", "host:port of process 0, or auto on a TPU pod; empty: one process."
)
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "How many processes there are.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Which of them this one is, from 0.")


def main(_: Sequence[str]) -> None:
    """Runs one mode."""
    runtime.configure()
    runtime.initialize_distributed(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
    absl_logging.set_verbosity(absl_logging.WARNING)  # not what Orbax notes of every checkpoint
    absl_logging.get_absl_handler().setFormatter(logging.Formatter("%(message)s"))
    logging.getLogger("mmvae_jax").setLevel(logging.INFO)
    if _MODE.value == "train":
        if _CONFIG.value is None:
            raise UserError("--mode=train needs --config, such as --config=configs/mmvae_plus.py")
        config = _CONFIG.value.to_dict()
        workdir = Path(_WORKDIR.value or runner.default_workdir(command_line.config_name(), config))
        runner.train(config, workdir, **command_line.origin(sys.argv))
        return
    workdir = Path(_WORKDIR.value or _workdir_of_config())
    if _MODE.value == "evaluate":
        runner.evaluate(workdir, command_line.chosen("evaluation"), step=_STEP.value)
    elif _MODE.value == "report":
        runner.report(workdir, step=_STEP.value)
    elif _MODE.value == "impute":
        files = (_INPUT.value, _OUTPUT.value)
        runner.impute(workdir, *files, _NUM_SAMPLES.value, draws=_DRAWS.value, step=_STEP.value)
    else:
        runner.sample(
            workdir, _OUTPUT.value, _NUM_SAMPLES.value, _PRIVATE_SCALE.value, step=_STEP.value
        )


def _workdir_of_config() -> Path:
    if _CONFIG.value is None:
        raise UserError(f"--mode={_MODE.value} needs --workdir (or the --config that made it)")
    return runner.default_workdir(command_line.config_name(), _CONFIG.value.to_dict())


def run() -> None:
    """Entry point: exit status 2 and one line on bad input."""
    with entry_point.one_line_errors(runtime.leave):
        try:
            app.run(main, flags_parser=command_line.parse)
        except UserError:
            raise
        except Exception:
            traceback.print_exc()
            runtime.leave(1)  # one of several processes must not wait for the others


if __name__ == "__main__":
    run()
