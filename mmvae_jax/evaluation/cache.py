"""Trained arrays kept in .npz files that say what they belong to. Nothing is pickled."""

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


def path_for(folder: Path, name: str, key: str) -> Path:
    """The file for this key; a name from the data is reduced to harmless letters."""
    safe = re.sub(r"[^A-Za-z0-9_-]+", "_", name)[:60]
    return folder / f"{safe}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"


def read(path: Path, key: str, expected: Any) -> Any | None:
    """The nested dict of arrays in ``path``, or None unless key and all shapes are as expected."""
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
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
    """Writes the nested dict of arrays in one move; a folder that refuses is only logged."""
    flat = traverse_util.flatten_dict(jax.device_get(arrays), sep="/")
    try:
        write_atomically(path, lambda file: np.savez(file, **{_KEY: np.array(key)}, **flat))
    except OSError as error:
        _log.warning("%s was not written (%s): it will be made again next time", path, error)
