"""The IDX files of MNIST and its relatives, plain or gzipped.

The bytes 00 00 08 ndim, then ndim sizes as big-endian int32, then the values as unsigned bytes.
"""

from __future__ import annotations

import math
import struct
import zlib
from pathlib import Path

import numpy as np

from mmvae_jax.data.folders import MissingFiles
from mmvae_jax.types import UserError

_UNSIGNED_BYTES = 8
_PIECE = 2**12  # bytes of a .gz that are unpacked at a time, so that damage has a place
# Usual places of the files below the folder that a user names, "" for itself.
MNIST_FOLDERS = ("", "mnist", "raw", "MNIST/raw")
# Not "mnist": those files look the same.
FASHION_FOLDERS = ("", "fashion_mnist", "fashion-mnist", "raw", "FashionMNIST/raw")
# Where both are wanted: neither may lie in the named folder itself.
MNIST_BESIDE = tuple(name for name in MNIST_FOLDERS if "mnist" in name.lower())
FASHION_BESIDE = tuple(name for name in FASHION_FOLDERS if "mnist" in name.lower())


def read_mnist(
    folder: Path, prefix: str, subfolders: tuple[str, ...] = MNIST_FOLDERS
) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 ``[N, 28, 28]`` and labels int32 ``[N]`` of MNIST's ``train`` or ``t10k`` part.

    Args:
      folder: the folder that the user names.
      prefix: ``train`` or ``t10k``.
      subfolders: the places below it that are looked in, "" for itself.

    Raises:
      UserError: a file is missing, damaged or does not hold what its name says.
    """
    images_path = find(folder, f"{prefix}-images", 3, subfolders)
    labels_path = find(folder, f"{prefix}-labels", 1, subfolders)
    images, labels = read(images_path, 3), read(labels_path, 1)
    if len(images) != len(labels):
        raise UserError(
            f"{images_path} holds {len(images)} images, but {labels_path} {len(labels)} labels; "
            "take both files from the same source"
        )
    if images.shape[1:] != (28, 28):
        size = "x".join(map(str, images.shape[1:]))
        raise UserError(f"{images_path} holds images of {size} pixels, MNIST has 28x28")
    if len(labels) and labels.max() > 9:
        raise UserError(f"{labels_path} holds label {labels.max()}, MNIST has 0 to 9")
    return images, labels.astype(np.int32)


def find(folder: Path, stem: str, ndim: int, subfolders: tuple[str, ...] = MNIST_FOLDERS) -> Path:
    """The file ``stem-idx3-ubyte`` or ``stem.idx3-ubyte``, plain or with ``.gz``, under `folder`.

    Raises:
      MissingFiles: none is there; the message has the names that were looked for.
    """
    plain = (f"{stem}-idx{ndim}-ubyte", f"{stem}.idx{ndim}-ubyte")
    names = [name + suffix for name in plain for suffix in ("", ".gz")]
    for subfolder in subfolders:
        for name in names:
            if (folder / subfolder / name).is_file():
                return folder / subfolder / name
    places = ", ".join(repr(subfolder) for subfolder in subfolders if subfolder)
    raise MissingFiles(
        folder,
        f"{folder} holds none of {', '.join(names)} (looked for in "
        f"{'it and in ' if '' in subfolders else ''}its subfolders {places}); set data.dir to the "
        "folder of the files, or to the one above it",
    )


def read(path: Path, ndim: int) -> np.ndarray:
    """The uint8 array of `ndim` axes that the file holds.

    Raises:
      UserError: unreadable, truncated, too long, or not an IDX file of that many axes.
    """
    content = _content(path)
    magic = content[:4]
    if len(magic) < 4 or magic != bytes([0, 0, _UNSIGNED_BYTES, ndim]):
        raise UserError(
            f"{path} starts with bytes {magic.hex(' ') or '(nothing)'}, an IDX file of this kind "
            f"with 00 00 08 0{ndim}; fetch it again"
        )
    header = 4 + 4 * ndim
    if len(content) < header:
        raise UserError(f"{path} ends after {len(content)} bytes, its header has {header}")
    shape = struct.unpack(f">{ndim}i", content[4:header])
    expected = header + math.prod(shape)
    if min(shape) < 0 or len(content) != expected:
        raise UserError(
            f"{path} holds {len(content)} bytes{_unpacked(path)}, its header announces {expected} "
            f"(shape {'x'.join(map(str, shape))}): truncated or damaged; fetch it again"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _content(path: Path) -> bytes:
    """The file's bytes, unpacked. What a cut-off .gz still yields is returned: `read` counts it."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    if path.suffix != ".gz":
        return content
    # 31: the largest window (15) in a gzip wrapper (16).
    unpacker, unpacked = zlib.decompressobj(31), []
    for start in range(0, len(content), _PIECE):
        end = min(start + _PIECE, len(content))
        try:
            unpacked.append(unpacker.decompress(content[start:end]))
        except zlib.error as error:
            raise UserError(
                f"{path} is not a sound gzip file: damaged at byte {end:,} of {len(content):,} or "
                f"before ({error}); fetch it again"
            ) from error
        if unpacker.eof:
            break
    if not unpacker.eof and not any(unpacked):
        raise UserError(f"{path} is cut off after {len(content)} bytes; fetch it again")
    return b"".join(unpacked)


def _unpacked(path: Path) -> str:
    return " once unpacked" if path.suffix == ".gz" else ""
