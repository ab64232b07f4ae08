"""SVHN's cropped digits: ``train_32x32.mat`` and ``test_32x32.mat``, files of MATLAB 5.

Each holds ``X``, uint8 [32, 32, 3, N], and ``y``, [N, 1], where the digit 0 has label 10.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mmvae_jax.data import matlab
from mmvae_jax.data.folders import MissingFiles
from mmvae_jax.types import UserError

SIZE = 32
FOLDERS = ("", "svhn", "SVHN")


def read(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 ``[N, 32, 32, 3]`` and digits int32 ``[N]`` of ``train`` or ``test``.

    Raises:
      UserError: the file is missing, damaged or does not hold what it should.
    """
    path = find(folder, part)
    images, labels = matlab.read(path, ("X", "y"), "a file of SVHN's cropped digits")
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
      MissingFiles: it is not there.
    """
    name = f"{part}_{SIZE}x{SIZE}.mat"
    for below in FOLDERS:
        if (folder / below / name).is_file():
            return folder / below / name
    raise MissingFiles(
        folder,
        f"{folder} holds no {name} (looked for in it and in its subfolder svhn): put SVHN's "
        f"cropped digits, train_{SIZE}x{SIZE}.mat and test_{SIZE}x{SIZE}.mat, into "
        f"{folder / 'svhn'}, or set data.dir to the folder above svhn/",
    )
