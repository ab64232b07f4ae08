"""The files of the 102 flowers of Oxford, and their captions.

jpg/image_00001.jpg ...              imagelabels.mat: labels, the class of each, 1 to 102
setid.mat                            trnid, valid, tstid: numbers of images, from 1
text_c10/CLASS/image_00001.txt       ten lines
trainvalclasses.txt, testclasses.txt CLASS, one a line: no class is in both
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from mmvae_jax.data import captioned, matlab
from mmvae_jax.data.captioned import CaptionedImages
from mmvae_jax.types import UserError

NAME = "flowers"
FILES = (
    "jpg/ (image_00001.jpg ...), imagelabels.mat and setid.mat of Oxford's 102 flowers, and "
    "text_c10/ of their captions (for data.split=classes with their trainvalclasses.txt and "
    "testclasses.txt)"
)
SPLITTINGS = ("official", "classes")
IMAGES, LABELS, SPLITS = "jpg", "imagelabels.mat", "setid.mat"
_KEYS = {"train": "trnid", "validation": "valid", "test": "tstid"}
# As they are unpacked, flowers and captions may lie in folders of their own.
_PLACES = ("102flowers", "flowers", "cvpr2016_flowers")


def read(folder: Path, split: str = "official") -> CaptionedImages:
    """Reads lists and captions.

    Args:
      folder: where they are.
      split: ``official``, by `SPLITS`, or ``classes``, by the lists of the captions: see
        `captioned.by_class`.

    Raises:
      UserError: files are missing, damaged or do not match.
    """
    root = find(folder, IMAGES)
    label = _label(find(folder, LABELS))
    parts = _parts(find(folder, SPLITS), len(label)) if split == "official" else {}
    texts = find(folder, captioned.TEXTS)
    found = {path.stem: path for path in texts.glob("*/*.txt")}
    stems = [f"image_{number:05d}" for number in range(1, len(label) + 1)]
    paths = [found.get(stem, texts / "CLASS" / f"{stem}.txt") for stem in stems]
    captions = captioned.read_captions(paths)
    if split == "classes":
        classes = [path.parent.name for path in paths]
        parts = captioned.by_class(classes, functools.partial(find, folder), captioned.TEXTS)
    return CaptionedImages(
        dataset=NAME,
        folder=folder,
        root=root,
        names=tuple(f"{stem}.jpg" for stem in stems),
        captions=captions,
        parts=parts,
        label=label,
        num_classes=int(label.max()) + 1,
    )


def find(folder: Path, name: str) -> Path:
    """What has this name in `folder`, or in a usual place below it.

    Raises:
      MissingFiles: it is not there.
    """
    return captioned.find(folder, _PLACES, name, FILES)


def _label(path: Path) -> np.ndarray:
    """Classes int32 ``[P]`` from 0."""
    (label,) = _numbers(path, ("labels",))
    if label.min() < 1:
        raise UserError(f"{path}: classes are numbered from 1, there is {label.min()}")
    return label.astype(np.int32) - 1


def _parts(path: Path, count: int) -> dict[str, np.ndarray]:
    """Numbers of images from 0 by split."""
    parts = {}
    times = np.zeros(count + 1, np.int64)
    found = _numbers(path, tuple(_KEYS.values()))
    for (part, key), numbers in zip(_KEYS.items(), found, strict=True):
        if numbers.min() < 1 or numbers.max() > count:
            wrong = numbers.max() if numbers.max() > count else numbers.min()
            raise UserError(
                f"{path}: {key} names image {wrong}, {LABELS} has the classes of 1 to {count:,}"
            )
        times += np.bincount(numbers, minlength=count + 1)
        parts[part] = np.sort(numbers) - 1
    if times.max() > 1:
        raise UserError(f"{path} names image {times.argmax()} {times.max()} times")
    return parts


def _numbers(path: Path, names: tuple[str, ...]) -> list[np.ndarray]:
    """Arrays of whole numbers, int64 ``[N]``; MATLAB may have stored them as floats."""
    arrays = []
    for name, found in zip(names, matlab.read(path, names, "of Oxford's flowers"), strict=True):
        real = found.dtype.kind in "iuf" and np.isfinite(found).all()
        if not found.size or not real or (np.rint(found) != found).any():
            raise UserError(f"{path}: {name} must be whole numbers, and not be empty")
        arrays.append(found.reshape(-1).astype(np.int64))
    return arrays
