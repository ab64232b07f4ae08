"""Photographs with ten captions each: what the sets of birds and of flowers have in common.

A row of such a set is one caption with its image, so that an image is in ten rows. Each image is in
memory once, however many rows show it (see `gathered`).
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from mmvae_jax.data import splits
from mmvae_jax.data.contract import SPLITS, Split
from mmvae_jax.data.folders import MissingFiles, read_text
from mmvae_jax.data.gathered import Gathered
from mmvae_jax.types import UserError

CAPTIONS = 10  # of each image
TEXTS = "text_c10"  # the usual name of the folder of captions: one file an image, a line each
# What comes with the captions: classes to train on and to test on, one a line, none in both.
CLASS_LISTS = {"train": "trainvalclasses.txt", "test": "testclasses.txt"}

# Of the order of images, and of those that are held out.
_SEED = 0


@dataclasses.dataclass(frozen=True, eq=False)
class CaptionedImages:
    """P images and their captions, before any of them is read.

    Attributes:
      dataset: its name.
      folder: the one that holds everything.
      root: the folder below which the images are.
      names: of their files there, with ``/`` between folder and file.
      captions: 10 P texts; those of image i are at 10 i to 10 i + 9.
      parts: {split: numbers of its images}; ``validation`` may be missing.
      label: classes int32 ``[P]`` from 0, or None where they are of no use.
      num_classes: how many classes there are, 0 without labels.
    """

    dataset: str
    folder: Path
    root: Path
    names: tuple[str, ...]
    captions: tuple[str, ...]
    parts: Mapping[str, np.ndarray]
    label: np.ndarray | None = None
    num_classes: int = 0

    @property
    def paths(self) -> list[Path]:
        """Of the image files."""
        return [self.root / name for name in self.names]

    def above(self, cache_dir: str) -> Path:
        """The folder that prepared folders lie in: ``data.cache_dir``, or one beside the data."""
        return Path(cache_dir).expanduser() if cache_dir else self.folder / "prepared"

    def images_hash(self, *, times: bool) -> str:
        """Hash (32 hexadecimal digits) of the images' names and sizes in order, perhaps of times.

        Times of change tell more, but do not survive a copy to another machine.

        Raises:
          UserError: an image is missing.
        """
        digest = hashlib.blake2b(digest_size=16)
        for name, found in zip(self.names, self._stats, strict=True):
            time = f" {found.st_mtime_ns}" if times else ""
            digest.update(f"{name} {found.st_size}{time};".encode())
        return digest.hexdigest()

    @functools.cached_property
    def captions_hash(self) -> str:
        """Hash (32 hexadecimal digits) of all captions."""
        return hashlib.blake2b("\n".join(self.captions).encode(), digest_size=16).hexdigest()

    @functools.cached_property
    def _stats(self) -> list[os.stat_result]:
        found, missing = [], []
        for name in self.names:
            try:
                found.append(os.stat(self.root / name))
            except OSError:
                missing.append(name)
        if missing:
            raise UserError(
                f"{self.root} lacks {missing[0]} ({len(missing):,} of {len(self.names):,} images); "
                "unpack the images again"
            )
        return found


def captions_of(images: np.ndarray) -> np.ndarray:
    """Numbers of the captions of these images ``[n]``, int64 ``[10 n]``."""
    return (CAPTIONS * images[:, None] + np.arange(CAPTIONS)).reshape(-1)


def rows(found: CaptionedImages, sizes: Mapping[str, int]) -> dict[str, np.ndarray]:
    """The captions of each split, as numbers int64 ``[N]``: those of an image follow each other.

    Images are in a random order that never changes, so that the first rows are a fair sample.

    Args:
      found: the images.
      sizes: {split: at most so many captions; 0: all}. But where the set has no validation split,
        of ``validation`` that many training images are held out; 0: it repeats training rows.

    Raises:
      UserError: nothing would be left to train on.
    """
    parts = dict(found.parts)
    if "validation" not in parts and sizes["validation"]:
        where = f"{found.dataset} in {found.folder}"
        train, held = splits.hold_out(len(parts["train"]), sizes, _SEED, where)
        parts |= {"train": parts["train"][train], "validation": parts["train"][held]}
        sizes = {**sizes, "validation": 0}  # it said how many images, not how many captions
    chosen = {}
    for place, part in enumerate(SPLITS, 1):
        if part in parts:
            numbers = np.random.default_rng([_SEED, place]).permutation(parts[part])
            chosen[part] = captions_of(numbers)[: sizes[part] or None]
    chosen.setdefault("validation", chosen["train"][: splits.LOOK_IN])
    return {part: chosen[part] for part in SPLITS}


def split(
    found: CaptionedImages, chosen: np.ndarray, image: np.ndarray, caption: np.ndarray
) -> Split:
    """The rows of these captions; those of one image are one item.

    Args:
      found: the images.
      chosen: numbers of captions ``[N]``.
      image: of every image, ``[P, ...]``.
      caption: of every caption, ``[10 P, ...]``.
    """
    number = chosen // CAPTIONS
    return Split.complete(
        {"image": Gathered(image, number), "caption": Gathered(caption, chosen)},
        None if found.label is None else found.label[number],
        number,
    )


def fingerprint(chosen: Mapping[str, np.ndarray], *content: str) -> str:
    """Hash (32 hexadecimal digits) of which captions are in which split, and of what they hold.

    Args:
      chosen: numbers of captions by split.
      content: hashes of all images and all captions, and what is done with them.
    """
    digest = hashlib.blake2b(" ".join(content).encode(), digest_size=16)
    for part in SPLITS:
        digest.update(f"{part} {len(chosen[part])};".encode())
        digest.update(np.ascontiguousarray(chosen[part], np.int64).view(np.uint8))
    return digest.hexdigest()


# --- reading lists and captions ------------------------------------------------------------------


def find(folder: Path, below: Sequence[str], name: str, files: str) -> Path:
    """The file or folder of that name in a folder, or in one that is usual below it.

    Args:
      folder: the folder.
      below: usual names of folders in it.
      name: what is looked for.
      files: what the folder should hold, in words.

    Raises:
      MissingFiles: it is in none of them.
    """
    for place in (folder, *(folder / usual for usual in below)):
        if (place / name).exists():
            return place / name
    raise MissingFiles(
        folder,
        f"{folder} holds no {name} (looked for in it and in its subfolders {', '.join(below)}): "
        f"put {files} there, or set data.dir to their folder",
    )


def by_class(
    classes: Sequence[str], find_list: Callable[[str], Path], listed: str
) -> dict[str, np.ndarray]:
    """Numbers of images by split, of which no class is in two, as `CLASS_LISTS` say.

    Args:
      classes: the class of every image.
      find_list: gives the path of a list by its name.
      listed: what says of which classes images are, for messages.

    Raises:
      UserError: a list is missing or damaged, or names other classes.
    """
    known, parts = set(classes), {}
    seen: dict[str, Path] = {}
    for part, name in CLASS_LISTS.items():
        path = find_list(name)
        words = [line for line in read_lines(path) if line]
        for word in words:
            if word not in known:
                raise UserError(f"{path}: no image of {listed} is of the class {word[:60]!r}")
            if word in seen:
                raise UserError(f"{path}: the class {word} is in {seen[word].name} already")
            seen[word] = path
        parts[part] = np.flatnonzero(np.isin(classes, words))
        if not len(parts[part]):
            raise UserError(f"{path} names no class: truncated")
    left = sorted(known - set(seen))
    if left:
        raise UserError(
            f"{' and '.join(CLASS_LISTS.values())} name {left[0]} nowhere ({len(left)} of "
            f"{len(known)} classes): truncated"
        )
    return parts


def read_lines(path: Path) -> list[str]:
    """The lines of a text, without spaces at their ends and without empty lines after the last.

    Raises:
      UserError: it cannot be read as UTF-8.
    """
    lines = [line.strip() for line in read_text(path, "unpack it again").split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def read_captions(paths: Sequence[Path]) -> tuple[str, ...]:
    """Ten captions for each image, from a file each.

    Raises:
      UserError: an image has no file, or its file has not ten captions.
    """
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise UserError(
            f"there is no {missing[0]} ({len(missing):,} of {len(paths):,} images have no "
            f"captions): it must hold those of the image of that name, {CAPTIONS} lines"
        )
    captions: list[str] = []
    for path in paths:
        lines = [line for line in read_lines(path) if line]
        if len(lines) != CAPTIONS:
            raise UserError(
                f"{path} holds {len(lines)} captions, an image has {CAPTIONS}: truncated or "
                "damaged; unpack it again"
            )
        captions += lines
    return tuple(captions)
