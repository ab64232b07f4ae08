"""PolyMNIST as published: ``train/m0/0.0.png`` ... ``test/m4/...``, files named ``j.digit.png``.

File j.digit.png of every modality folder belongs to one tuple. To read 350,000 files takes
more than a minute: it is done once (see `prepared`).
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mmvae_jax.data import images, prepared
from mmvae_jax.types import UserError

_VERSION = 1  # of the prepared bytes

# (j, digit): names one tuple.
Key = tuple[int, int]


def is_published(folder: Path) -> bool:
    """Whether `folder` looks like the published layout."""
    return any((folder / part).is_dir() for part in ("train", "test"))


def list_tuples(folder: Path, part: str, names: tuple[str, ...]) -> np.ndarray:
    """Keys ``[N, 2]`` (j, digit) of the tuples of ``train`` or ``test``, in numerical order.

    Raises:
      UserError: a modality folder is missing or empty, a file name cannot be understood, or a
        tuple lacks a modality.
    """
    found = {name: _keys(folder / part / name) for name in names}
    for name in names[1:]:
        odd = found[names[0]] ^ found[name]
        if odd:
            key = min(odd)
            has, lacks = (names[0], name) if key in found[names[0]] else (name, names[0])
            raise UserError(
                f"{folder / part}: {_file_name(key)} is in {has} but not in {lacks} "
                f"({len(odd)} such files); every tuple needs every modality"
            )
    return np.array(sorted(found[names[0]]), np.int64).reshape(-1, 2)


def read_tuples(
    folder: Path, part: str, name: str, keys: np.ndarray, size: int, above: Path
) -> np.ndarray:
    """Images of one modality for the tuples `keys`, memory-mapped: uint8 ``[N, size, size, 3]``.

    Args:
      folder: the one that looks like the published layout.
      part: ``train`` or ``test``.
      name: of the modality.
      keys: what `list_tuples` gives.
      size: pixels of a side.
      above: the folder that prepared arrays are kept in.

    Raises:
      UserError: a file is missing, damaged or of another shape; nowhere to store.
    """
    place = folder / part / name
    files = [_file_name(key) for key in keys.tolist()]
    wanted = set(files)
    with os.scandir(place) as entries:
        sources = {entry.name: entry.stat() for entry in entries if entry.name in wanted}
    recipe = prepared.Recipe(
        name=f"polymnist-{part}-{name}",
        version=_VERSION,
        settings={"size": size},
        sources=prepared.signature(sources),
        count=len(files),
        shapes={"image": (size, size, 3)},
    )

    def make() -> Iterator[prepared.Block]:
        paths = [place / file for file in files]
        for block in images.read_blocks(paths, functools.partial(images.read_square, size=size)):
            yield {"image": block}

    return prepared.obtain(above, recipe, make).arrays["image"]


def _keys(folder: Path) -> set[Key]:
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}; PolyMNIST's layout is train/m0 ... test/m4")
    keys = {_key(path) for path in folder.iterdir() if path.suffix == ".png"}
    if not keys:
        raise UserError(f"{folder} holds no .png files; their names are like 0.7.png (j.digit.png)")
    return keys


def _key(path: Path) -> Key:
    numbers = path.stem.split(".")
    # Leading zeros would make two names of one key.
    if len(numbers) != 2 or not all(n.isdecimal() and n == str(int(n)) for n in numbers):
        raise UserError(f"{path}: the name is not of the form j.digit.png")
    key = (int(numbers[0]), int(numbers[1]))
    if key[1] > 9:
        raise UserError(f"{path}: the name says digit {key[1]}, it must be 0 to 9 (j.digit.png)")
    return key


def _file_name(key: Sequence[int]) -> str:
    return f"{key[0]}.{key[1]}.png"
