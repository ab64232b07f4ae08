"""Image files: background pictures of a folder, many files at once, one size for all."""

from __future__ import annotations

import dataclasses
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from mmvae_jax.types import UserError

_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
_BLOCK = 512  # pictures that are made at a time
# What Pillow raises where bytes are damaged.
_DAMAGE = (
    *(OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error),
    Image.DecompressionBombError,
)


def listed(folder: Path) -> list[Path]:
    """The image files of a folder (not of those in it) by name."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)


def read_backgrounds(folder: Path, count: int, smallest: int) -> list[np.ndarray]:
    """The first `count` images of a folder by file name, each uint8 ``[H, W, 3]``.

    Raises:
      UserError: no such folder, too few images, a damaged one, or one with fewer than `smallest`
        pixels on a side.
    """
    if not folder.is_dir():
        raise UserError(f"data.backgrounds: there is no folder {folder}")
    paths = listed(folder)
    if len(paths) < count:
        raise UserError(
            f"data.backgrounds: {folder} holds {len(paths)} images ({', '.join(_SUFFIXES)}), "
            f"{count} modalities need {count}"
        )
    pictures = [read_rgb(path, convert=True) for path in paths[:count]]
    for path, picture in zip(paths, pictures, strict=False):
        if min(picture.shape[:2]) < smallest:
            height, width = picture.shape[:2]
            raise UserError(
                f"background {path} has {width}x{height} pixels, crops need {smallest}x{smallest}"
            )
    return pictures


def read_rgb(path: Path, *, convert: bool = False) -> np.ndarray:
    """One image file as uint8 ``[H, W, 3]``; other colour modes are converted only if `convert`.

    Raises:
      UserError: missing, damaged, or of another colour mode.
    """
    try:
        with path.open("rb") as file:
            return _decoded(file, path, convert)
    except OSError as error:
        raise UserError(f"image {path} cannot be read: {error.strerror or error}") from error


def _decoded(file: BinaryIO, path: Path, convert: bool) -> np.ndarray:
    try:
        with Image.open(file) as image:
            if image.format == "PNG":
                image.verify()  # all its checksums, some of which decoding passes over
        file.seek(0)
        with Image.open(file) as image:
            if not convert and image.mode != "RGB":
                raise UserError(f"{path} has colour mode {image.mode}, it must be 8-bit RGB")
            return np.asarray(image.convert("RGB"))
    except _DAMAGE as error:
        raise UserError(
            f"image {path} cannot be read: truncated or damaged, {_where(file)} "
            f"({_reason(error)}); fetch it again"
        ) from error


def _where(file: BinaryIO) -> str:
    """How far a file was read when it turned out to be damaged."""
    size = os.fstat(file.fileno()).st_size
    return f"at byte {file.tell():,} of {size:,} or before" if size else "it has no bytes"


def _reason(error: Exception) -> str:
    """Pillow's words in one line; of a file in no known format they name an object of Python."""
    if isinstance(error, UnidentifiedImageError):
        return "it starts like no format of images"
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def read_square(path: Path, size: int) -> np.ndarray:
    """A file of `size` x `size` RGB pixels as uint8 ``[size, size, 3]``.

    Raises:
      UserError: missing, damaged, or of another shape or colour mode.
    """
    picture = read_rgb(path)
    if picture.shape != (size, size, 3):
        height, width = picture.shape[:2]
        raise UserError(f"{path} has {width}x{height} pixels, it must have {size}x{size}")
    return picture


def read_blocks(
    paths: Sequence[Path], make: Callable[[Path], np.ndarray], block: int = _BLOCK
) -> Iterator[np.ndarray]:
    """Blocks ``[n, ...]`` of what is made of each file, in their order, by several threads.

    Args:
      paths: of the files.
      make: of one file; all give the same shape.
      block: at most so many files at a time.
    """
    threads = ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1))
    try:
        for start in range(0, len(paths), block):
            yield np.stack(list(threads.map(make, paths[start : start + block])))
    finally:
        threads.shutdown(cancel_futures=True)  # after an error, nobody waits for the rest


@dataclasses.dataclass(frozen=True)
class Resize:
    """Makes a picture a square of `size` pixels.

    Attributes:
      size: of the result.
      crop: 0: the short side becomes `size` pixels long (bilinear), then the middle is cut out, as
        in MVAE. Otherwise a square of so many pixels is cut out of the middle, then resized
        (bicubic), as in MoPoE-VAE with 148.
    """

    size: int
    crop: int = 0

    def __call__(self, picture: Image.Image) -> np.ndarray:
        """uint8 ``[size, size, 3]``."""
        if self.crop:
            square = _middle(picture, self.crop)
            return np.asarray(square.resize((self.size, self.size), Image.Resampling.BICUBIC))
        width, height = self.resized(*picture.size)
        smaller = picture.resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(_middle(smaller, self.size))

    def resized(self, width: int, height: int) -> tuple[int, int]:
        """Width and height before the middle is cut out, where `crop` is 0."""
        short = min(width, height)
        return self.size * width // short, self.size * height // short

    def moved(self, points: np.ndarray, width: int, height: int) -> np.ndarray:
        """Where points (x, y) ``[..., 2]`` of a picture of this width and height come to lie."""
        if self.crop:
            first = np.array(_corner(width, height, self.crop))
            return (points - first) * (self.size / self.crop)
        smaller = self.resized(width, height)
        scaled = points * (np.array(smaller) / np.array([width, height]))
        return scaled - np.array(_corner(*smaller, self.size))


@dataclasses.dataclass(frozen=True)
class Stretch:
    """Makes a picture a square of `size` pixels, whatever its sides are (bilinear)."""

    size: int

    def __call__(self, picture: Image.Image) -> np.ndarray:
        """uint8 ``[size, size, 3]``."""
        return np.asarray(picture.resize((self.size, self.size), Image.Resampling.BILINEAR))


def _corner(width: int, height: int, size: int) -> tuple[int, int]:
    return (width - size) // 2, (height - size) // 2


def _middle(picture: Image.Image, size: int) -> Image.Image:
    left, top = _corner(*picture.size, size)
    return picture.crop((left, top, left + size, top + size))
