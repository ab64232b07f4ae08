"""SVHN's cropped digits: ``train_32x32.mat`` and ``test_32x32.mat``, files of MATLAB 5.

Each holds ``X``, uint8 [32, 32, 3, N], and ``y``, [N, 1], where the digit 0 has label 10.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import scipy.io

from mmvae_jax.types import UserError

SIZE = 32
FOLDERS = ("", "svhn", "SVHN")
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


def read(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 ``[N, 32, 32, 3]`` and digits int32 ``[N]`` of ``train`` or ``test``.

    Raises:
      UserError: the file is missing, damaged or does not hold what it should.
    """
    path = find(folder, part)
    images, labels = _variables(path)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[:3] != (SIZE, SIZE, 3):
        raise UserError(
            f"{path}: X is {images.dtype} {list(images.shape)}, the images of SVHN are uint8 "
            f"[{SIZE}, {SIZE}, 3, N]"
        )
    images = np.ascontiguousarray(images.transpose(3, 0, 1, 2))
    if labels.size != len(images):
        raise UserError(f"{path} holds {len(images)} images, but {labels.size} labels")
    labels = labels.reshape(-1)
    wrong = ~np.isin(labels, np.arange(11))
    if wrong.any():
        row = int(wrong.argmax())
        raise UserError(f"{path}: label {labels[row]} of image {row} is not 1 to 10 (10: digit 0)")
    return images, labels.astype(np.int32) % 10


def find(folder: Path, part: str) -> Path:
    """The file of ``train`` or ``test`` in `folder` or a usual place below it.

    Raises:
      UserError: it is not there.
    """
    name = f"{part}_{SIZE}x{SIZE}.mat"
    for below in FOLDERS:
        if (folder / below / name).is_file():
            return folder / below / name
    raise UserError(
        f"{folder} holds no {name} (looked for in it and in its subfolder svhn): put SVHN's "
        f"cropped digits, train_{SIZE}x{SIZE}.mat and test_{SIZE}x{SIZE}.mat, into "
        f"{folder / 'svhn'}, or set data.dir to the folder above svhn/"
    )


def _variables(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """X and y as they are in the file."""
    try:
        with path.open("rb") as file:
            try:
                found = scipy.io.loadmat(file, variable_names=("X", "y"))
            except _DAMAGE as error:
                said = " ".join(str(error).split())[:200] or type(error).__name__
                raise UserError(
                    f"{path} cannot be read as a file of MATLAB 5, at byte {file.tell():,} of "
                    f"{path.stat().st_size:,}: {said}; fetch it again"
                ) from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    for name in ("X", "y"):
        if not isinstance(found.get(name), np.ndarray) or found[name].dtype.hasobject:
            raise UserError(
                f"{path} ({path.stat().st_size:,} bytes) has no array {name!r}: truncated, or not "
                "a file of SVHN's cropped digits"
            )
    return found["X"], found["y"]
