"""CelebA's original files: the aligned JPEGs, and its lists in text.

img_align_celeba/000001.jpg ...      178x218 pixels
list_eval_partition.txt              NAME 0|1|2: training, validation, test
list_attr_celeba.txt                 how many; the names of 40 attributes; NAME -1|1 ...
list_landmarks_align_celeba.txt      how many; names of coordinates; NAME and 10 of them
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from mmvae_jax.data import images
from mmvae_jax.data.folders import MissingFiles, read_text
from mmvae_jax.types import UserError

WIDTH, HEIGHT = 178, 218
IMAGES = "img_align_celeba"
PARTITION = "list_eval_partition.txt"
ATTRIBUTES = "list_attr_celeba.txt"
LANDMARKS = "list_landmarks_align_celeba.txt"
# As they are downloaded, lists and images lie in folders of their own.
_PLACES = ("", "Anno", "Eval", "Img", IMAGES)


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """A list: file names of images, columns and their values.

    Attributes:
      path: of the list.
      names: N file names.
      columns: C names.
      values: int32 ``[N, C]``.
    """

    path: Path
    names: list[str]
    columns: tuple[str, ...]
    values: np.ndarray

    def rows_of(self, names: Sequence[str]) -> np.ndarray:
        """Row numbers of these images; UserError where one is not in the list."""
        places = {name: row for row, name in enumerate(self.names)}
        missing = [name for name in names if name not in places]
        if missing:
            raise UserError(
                f"{self.path} lacks {missing[0]} ({len(missing):,} such images): take all lists "
                "from the same source"
            )
        return np.array([places[name] for name in names], np.int64)


def find(folder: Path, name: str) -> Path:
    """The list or the folder of images in `folder`, or in a usual place below it.

    Raises:
      MissingFiles: it is not there.
    """
    for place in _PLACES:
        path = folder / place / name
        # The images may lie in a folder twice of the same name.
        if path.is_file() or (path.is_dir() and not (path / name).is_dir()):
            return path
    raise MissingFiles(
        folder,
        f"{folder} holds no {name} (looked for in it and in its subfolders "
        f"{', '.join(map(repr, _PLACES[1:]))}): put CelebA's {IMAGES}/ (000001.jpg ...), "
        f"{PARTITION} and {ATTRIBUTES} there (and {LANDMARKS} for celeba_vision), or set data.dir "
        "to their folder",
    )


def read_partition(folder: Path) -> Table:
    """The list of splits, with 0 (training), 1 (validation) or 2 (test) in its one column."""
    table = _read(find(folder, PARTITION), columns=("partition",))
    _check(table, (0, 1, 2))
    return table


def read_attributes(folder: Path) -> Table:
    """The list of attributes, each -1 or 1."""
    table = _read(find(folder, ATTRIBUTES))
    _check(table, (-1, 1))
    return table


def read_landmarks(folder: Path) -> Table:
    """Coordinates in the image of 178x218: x and y of both eyes, the nose, the mouth's corners."""
    table = _read(find(folder, LANDMARKS))
    if len(table.columns) != 10:
        raise UserError(f"{table.path} has {len(table.columns)} columns, it must have 10 (line 2)")
    return table


def stat_images(folder: Path, names: Sequence[str]) -> dict[str, os.stat_result]:
    """Size and time of every named image.

    Raises:
      UserError: some are missing.
    """
    place = find(folder, IMAGES)
    with os.scandir(place) as entries:
        there = {entry.name: entry for entry in entries}
    missing = [name for name in names if name not in there]
    if missing:
        raise UserError(
            f"{place} lacks {missing[0]} ({len(missing):,} of the {len(names):,} images that "
            f"{PARTITION} names); unpack {IMAGES}.zip again"
        )
    return {name: there[name].stat() for name in names}


def read_images(
    folder: Path, names: Sequence[str], resize: images.Resize
) -> Iterator[dict[str, np.ndarray]]:
    """Blocks ``{"image": uint8 [n, size, size, 3]}`` of the images, in the order of `names`.

    Raises:
      UserError: an image is damaged or has another size.
    """
    place = find(folder, IMAGES)

    def face(path: Path) -> np.ndarray:
        picture = images.read_rgb(path, convert=True)
        if picture.shape != (HEIGHT, WIDTH, 3):
            height, width = picture.shape[:2]
            raise UserError(
                f"{path} has {width}x{height} pixels, the aligned images of CelebA have "
                f"{WIDTH}x{HEIGHT}"
            )
        return resize(Image.fromarray(picture))

    for pictures in images.read_blocks([place / name for name in names], face):
        yield {"image": pictures}


def _read(path: Path, columns: tuple[str, ...] = ()) -> Table:
    """A list; without `columns` its first two lines say how many rows follow, and their columns."""
    lines = read_text(path, "fetch it again").splitlines()
    first, announced = 0, None
    if not columns:
        if len(lines) < 2 or not lines[0].strip().isdecimal():
            raise UserError(f"{path}, line 1: it must say how many images follow")
        first, announced, columns = 2, int(lines[0]), tuple(lines[1].split())
    names, values = [], []
    for number, line in enumerate(lines[first:], first + 1):
        name, *fields = line.split() or [""]
        if not name and number == len(lines):
            break
        try:
            values.append(list(map(int, fields)))
        except ValueError:
            values.append([])
        if len(values[-1]) != len(columns):
            raise UserError(
                f"{path}, line {number}: {line[:60]!r} is not a file name and {len(columns)} whole "
                "numbers; truncated or damaged"
            )
        names.append(name)
    if announced not in (None, len(names)) or not names:
        said = f"line 1 announces {announced:,} images, " if announced is not None else ""
        raise UserError(f"{path}: {said}{len(names):,} follow, up to line {len(lines)}: truncated")
    if len(set(names)) < len(names):
        raise UserError(f"{path} names an image twice")
    return Table(path, names, columns, np.array(values, np.int32))


def _check(table: Table, allowed: tuple[int, ...]) -> None:
    wrong = ~np.isin(table.values, allowed)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise UserError(
            f"{table.path}: {table.columns[column]} of {table.names[row]} is "
            f"{table.values[row, column]}, it must be one of {', '.join(map(str, allowed))}"
        )
