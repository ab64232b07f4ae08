"""What the modes of the command line do: train, evaluate, report, impute, sample."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import logging
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from mmvae_jax import configuration, data, evaluation, inference, models, training
from mmvae_jax.training import runtime
from mmvae_jax.types import UserError

_log = logging.getLogger(__name__)


def default_workdir(config_file: str, config: Mapping[str, Any]) -> Path:
    """``runs/<config>-<dataset>``."""
    return Path("runs") / f"{config_file}-{config['data']['name']}"


def train(
    config: Mapping[str, Any],
    workdir: Path,
    *,
    command: str = "",
    defaults: Mapping[str, Any] | None = None,
    picked: Mapping[str, Any] | None = None,
) -> None:
    """Trains (or continues, or leaves a finished run as it is), then evaluates and reports.

    Args:
      config: a whole config as plain values.
      workdir: the run's folder; see `training.workdir.prepare_workdir` for what is refused.
      command: the command line, kept in ``config.json``.
      defaults: the config before anything was chosen, such as ``get_config().to_dict()`` of a file
        of ``configs/``; what differs is kept, too, and marked in the report. From a config alone it
        cannot be told.
      picked: the config with what its file's argument chose; what differs was set by flags.

    Raises:
      UserError: anything in the config, the data or the workdir that does not fit.
    """
    configuration.validate(config)
    dataset = _load_dataset(config)
    specs = models.specs_from_config(config["model"], dataset.specs)
    model = models.build(config, specs)
    model.check()
    _log.info("data: %s", dataset.provenance)
    dataset = dataclasses.replace(dataset, specs=specs)
    for line in data.table(dataset).splitlines():
        _log.info("%s", line)
    settings = ConfigDict(config)
    training.check(model, dataset, settings)
    evaluation.check(settings, model.names)
    about = _description(config, specs, dataset, command)
    about |= {} if defaults is None else {"changed": configuration.changed(config, defaults)}
    about |= {} if picked is None else {"flags": sorted(configuration.changed(config, picked))}
    training.prepare_workdir(workdir, about)
    validate = evaluation.validation_bound(model, dataset, settings)
    result = training.fit(model, dataset, settings, workdir, validate=validate)
    _log.info("trained %d steps in %.0f s%s", result.steps, result.seconds, _waited(result))
    if jax.process_index() == 0:
        evaluation.write_results(
            workdir / evaluation.RESULTS_FILE,
            {"seconds/train": evaluation.Result(value=result.seconds, how="wall clock")},
            {},
            merge=True,
        )
    rows = dataset.drawn()
    _evaluate_and_report(model, result.state.variables, rows, settings, workdir, result.steps)


def evaluate(workdir: Path, settings: Mapping[str, Any], *, step: str = "") -> None:
    """Evaluates a trained run again and draws its figures.

    Args:
      workdir: the run's folder.
      settings: values for the section ``evaluation`` in place of the run's own.
      step: the checkpoint, a number, "best" or "" for the latest.
    """
    run = training.read_run(workdir)
    config = dict(run["config"])
    config["evaluation"] = {**config["evaluation"], **settings}
    configuration.validate(config)
    trained = inference.load(workdir, step=_step(step))
    dataset = trained.dataset()
    _evaluate_and_report(
        trained.model, trained.variables, dataset, ConfigDict(config), workdir, trained.step
    )


def report(workdir: Path, *, step: str = "") -> None:
    """Draws the figures of a trained and evaluated run, and writes its page, again.

    Numbers that were measured at another step than the checkpoint's are left out.

    Args:
      workdir: the run's folder.
      step: the checkpoint, a number, "best" or "" for the latest.
    """
    run = training.read_run(workdir)
    trained = inference.load(workdir, step=_step(step))
    dataset = trained.dataset()
    results = {"step": evaluation.Result(value=trained.step, how="training step of the parameters")}
    config = ConfigDict(run["config"])
    # Whatever was measured last, this mode is for the page of the test rows.
    config.evaluation.update(split="test", figures=True)
    _write_report(trained.model, trained.variables, dataset, config, workdir, results)


def impute(
    workdir: Path,
    source: str,
    output: str,
    num_samples: int,
    *,
    draws: int = 0,
    step: str = "",
) -> None:
    """Fills in the missing modalities of an .npz or a folder of .npy files.

    What is written has all the arrays that were read, their gaps filled (see
    `inference.Trained.impute`), which rows were there (``<name>__present``), an embedding of every
    item (``shared__embedding``, and ``<name>__embedding`` of private codes), and an estimate of log
    p of what is present by item (``joint__log_likelihood``, in nats).

    Args:
      workdir: the run's folder.
      source: the file or folder to read.
      output: the .npz to write.
      num_samples: draws for everything that is estimated.
      draws: how many draws to write, too.
      step: the checkpoint, a number, "best" or "" for the latest.
    """
    if not source or not output:
        raise UserError("--mode=impute needs --input=FILE.npz and --output=FILE.npz")
    target = _new_file(output)
    trained = inference.load(workdir, step=_step(step))
    items = data.read_items(source, trained.model.specs, trained.config["data"])
    found = {**items.beside, **trained.impute(items, num_samples, draws=draws)}
    found |= {f"{name}__present": present for name, present in items.present.items()}
    for block, codes in trained.encode(items).items():
        found[f"{block.removeprefix('private/')}__embedding"] = codes
    try:
        found["joint__log_likelihood"] = trained.log_likelihood(items, num_samples=num_samples)
    except NotImplementedError as reason:
        _log.info("log-likelihoods are left out: %s", reason)
    _write_npz(target, found)
    _log.info("wrote %s: %s", target, _shapes(found))


def sample(
    workdir: Path, output: str, num_samples: int, private_scale: float, *, step: str = ""
) -> None:
    """Writes items drawn from the prior to an .npz, one array per modality."""
    if not output:
        raise UserError("--mode=sample needs --output=FILE.npz")
    target = _new_file(output)
    if not private_scale >= 0:
        raise UserError(f"--private_scale={private_scale}: must not be negative")
    trained = inference.load(workdir, step=_step(step))
    drawn = trained.generate(num_samples, private_scale=private_scale)
    _write_npz(target, drawn)
    _log.info("wrote %s: %s", target, _shapes(drawn))


def _evaluate_and_report(
    model: Any, variables: Any, dataset: Any, config: ConfigDict, workdir: Path, step: int
) -> None:
    results = evaluation.evaluate(model, variables, dataset, config, workdir, step=step)
    if jax.process_index() == 0:
        _write_report(model, variables, dataset, config, workdir, results)


def _write_report(
    model: Any, variables: Any, dataset: Any, config: ConfigDict, workdir: Path, results: Any
) -> None:
    from mmvae_jax.report import write_report  # here: the first step need not wait for Matplotlib

    path = write_report(model, variables, dataset, config, workdir, results)
    _log.info("report: %s", path)


def _waited(result: training.FitResult) -> str:
    """How much of the training time was spent on data, if anything is known of it."""
    share = result.data_wait_fraction
    return "" if share is None else f"; data wait {share:.1%} of training"


def _load_dataset(config: Mapping[str, Any]) -> Any:
    return data.load(config["data"]["name"], config["data"], seed=config["data"]["seed"])


def _description(
    config: Mapping[str, Any], specs: Any, dataset: Any, command: str
) -> dict[str, Any]:
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
    versions = {name: importlib.metadata.version(name) for name in packages}
    return {
        "config": json.loads(json.dumps(config)),
        "modalities": [spec.to_json() for spec in specs],
        "dataset": {
            "name": dataset.name,
            "fingerprint": dataset.fingerprint,
            "provenance": dataset.provenance,
        },
        "command": command,
        "versions": {"python": platform.python_version(), **versions},
        "hardware": runtime.hardware(),
    }


def _step(text: str) -> int | str | None:
    if text in ("", "latest"):
        return None
    if text == "best" or text.isdigit():
        return int(text) if text.isdigit() else text
    raise UserError(f"--step={text}: must be a number, best, or latest")


def _new_file(output: str) -> Path:
    path = Path(output)
    if path.exists():
        raise UserError(f"--output={output} exists already: choose another name")
    if path.suffix != ".npz":
        raise UserError(f"--output={output}: must end in .npz")
    if not path.parent.is_dir():
        raise UserError(f"--output={output}: the folder {path.parent} does not exist")
    return path


def _write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    try:
        training.write_atomically(path, lambda file: np.savez_compressed(file, **arrays))
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror})") from error


def _shapes(arrays: Mapping[str, np.ndarray]) -> str:
    return ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items())
