"""Arrays from files of MATLAB 5."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy.io

from mmvae_jax.types import UserError

# What SciPy's reader raises where bytes are damaged; its own error has no other base.
_DAMAGE = (
    scipy.io.matlab.MatReadError,
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    EOFError,
    OverflowError,
    MemoryError,
    NotImplementedError,
    struct.error,
    zlib.error,
)


def read(path: Path, names: Sequence[str], what: str) -> list[np.ndarray]:
    """The arrays of these names as they are in the file.

    Args:
      path: of the file.
      names: of its variables.
      what: what it should be, for messages.

    Raises:
      UserError: the file cannot be read, is damaged, or has no such array.
    """
    try:
        with path.open("rb") as file:
            try:
                found = scipy.io.loadmat(file, variable_names=tuple(names))
            except _DAMAGE as error:
                said = " ".join(str(error).split())[:200] or type(error).__name__
                raise UserError(
                    f"{path} cannot be read as a file of MATLAB 5, at byte {file.tell():,} of "
                    f"{path.stat().st_size:,}: {said}; fetch it again"
                ) from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    for name in names:
        if not isinstance(found.get(name), np.ndarray) or found[name].dtype.hasobject:
            raise UserError(
                f"{path} ({path.stat().st_size:,} bytes) has no array {name!r}: truncated, or not "
                f"{what}"
            )
    return [found[name] for name in names]
