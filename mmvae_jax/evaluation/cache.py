"""Trained arrays kept in .npz files that say what they belong to. Nothing is pickled.

Several runs may use a folder at once: a file appears whole or not at all, and of two writers of
the same arrays the last one wins.
"""

from __future__ import annotations

import hashlib
import logging
import re
import zipfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from mmvae_jax.run_files import write_atomically

_log = logging.getLogger(__name__)
_KEY = "__key__"


class Cache:
    """Folders in which arrays are looked for, and kept in the first one that takes them."""

    def __init__(self, *folders: Path) -> None:
        self._folders = folders
        self._refused: set[Path] = set()

    def find(self, name: str, key: str, expected: Any) -> tuple[Any, Path] | None:
        """(nested dict of arrays, its file), or None where no folder has it whole: see `read`."""
        for folder in self._folders:
            path = path_for(folder, name, key)
            arrays = read(path, key, expected)
            if arrays is not None:
                return arrays, path
        return None

    def keep(self, name: str, key: str, arrays: Any) -> Path | None:
        """The file they are in now; a folder that refuses is logged once and not tried again."""
        for folder, following in zip(self._folders, [*self._folders[1:], None], strict=True):
            if folder in self._refused:
                continue
            path = path_for(folder, name, key)
            try:
                write(path, key, arrays)
            except OSError as error:
                self._refused.add(folder)
                instead = f"{following} is used instead" if following else "it is made again"
                reason = error.strerror or error
                _log.warning("%s was not written (%s): %s", path, reason, instead)
            else:
                return path
        return None


def path_for(folder: Path, name: str, key: str) -> Path:
    """The file for this key; a name from the data is reduced to harmless letters."""
    safe = re.sub(r"[^A-Za-z0-9_-]+", "_", name)[:60]
    return folder / f"{safe}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"


def read(path: Path, key: str, expected: Any) -> Any | None:
    """The nested dict of arrays in ``path``, or None unless key and all shapes are as expected."""
    try:
        file = path.open("rb")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        _log.warning("%s cannot be read (%s) and is not used", path, error.strerror)
        return None
    try:
        with file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        _log.warning("%s is damaged and not used (%s)", path, error)
        return None
    if str(arrays.pop(_KEY, "")) != key:
        _log.warning("%s belongs to another dataset or recipe and is not used", path)
        return None
    wanted = traverse_util.flatten_dict(expected, sep="/")
    if {name: (value.shape, value.dtype) for name, value in arrays.items()} != {
        name: (value.shape, value.dtype) for name, value in wanted.items()
    }:
        _log.warning("%s holds arrays of other shapes and is not used", path)
        return None
    return traverse_util.unflatten_dict(
        {name: jnp.asarray(value) for name, value in arrays.items()}, sep="/"
    )


def write(path: Path, key: str, arrays: Any) -> None:
    """Writes the nested dict of arrays in one move; OSError where that cannot be."""
    flat = traverse_util.flatten_dict(jax.device_get(arrays), sep="/")
    write_atomically(path, lambda file: np.savez(file, **{_KEY: np.array(key)}, **flat))
