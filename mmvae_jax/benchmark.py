"""How fast every model trains: ``python -m mmvae_jax.benchmark``.

Each config's own training step at its own batch size, on some rows of its own data set. Nothing is
validated, saved or evaluated, and no compiled program of an earlier start is used.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict
from tqdm import tqdm

from mmvae_jax import configuration, data, entry_point, models, training
from mmvae_jax.training import runtime
from mmvae_jax.training.setup import Setup
from mmvae_jax.types import UserError

# Rows of the data set: a step takes as long whatever the number of rows that it draws from.
_ROWS = {"num_train": 4096, "num_validation": 100, "num_test": 100}
_WARM_UP = 2  # steps after the first one, which compiles
_BLOCK = 5  # steps dispatched at once
_CONFIG = "def get_config("  # in every file that is one, not in what these share
_HEADING = ("config", "data", "batch", "compile s", "steps/s", "examples/s", "relative")


@dataclasses.dataclass(frozen=True)
class Speed:
    """One row of the table.

    Attributes:
      config: name of the config file, with its argument.
      dataset: name of the data set.
      batch_size: examples in a step.
      compile_seconds: until the first step was made, initialisation included.
      steps_per_second: over the timed steps.
    """

    config: str
    dataset: str
    batch_size: int
    compile_seconds: float
    steps_per_second: float

    @property
    def examples_per_second(self) -> float:
        """Steps per second times the batch size."""
        return self.steps_per_second * self.batch_size


def measure(
    name: str, config: Mapping[str, Any], steps: int, advance: Callable[[int], Any] = lambda n: None
) -> Speed:
    """Times the training step of one validated config.

    Args:
      name: what the row is called.
      config: a whole config as plain values.
      steps: how many are timed, after the first one and some warm-up.
      advance: called with the number of timed steps just made.

    Raises:
      UserError: the data cannot be read, the model cannot be built, or it cannot be trained.
    """
    config = _shortened(config)
    config["training"]["log_every"] = _BLOCK
    dataset = data.load(config["data"]["name"], config["data"], seed=config["data"]["seed"])
    model = models.build(config, models.specs_from_config(config["model"], dataset.specs))
    model.check()
    setup = Setup.from_config(model, dataset, ConfigDict(config))
    advance_by = setup.advance()

    began, made = time.perf_counter(), 0
    state, halted = setup.new_state(), setup.not_halted()

    def make(count: int) -> None:
        nonlocal state, halted, made
        state, halted, summary = advance_by(state, halted, made, made + count)
        if int(summary.steps) < count:  # waits for it, too
            raise UserError(f"the loss is not finite at step {made + int(summary.steps)}")
        made += count

    make(1)
    compile_seconds = time.perf_counter() - began
    make(_WARM_UP)
    began = time.perf_counter()
    for start in range(0, steps, _BLOCK):
        count = min(_BLOCK, steps - start)
        make(count)
        advance(count)
    seconds = time.perf_counter() - began
    return Speed(name, dataset.name, config["batch_size"], compile_seconds, steps / seconds)


def _shortened(config: Mapping[str, Any]) -> dict[str, Any]:
    """A copy whose data set has `_ROWS` rows at most, where it can be told how many.

    It has more epochs where so few rows might not make the steps of the warm-up.
    """
    config = copy.deepcopy(dict(config))
    for key, most in _ROWS.items():
        if key in config["data"]:
            config["data"][key] = min(config["data"][key] or most, most)
    config["num_epochs"] = max(config["num_epochs"], config["optimizer"]["warmup_steps"] + 1)
    return config


def load_config(text: str) -> tuple[str, dict[str, Any]]:
    """(name, validated config) of ``FILE.py`` or ``FILE.py:key=value,...``."""
    config = configuration.read(text)
    configuration.validate(config)
    path, _, argument = text.partition(":")
    return Path(path).stem + (f":{argument}" if argument else ""), config


def row(speed: Speed, first: Speed, widths: Sequence[int]) -> str:
    """A row of the table; the last column is its examples per second over those of ``first``."""
    cells = (
        speed.config,
        speed.dataset,
        f"{speed.batch_size}",
        f"{speed.compile_seconds:.1f}",
        f"{speed.steps_per_second:.2f}",
        f"{speed.examples_per_second:.0f}",
        f"{speed.examples_per_second / first.examples_per_second:.2f}",
    )
    return _aligned(cells, widths)


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Two columns of text, then numbers."""
    padded = [
        f"{cell:<{width}}" if index < 2 else f"{cell:>{width}}"
        for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(padded).rstrip()


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = entry_point.Parser(prog="python -m mmvae_jax.benchmark", description=__doc__)
    parser.add_argument(
        "--config",
        action="extend",
        nargs="+",
        help="FILE.py or FILE.py:key=value,...; again for more of them [all of configs/].",
    )
    parser.add_argument("--steps", type=int, default=20, help="Timed steps of each config [20].")
    parser.add_argument("--output", default="", help="Also write the table to this .json.")
    arguments = parser.parse_args(argv)
    if arguments.steps < 1:
        raise UserError(f"--steps={arguments.steps}: must be at least 1")
    output = Path(arguments.output)
    if arguments.output and not output.parent.is_dir():
        raise UserError(f"--output={output}: the folder {output.parent} does not exist")
    return arguments


def _all_configs() -> list[str]:
    found = [path for path in Path("configs").glob("*.py") if _CONFIG in path.read_text("utf-8")]
    if not found:
        raise UserError("there is no configs/*.py here: name the files with --config=FILE.py")
    return sorted(map(str, found))


def main(argv: Sequence[str]) -> list[Speed]:
    """Times the configs of a command line, prints the table, and returns it."""
    arguments = _arguments(argv)
    configs = [load_config(text) for text in arguments.config or _all_configs()]
    widths = [max(len(cell), 9) for cell in _HEADING]
    widths[0] = max(widths[0], *(len(name) for name, _ in configs))
    widths[1] = max(widths[1], *(len(config["data"]["name"]) for _, config in configs))
    tqdm.write(_aligned(_HEADING, widths))
    speeds: list[Speed] = []
    with tqdm(total=arguments.steps * len(configs), unit="step", disable=None) as progress:
        for name, config in configs:
            progress.set_postfix_str(name)
            try:
                speeds.append(measure(name, config, arguments.steps, progress.update))
            except UserError as error:
                raise UserError(f"{name}: {error}") from error
            tqdm.write(row(speeds[-1], speeds[0], widths))
    if arguments.output:
        _write(Path(arguments.output), speeds, arguments.steps)
    return speeds


def _write(path: Path, speeds: Sequence[Speed], steps: int) -> None:
    device = jax.devices()[0]
    content = {
        "device": f"{len(jax.devices())} x {device.device_kind} ({device.platform})",
        "machine": platform.platform(),
        "jax": jax.__version__,
        "steps": steps,
        "speeds": [
            {**dataclasses.asdict(speed), "examples_per_second": speed.examples_per_second}
            for speed in speeds
        ],
    }
    try:
        training.write_atomically(path, json.dumps(content, indent=1) + "\n")
    except OSError as error:
        raise UserError(f"--output={path} cannot be written ({error.strerror})") from error


def run() -> None:
    """Entry point: exit status 2 and one line on bad input."""
    runtime.configure()
    # A program from the cache would make the seconds of compilation those of reading a file.
    jax.config.update("jax_enable_compilation_cache", False)
    with entry_point.one_line_errors(runtime.leave):
        main(sys.argv[1:])


if __name__ == "__main__":
    run()
