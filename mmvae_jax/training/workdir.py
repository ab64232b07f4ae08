"""The folder of a run: made once, and never given to another config's run."""

from __future__ import annotations

import contextlib
import copy
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from mmvae_jax.run_files import CONFIG_FILE, RESULTS_FILE, read_run, write_atomically
from mmvae_jax.types import UserError

try:
    import fcntl
except ImportError:  # not on Windows, where nobody is kept from starting a run twice
    fcntl = None

CHECKPOINTS = "checkpoints"
LOCK_FILE = ".lock"
_FILES_OF_A_RUN = (CHECKPOINTS, "metrics.jsonl", RESULTS_FILE)
_SHOWN_DIFFERENCES = 5
# (section, key) of the config: how data come and where copies lie, not what they are.
_NOT_OF_THE_RUN = (("training", "data"), ("data", "download"), ("data", "cache_dir"))
# What runs did that began before configs had these keys: a key that is not there has this value,
# whatever has become the default since.
_BEFORE_THE_KEY = {
    "data.dir": "",
    "data.split": "official",
    "training.augment.flip": "",
    "training.augment.flip_together": True,
    "training.augment.shift": 0,
}


def prepare_workdir(path: str | Path, config_json: Mapping[str, Any]) -> None:
    """Makes the folder and its `config.json`, or checks that the run in it is this very one.

    Of `config`, `num_epochs` may have grown, `evaluation` may differ, and so may `training.data`,
    `data.download` and `data.cache_dir`, which change no number; a key that the run's config did
    not have yet must be what the run did without it. `config.json` is then brought up to date.
    `modalities` and the dataset's fingerprint must be equal; `command`, `versions` and other notes
    may differ. Called by every process of a run; process 0 writes.

    Args:
      path: the workdir.
      config_json: `{"config", "modalities", "dataset", "command", "versions"}`, JSON values.

    Raises:
      UserError: the folder holds another config's run (names the keys with both values), is in use
        (see `locked`), is not a folder, or cannot be written. The run in it is as it was then.
    """
    path = Path(path)
    _require_writable(path)
    with locked(path):
        _claim(path, config_json)


def _claim(path: Path, config_json: Mapping[str, Any]) -> None:
    new = json.loads(json.dumps(config_json))
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


@contextlib.contextmanager
def locked(path: str | Path) -> Iterator[None]:
    """Keeps a workdir from a second start of its run while the block runs; not reentrant.

    Process 0 holds an advisory lock on `.lock`, which the system takes back when that process
    ends, however it ends; the file stays. Entered by every process of a run. A platform or file
    system without such locks keeps nobody out.

    Raises:
      UserError: another start holds it.
    """
    path = Path(path)
    with contextlib.ExitStack() as stack:
        free = jax.process_index() != 0 or _lock(path / LOCK_FILE, stack)
        if jax.process_count() > 1:
            free = bool(multihost_utils.broadcast_one_to_all(np.int32(free)))
        if not free:
            raise UserError(
                f"workdir {path} is in use by another start of its run: wait for its end, "
                "or choose another with --workdir"
            )
        yield


def _lock(path: Path, stack: contextlib.ExitStack) -> bool:
    """Whether the lock on this file is ours until the stack is left."""
    if fcntl is None:
        return True
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        file = stack.enter_context(path.open("ab"))
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror})") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        pass
    return True


def _require_writable(path: Path) -> None:
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
    config = _with_later_keys(run["config"])
    config = {k: v for k, v in config.items() if k not in ("num_epochs", "evaluation")}
    for section, key in _NOT_OF_THE_RUN:
        if isinstance(config.get(section), dict):
            config[section] = {k: v for k, v in config[section].items() if k != key}
    return {
        "config": config,
        "modalities": run.get("modalities"),
        "dataset.fingerprint": (run.get("dataset") or {}).get("fingerprint"),
    }


def _with_later_keys(config: Mapping[str, Any]) -> dict[str, Any]:
    """A copy that has every key of `_BEFORE_THE_KEY`."""
    filled = copy.deepcopy(dict(config))
    for key, value in _BEFORE_THE_KEY.items():
        *sections, last = key.split(".")
        section: Any = filled
        for name in sections:
            section = section.setdefault(name, {}) if isinstance(section, dict) else None
        if isinstance(section, dict):
            section.setdefault(last, value)
    return filled


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
