"""The files of Caltech-UCSD Birds 200-2011 and its captions, in either of two layouts.

As they are published, birds and captions apart:

images.txt                           ID CLASS/NAME.jpg
images/CLASS/NAME.jpg                CLASS such as 001.Black_footed_Albatross
text_c10/CLASS/NAME.txt              ten lines
trainvalclasses.txt, testclasses.txt CLASS, one a line: no class is in both

As the authors of MMVAE distribute them, cut out and in order:

train/CLASS/NAME.jpg                 test/CLASS/NAME.jpg
text_trainvalclasses.txt             text_testclasses.txt: ten lines an image, in their order
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from mmvae_jax.data import captioned, images
from mmvae_jax.data.captioned import CAPTIONS, CaptionedImages
from mmvae_jax.types import UserError

NAME = "cub"
FILES = (
    "images.txt and images/ of CUB_200_2011 with text_c10/, trainvalclasses.txt and "
    "testclasses.txt of its captions (or train/ and test/ with text_trainvalclasses.txt and "
    "text_testclasses.txt, as MMVAE's authors distribute them)"
)
LIST = "images.txt"
# As they are unpacked, birds and captions lie in folders of their own.
_PLACES = ("CUB_200_2011", "cvpr2016_cub", "birds")
# The published name, and what it says.
_TEXTS = {
    "train": ("text_trainvalclasses.txt", "train_captions.txt"),
    "test": ("text_testclasses.txt", "test_captions.txt"),
}


def read(folder: Path) -> CaptionedImages:
    """Finds out which layout the folder has, and reads its lists and captions.

    Raises:
      UserError: files are missing, damaged or do not match.
    """
    places = [folder, *(folder / name for name in _PLACES)]
    if not any((place / LIST).is_file() for place in places):
        for place in places:
            if all((place / part).is_dir() for part in _TEXTS):
                return _cut_out(folder, place)
    return _published(folder)


def find(folder: Path, name: str) -> Path:
    """What has this name in `folder`, or in a usual place below it.

    Raises:
      MissingFiles: it is not there.
    """
    return captioned.find(folder, _PLACES, name, FILES)


def _published(folder: Path) -> CaptionedImages:
    listed = find(folder, LIST)
    names = _names(listed)
    texts = find(folder, captioned.TEXTS)
    classes = [name.partition("/")[0] for name in names]
    parts = captioned.by_class(classes, functools.partial(find, folder), LIST)
    return CaptionedImages(
        dataset=NAME,
        folder=folder,
        root=listed.parent / "images",
        names=tuple(names),
        captions=captioned.read_captions([(texts / name).with_suffix(".txt") for name in names]),
        parts=parts,
    )


def _names(listed: Path) -> list[str]:
    """CLASS/NAME.jpg of every image."""
    names = []
    for number, line in enumerate(captioned.read_lines(listed), 1):
        fields = line.split()
        if len(fields) != 2 or fields[0] != str(number) or fields[1].count("/") != 1:
            raise UserError(
                f"{listed}, line {number}: {line[:60]!r} is not '{number} CLASS/NAME.jpg'; "
                "truncated or damaged"
            )
        names.append(fields[1])
    if not names:
        raise UserError(f"{listed} names no image: truncated")
    return names


def _cut_out(folder: Path, place: Path) -> CaptionedImages:
    names: list[str] = []
    captions: list[str] = []
    parts = {}
    for part, usual in _TEXTS.items():
        found = [
            path.relative_to(place).as_posix()
            for own in sorted((place / part).iterdir())
            if own.is_dir()
            for path in images.listed(own)
        ]
        lines = _lines(place, usual)
        if not found or len(lines) != CAPTIONS * len(found):
            raise UserError(
                f"{place / part} holds {len(found):,} images, its captions in {usual[0]} are "
                f"{len(lines):,}: there must be {CAPTIONS} of each image; unpack both again"
            )
        parts[part] = np.arange(len(names), len(names) + len(found))
        names += found
        captions += lines
    return CaptionedImages(
        dataset=NAME,
        folder=folder,
        root=place,
        names=tuple(names),
        captions=tuple(captions),
        parts=parts,
    )


def _lines(place: Path, usual: tuple[str, ...]) -> list[str]:
    """The captions of one split; an empty line would shift all that follow."""
    path = next((place / name for name in usual if (place / name).is_file()), None)
    if path is None:
        raise UserError(f"{place} holds no {' or '.join(usual)}: put {FILES} there")
    lines = captioned.read_lines(path)
    if "" in lines:
        raise UserError(f"{path}, line {lines.index('') + 1} is empty: every line is a caption")
    return lines
