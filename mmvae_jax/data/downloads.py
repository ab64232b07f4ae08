"""Original files that are not there are downloaded, into the folders where they are looked for.

URLs and checksums are those of TensorFlow Datasets (`transfer`). Files are written and unpacked
under a temporary name in their folder, and moved when they are whole: neither a lost connection nor
a full disk nor a kill leaves something that could be taken for whole. A folder named
``.download-....tmp`` was left by a process that was killed, and may be deleted.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from mmvae_jax.data import archives, sources, transfer
from mmvae_jax.data.folders import MissingFiles
from mmvae_jax.data.sources import File, Source
from mmvae_jax.types import UserError

try:
    import fcntl
except ImportError:  # not on Windows, where two processes may fetch the same files
    fcntl = None

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class _Wanted:
    """Files of one source that are missing in the dataset's folder, and where they shall lie."""

    source: Source
    folder: Path
    target: Path
    files: Sequence[File]

    def __str__(self) -> str:
        names = ", ".join(map(str, self.files))
        return f"{self.source.title} ({names}; from {self.source.page}) in {self.target}"


def fetch(dataset: str, missing: MissingFiles) -> None:
    """Downloads what the loader of `dataset` did not find and what is to be had.

    Of several processes that share a disk one downloads, while the others wait.

    Args:
      dataset: its name in the registry.
      missing: what the loader raised.

    Raises:
      UserError: `missing` itself where nothing of it can be downloaded; or one line that has the
        reason, the names of all files wanted and where to put them. Without a connection it comes
        after `transfer.CONNECT_SECONDS` at the latest, of a server that is silent after
        `transfer.ANSWER_SECONDS` more; then nothing is made.
    """
    wanted = list(_wanted(dataset, missing.folder)) if missing.folder else []
    if not wanted:
        _refuse(dataset, missing)
    try:
        transfer.check(file.url for part in wanted for file in part.files)
        for part in wanted:
            _obtain(dataset, part)
    except (transfer.TransferError, OSError) as error:
        why = str(error) if isinstance(error, transfer.TransferError) else _why(error)
        left = "; ".join(map(str, _wanted(dataset, missing.folder)))
        raise UserError(
            f"{missing}; downloading what is missing failed: {why}; wanted: {left}"
        ) from error


def _refuse(dataset: str, missing: MissingFiles) -> NoReturn:
    """Raises what the loader raised, and says so where the rest of the dataset is downloaded."""
    beside = "; ".join(filter(None, (source.beside for source in sources.SOURCES.get(dataset, ()))))
    if not beside:
        raise missing
    raise UserError(f"{missing} ({beside} are not downloaded)") from missing


def _wanted(dataset: str, folder: Path) -> Iterator[_Wanted]:
    found = sources.SOURCES.get(dataset, ())
    for source in found:
        # Also a folder that the user names is given one below it, or two sets whose files have the
        # same names could come together; but not mnist/mnist/.
        own = len(found) == 1 and folder.name == source.below
        target = folder if own else folder / source.below
        files = [file for file in source.files if not file.is_in(folder)]
        if files:
            yield _Wanted(source, folder, target, files)


def _obtain(dataset: str, wanted: _Wanted) -> None:
    """Downloads, unpacks and moves; what is not whole is removed, and so are folders made for it.

    Raises:
      TransferError: something does not come as it should.
      OSError: the folder cannot be written, or is full.
    """
    target = wanted.target
    made = [path for path in (target, *target.parents) if not path.exists()]
    target.mkdir(parents=True, exist_ok=True)
    unfinished = target / f".download-{uuid.uuid4().hex[:12]}.tmp"
    try:
        with _alone(target):
            files = [file for file in wanted.files if not file.is_in(wanted.folder)]
            if not files:  # another process was faster
                return
            names, start = ", ".join(map(str, files)), time.monotonic()
            _log.info("%s: downloading %s into %s", dataset, names, target)
            whole = _download(wanted.source, files, unfinished)
            for file in files:
                _move(whole[file.name], target / file.name, file, wanted.folder)
                if not file.is_in(wanted.folder):
                    raise transfer.TransferError(f"{file} came, but holds something else")
            seconds = time.monotonic() - start
            _log.info("%s: downloaded %s in %.0f s", dataset, wanted.source.title, seconds)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        for path in made:
            with contextlib.suppress(OSError):  # it holds something
                path.rmdir()


def _download(source: Source, files: Sequence[File], folder: Path) -> Mapping[str, Path]:
    """Where in `folder` each file is, by its usual name."""
    folder.mkdir(parents=True)  # a process that failed may have removed those above it
    urls = {file.name: file.url for file in files}
    paths = transfer.download(source.name, list(urls.values()), folder / "files")
    found = {name: paths[url] for name, url in urls.items()}
    for file in files:
        if file.archive:
            unpacked = folder / f"{file.name}.unpacked"
            try:
                archives.unpack(found[file.name], file.archive, unpacked)
            except archives.ArchiveError as error:
                said = f"{file.archive} cannot be unpacked ({error})"
                raise transfer.TransferError(said) from error
            found[file.name].unlink()  # or the disk would hold it twice
            found[file.name] = unpacked / file.name
    return found


def _move(path: Path, place: Path, file: File, folder: Path) -> None:
    try:
        path.rename(place)
    except OSError:
        if not file.is_in(folder):  # else a process of another machine was faster
            raise


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keeps other processes of this machine out of the folder while the block runs.

    The lock is on the folder itself: no file is left, and a process that is killed holds nothing.
    """
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        # A file system without locks keeps nobody out.
        with contextlib.suppress(OSError):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                _log.info("waiting for another process that downloads into %s", folder)
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _why(error: OSError) -> str:
    said = error.strerror or str(error) or type(error).__name__
    return f"{error.filename}: {said}" if error.filename else said
