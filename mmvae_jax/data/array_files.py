"""Named arrays from an .npz file, or from a folder of .npy files: nothing is ever unpickled.

Every header is read first and compared with the size of the file, so that a damaged or malicious
one costs neither memory nor time. Nothing is written, and no path inside an archive is followed.
"""

from __future__ import annotations

import contextlib
import math
import re
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from mmvae_jax.types import UserError

# What names a modality names metrics and files too: no separators, nothing hidden.
_NAME = re.compile(r"[^\W_][\w.-]{0,63}")
_FORMATS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
# What damaged bytes make zipfile, zlib and NumPy's parser of headers raise; they have no common
# base. RuntimeError is zipfile's answer to encryption, RecursionError one of its kinds.
_DAMAGE = (
    OSError,
    ValueError,
    EOFError,
    KeyError,
    TypeError,
    RuntimeError,
    NotImplementedError,
    OverflowError,
    SyntaxError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
    tokenize.TokenError,
)


def read(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file by name, or those of a folder of .npy files, memory-mapped.

    Raises:
      UserError: there is no such file; it is damaged (says where); a name that is none; an array of
        Python objects, which would have to be unpickled.
    """
    path = Path(path).expanduser()
    try:
        if path.is_dir():
            return _read_folder(path)
        return _read_archive(path)
    except FileNotFoundError as error:
        raise UserError(f"{path}: there is no such file") from error


def _read_archive(path: Path) -> dict[str, np.ndarray]:
    try:
        archive = zipfile.ZipFile(path)
    except FileNotFoundError:
        raise
    except _DAMAGE as error:
        raise UserError(
            f"{path} cannot be read as an .npz of plain arrays: {_said(error)}; a truncated file "
            f"lacks its directory, which is at the end ({_size(path)} are there)"
        ) from error
    found: dict[str, np.ndarray] = {}
    with archive:
        for member in archive.infolist():
            name = _name(member.filename, f"{path}: member")
            if name in found:
                raise UserError(f"{path} holds {member.filename!r} twice")
            where = f"{path}: {member.filename!r} (at byte {member.header_offset:,})"
            with _damage_named(where):
                with archive.open(member) as file:
                    _check_header(file, member.file_size, where)
                with archive.open(member) as file:
                    found[name] = np.lib.format.read_array(file, allow_pickle=False)
    if not found:
        raise UserError(f"{path} holds no arrays")
    return found


def _read_folder(path: Path) -> dict[str, np.ndarray]:
    found = {}
    for file_path in sorted(path.glob("*.npy")):
        name = _name(file_path.name, f"{path}: file")
        where = str(file_path)
        with _damage_named(where):
            with file_path.open("rb") as file:
                shape = _check_header(file, file_path.stat().st_size, where)
            # An empty file region cannot be mapped.
            mode = "r" if math.prod(shape) else None
            found[name] = np.load(file_path, mmap_mode=mode, allow_pickle=False)
    if not found:
        raise UserError(f"{path} holds no .npy files: a folder of arrays has one for each modality")
    return found


def _name(filename: str, what: str) -> str:
    """The array's name from a file name; UserError for paths, other kinds of file and the like."""
    name, dot, ending = filename.rpartition(".")
    if "/" in filename or "\\" in filename or filename.startswith("."):
        raise UserError(f"{what} {filename!r} is a path, not the name of an array: refused")
    if not dot or ending != "npy":
        raise UserError(f"{what} {filename!r} is not an array (.npy)")
    if not _NAME.fullmatch(name):
        raise UserError(
            f"{what} {filename!r}: a name has up to 64 letters, digits, '_', '-' and '.', and "
            "starts with a letter or digit"
        )
    return name


def _check_header(file: BinaryIO, size: int, where: str) -> tuple[int, ...]:
    """The shape that the .npy header at the start of `file` tells, if `size` bytes can hold it."""
    version = np.lib.format.read_magic(file)
    if version not in _FORMATS:
        raise UserError(f"{where} has .npy version {version}: save it with np.save again")
    shape, _, dtype = _FORMATS[version](file)
    if dtype.hasobject:
        raise UserError(
            f"{where} holds Python objects, which could run code when loaded: refused; save numbers"
        )
    start = file.tell()
    wanted = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or size - start != wanted:
        raise UserError(
            f"{where} is truncated or damaged: {dtype}{list(shape)} takes {wanted:,} bytes from "
            f"byte {start} on, there are {max(size - start, 0):,}"
        )
    return shape


@contextlib.contextmanager
def _damage_named(where: str) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except MemoryError as error:
        raise UserError(f"{where} does not fit into memory; use a folder of .npy files") from error
    except _DAMAGE as error:
        raise UserError(f"{where} cannot be read as an array: {_said(error)}") from error


def _said(error: BaseException) -> str:
    """An error in one line."""
    text = " ".join(str(error).split())[:200]
    return text or type(error).__name__


def _size(path: Path) -> str:
    try:
        return f"{path.stat().st_size:,} bytes"
    except OSError:
        return "no bytes"
