"""Archives are unpacked into a folder, and nothing outside of it is touched.

Member names are looked at here: the first Pythons 3.11 unpack a tar as it is, and a zip's members
that would leave the folder are passed over in silence or given other names.
"""

from __future__ import annotations

import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PureWindowsPath

_DAMAGE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, ValueError)


class ArchiveError(Exception):
    """Why an archive was not unpacked, in words that fit into brackets."""


def unpack(path: Path, archive: str, folder: Path) -> None:
    """Unpacks a .zip or a .tgz; what was unpacked before something went wrong stays.

    Args:
      path: the file.
      archive: what it is called, which tells the format.
      folder: made where it is not there.

    Raises:
      ArchiveError: the archive is damaged, or a member is neither file nor folder or leaves the
        folder; no such member is written.
      OSError: the folder cannot be written.
    """
    reading = _unpack_zip if archive.endswith(".zip") else _unpack_tar
    try:
        reading(path, folder)
    except _DAMAGE as error:
        raise ArchiveError(str(error) or type(error).__name__) from error


def _unpack_zip(path: Path, folder: Path) -> None:
    with zipfile.ZipFile(path) as file:
        for name in file.namelist():
            _check(name)
        file.extractall(folder)


def _unpack_tar(path: Path, folder: Path) -> None:
    # Whatever else it may refuse; of one that we let pass it changes nothing but permissions.
    safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
    with tarfile.open(path, "r:gz") as file:
        # One by one: to know all names beforehand would take a second pass over the file.
        file.extractall(folder, members=_checked(file), **safe)


def _checked(members: Iterable[tarfile.TarInfo]) -> Iterator[tarfile.TarInfo]:
    for member in members:
        _check(member.name)
        if not (member.isfile() or member.isdir()):
            raise ArchiveError(f"{member.name!r} is neither a file nor a folder: refused")
        yield member


def _check(name: str) -> None:
    # As Windows reads it, where both kinds of slashes part names: stricter than any other.
    path = PureWindowsPath(name)
    if path.drive or path.root or ".." in path.parts:
        raise ArchiveError(f"{name!r} would leave the folder: refused")
