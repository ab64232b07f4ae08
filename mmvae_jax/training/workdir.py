"""The folder of a run: made once, and never given to another config's run."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
from jax.experimental import multihost_utils

from mmvae_jax.types import UserError

CONFIG_FILE = "config.json"
CHECKPOINTS = "checkpoints"
_FILES_OF_A_RUN = (CHECKPOINTS, "metrics.jsonl", "results.json")
_SHOWN_DIFFERENCES = 5


def prepare_workdir(path: str | Path, config_json: Mapping[str, Any]) -> None:
    """Makes the folder and its `config.json`, or checks that the run in it is this very one.

    Of `config`, `num_epochs` may have grown and `evaluation` may differ; `config.json` is then
    brought up to date. `modalities` and the dataset's fingerprint must be equal; `command`,
    `versions` and other notes may differ. Called by every process of a run; process 0 writes.

    Args:
      path: the workdir.
      config_json: `{"config", "modalities", "dataset", "command", "versions"}`, JSON values.

    Raises:
      UserError: the folder holds another config's run (names the keys with both values), is not a
        folder, or cannot be written. Nothing has been changed then.
    """
    path = Path(path)
    new = json.loads(json.dumps(config_json))
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(
            f"workdir {path} is a file or lies below one: choose a folder with --workdir"
        ) from error
    except OSError as error:
        raise UserError(
            f"workdir {path} cannot be written ({error.strerror}): choose another with --workdir"
        ) from error
    made = [name for name in _FILES_OF_A_RUN if _holds_something(path / name)]
    if (path / CONFIG_FILE).exists():
        # A config.json without any result is a start that failed or was stopped at once: the
        # corrected command may take its place.
        if made:
            _refuse_other_run(path, read_run(path), new)
    elif made:
        raise UserError(
            f"workdir {path} holds {', '.join(made)} but no {CONFIG_FILE}, so whose run it is "
            "cannot be told: choose another with --workdir"
        )
    # Nobody writes before everybody has looked.
    _barrier("workdir checked")
    if jax.process_index() == 0:
        write_atomically(path / CONFIG_FILE, json.dumps(new, indent=2) + "\n")
    _barrier("workdir written")


def read_run(path: str | Path) -> dict[str, Any]:
    """The `config.json` of a workdir.

    Raises:
      UserError: there is none, or it is not JSON.
    """
    file = Path(path) / CONFIG_FILE
    try:
        run = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"{path} holds no run: {CONFIG_FILE} cannot be read ({error.strerror}); "
            "train one first, or check --workdir"
        ) from error
    except ValueError as error:
        raise UserError(
            f"{file} is damaged ({error}): restore it or use another workdir"
        ) from error
    if not isinstance(run, dict) or not isinstance(run.get("config"), dict):
        raise UserError(f"{file} is not the description of a run: use another workdir")
    return run


def write_atomically(path: str | Path, text: str) -> None:
    """Writes a file so that a reader, or a kill at any moment, sees the old one or the new one."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _holds_something(path: Path) -> bool:
    """Whether a file has content, or a folder a checkpoint (a folder named by its step)."""
    if path.is_dir():
        return any(entry.name.isdigit() for entry in path.iterdir())
    return path.is_file() and path.stat().st_size > 0


def _refuse_other_run(path: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    differences = list(_differences(_identity(old), _identity(new)))
    before, now = old["config"].get("num_epochs"), new["config"].get("num_epochs")
    if before is not None and now is not None and now < before:
        differences.insert(0, f"config.num_epochs was {before}, is {now} (it may only grow)")
    if differences:
        more = len(differences) - _SHOWN_DIFFERENCES
        shown = "; ".join(differences[:_SHOWN_DIFFERENCES]) + (
            f"; and {more} more" if more > 0 else ""
        )
        raise UserError(f"workdir {path} holds another run: {shown}: choose another with --workdir")


def _identity(run: Mapping[str, Any]) -> dict[str, Any]:
    """What must be equal for two runs to be one."""
    config = {k: v for k, v in run["config"].items() if k not in ("num_epochs", "evaluation")}
    return {
        "config": config,
        "modalities": run.get("modalities"),
        "dataset.fingerprint": (run.get("dataset") or {}).get("fingerprint"),
    }


def _differences(old: Any, new: Any, key: str = "") -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in old | new:
            inner = f"{key}.{name}" if key else name
            if name not in old:
                yield f"{inner} was not set, is {new[name]!r}"
            elif name not in new:
                yield f"{inner} was {old[name]!r}, is not set"
            else:
                yield from _differences(old[name], new[name], inner)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (before, now) in enumerate(zip(old, new, strict=True)):
            yield from _differences(before, now, f"{key}[{index}]")
    elif old != new:
        yield f"{key} was {old!r}, is {new!r}"


def _barrier(name: str) -> None:
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)
