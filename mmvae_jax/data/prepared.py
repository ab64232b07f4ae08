"""Arrays that are made once from many files, stored, and from then on memory-mapped.

A prepared folder holds ``NAME.npy`` for every array and ``prepared.json``, which says what they
were made from. It is written under a temporary name beside its place, and renamed when it is whole:
neither a full disk nor a kill leaves something that could be taken for whole.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from tqdm import tqdm

from mmvae_jax.types import UserError

_log = logging.getLogger(__name__)

_FILE = "prepared.json"
_UNFINISHED = ".tmp"

Block = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What is made of what.

    Attributes:
      name: of the folder.
      version: to be raised when the same sources give other bytes.
      settings: values of JSON that the bytes depend on.
      sources: a hash of the sources' names, sizes and times: see `signature`.
      count: N, the number of rows.
      shapes: of one row of every array.
      dtype: of all arrays.
    """

    name: str
    version: int
    settings: Mapping[str, Any]
    sources: str
    count: int
    shapes: Mapping[str, tuple[int, ...]]
    dtype: str = "uint8"

    def to_json(self) -> dict[str, Any]:
        """Plain values, as they come back from a file."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Recipe:
        """Rebuilds a recipe from `to_json`."""
        shapes = {name: tuple(shape) for name, shape in values["shapes"].items()}
        return cls(**{**values, "shapes": shapes, "settings": dict(values["settings"])})

    @property
    def nbytes(self) -> int:
        """What the arrays take, without their headers."""
        numbers = self.count * sum(int(np.prod(shape)) for shape in self.shapes.values())
        return numbers * np.dtype(self.dtype).itemsize


@dataclasses.dataclass(frozen=True, eq=False)
class Prepared:
    """The arrays ``[N, *shape]`` by name, memory-mapped, and the hash of their content."""

    arrays: dict[str, np.ndarray]
    fingerprint: str


def signature(files: Mapping[str, os.stat_result]) -> str:
    """Hash (32 hexadecimal digits) of names, sizes and times of change."""
    digest = hashlib.blake2b(digest_size=16)
    for name, found in sorted(files.items()):
        digest.update(f"{name} {found.st_size} {found.st_mtime_ns};".encode())
    return digest.hexdigest()


def obtain(above: Path, recipe: Recipe, make: Callable[[], Iterator[Block]]) -> Prepared:
    """The arrays of `recipe`: loaded where they were prepared before, else made and stored.

    Args:
      above: the folder that prepared folders lie in; it is made where it is missing.
      recipe: what is wanted; another version, other settings or changed sources are made anew.
      make: gives blocks of rows in their order, ``[n, *shape]`` of every array.

    Raises:
      UserError: the folder cannot be written, or is full; whatever `make` raises.
    """
    folder = above / recipe.name
    found = _load(folder, recipe)
    if found:
        _log.info("%s: loaded %s, prepared before", recipe.name, folder)
        return found
    return store(above, recipe, make)


def store(above: Path, recipe: Recipe, make: Callable[[], Iterator[Block]]) -> Prepared:
    """Makes and stores the arrays of `recipe`, in place of what may be there; see `obtain`.

    A progress bar is shown where standard error is a terminal.
    """
    folder = above / recipe.name
    start = time.monotonic()
    megabytes = recipe.nbytes / 1e6
    _log.info("%s: preparing %s rows (%.0f MB)", recipe.name, f"{recipe.count:,}", megabytes)
    unfinished = above / f"{recipe.name}.{uuid.uuid4().hex[:12]}{_UNFINISHED}"
    try:
        unfinished.mkdir(parents=True)
        _store(unfinished, recipe, make())
        _rename(unfinished, folder)
    except OSError as error:
        found = _load(folder, recipe)
        if found:  # another process was faster
            return found
        raise UserError(
            f"{folder} cannot be prepared ({error.strerror or error}); it takes {megabytes:.0f} "
            "MB: make room or set data.cache_dir to a folder elsewhere (what was begun is removed)"
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    found = _load(folder, recipe)
    if not found:
        raise UserError(f"{folder} was changed while it was prepared: start again")
    _log.info("%s: prepared %s in %.0f s", recipe.name, folder, time.monotonic() - start)
    return found


def read(folder: Path) -> tuple[Recipe, Prepared] | None:
    """What the folder holds and what it was made from; None where it is not there or not whole."""
    try:
        said = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        recipe, arrays = Recipe.from_json(said["recipe"]), {}
        for name, shape in recipe.shapes.items():
            # A file that is shorter than its header says is refused here.
            arrays[name] = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
            if arrays[name].shape != (recipe.count, *shape) or arrays[name].dtype != recipe.dtype:
                return None
        return recipe, Prepared(arrays, str(said["fingerprint"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _load(folder: Path, recipe: Recipe) -> Prepared | None:
    """What the folder holds, if it is whole and just what the recipe says."""
    found = read(folder)
    return found[1] if found and found[0].to_json() == recipe.to_json() else None


def _store(folder: Path, recipe: Recipe, blocks: Iterator[Block]) -> None:
    """Writes all arrays, then what they are."""
    digests = {name: hashlib.blake2b(digest_size=16) for name in recipe.shapes}
    files: dict[str, BinaryIO] = {}
    done = 0
    try:
        for name, shape in recipe.shapes.items():
            files[name] = (folder / f"{name}.npy").open("xb")
            np.lib.format.write_array_header_1_0(
                files[name],
                {
                    "descr": np.dtype(recipe.dtype).str,
                    "fortran_order": False,
                    "shape": (recipe.count, *shape),
                },
            )
        bar = tqdm(blocks, desc=recipe.name, unit="block", disable=None, leave=False)
        for block in bar:
            for name, shape in recipe.shapes.items():
                rows = np.ascontiguousarray(block[name])
                if rows.shape[1:] != shape or rows.dtype != recipe.dtype:
                    raise ValueError(f"{name}: {rows.dtype}{list(rows.shape)} is no block of it")
                digests[name].update(rows.reshape(-1).view(np.uint8))
                _write(files[name], rows)
            done += len(rows)
            bar.set_postfix_str(f"{done:,} of {recipe.count:,} rows")
        for file in files.values():
            file.flush()
            os.fsync(file.fileno())
    finally:
        for file in files.values():
            file.close()
    if done != recipe.count:
        raise ValueError(f"{done} rows made, {recipe.count} announced")
    hashes = ";".join(f"{name} {digest.hexdigest()}" for name, digest in sorted(digests.items()))
    said = {
        "recipe": recipe.to_json(),
        "fingerprint": hashlib.blake2b(hashes.encode(), digest_size=16).hexdigest(),
    }
    (folder / _FILE).write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")


def _write(file: BinaryIO, rows: np.ndarray) -> None:
    # Not through a memory map: there a full disk kills the process.
    file.write(rows.data)


def _rename(unfinished: Path, folder: Path) -> None:
    """Puts the whole folder in its place; an outdated one goes."""
    if folder.exists():
        outdated = unfinished.with_name(f"{unfinished.name}.old{_UNFINISHED}")
        folder.rename(outdated)
        unfinished.rename(folder)
        shutil.rmtree(outdated, ignore_errors=True)
    else:
        unfinished.rename(folder)
