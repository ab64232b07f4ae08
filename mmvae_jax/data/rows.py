"""Rows of arrays that are mapped from files: read when they are asked for, and not kept."""

from __future__ import annotations

import dataclasses
import math
import mmap
from collections.abc import Iterator
from typing import Any

import numpy as np

from mmvae_jax.types import UserError

# Numbers looked at at a time where a whole array is gone through.
BLOCK = 2**20


@dataclasses.dataclass(frozen=True, eq=False)
class StoredRows:
    """Some rows of an array in a file, in place of the array ``[n, *example]`` they would make.

    Indexing by row numbers (of any shape), a mask or a slice reads these rows, as an array of its
    own in memory. Nothing else is kept there: `select` chooses rows without reading them.

    Attributes:
      array: ``[N, ...]``, mapped from a file.
      chosen: numbers of its rows, int ``[n]``.
      present: bool ``[n]``; a row where it is false is read as 0.
      dtype: what the numbers are converted to.
      example: shape of one row.
    """

    array: np.memmap
    chosen: np.ndarray
    present: np.ndarray
    dtype: np.dtype
    example: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """As of an array."""
        return (len(self), *self.example)

    @property
    def ndim(self) -> int:
        """As of an array."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Of all rows, if they were read."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, rows: Any) -> np.ndarray:
        chosen = np.asarray(self.chosen[rows])
        taken = _read(self.array, chosen.reshape(-1))
        taken[~np.reshape(self.present[rows], -1)] = 0
        return taken.astype(self.dtype, copy=False).reshape(*chosen.shape, *self.example)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All rows, for whoever needs them at once."""
        if copy is False:
            raise ValueError("rows in a file become an array only by being copied")
        whole = np.empty(self.shape, self.dtype)
        for start, block in blocks(self):
            whole[start : start + len(block)] = block
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def select(self, rows: slice | np.ndarray) -> StoredRows:
        """The rows of a slice, of row numbers or of a mask; nothing is read."""
        return dataclasses.replace(self, chosen=self.chosen[rows], present=self.present[rows])


def of(
    array: np.ndarray,
    chosen: np.ndarray,
    present: np.ndarray,
    dtype: str,
    example: tuple[int, ...],
) -> np.ndarray | StoredRows:
    """Rows of an array as `StoredRows` where it is mapped from a file, else copied.

    One number a row is little and is copied. So is an array whose columns lie one after the other
    in the file (Fortran order): to read a row there is to touch all of it.
    """
    if math.prod(example) > 1 and array.flags.c_contiguous and _is_file(array):
        return StoredRows(array, chosen, present, np.dtype(dtype), example)
    taken = np.array(array[chosen])
    taken[~present] = 0
    return taken.astype(dtype, copy=False).reshape(len(chosen), *example)


def blocks(values: np.ndarray | StoredRows) -> Iterator[tuple[int, np.ndarray]]:
    """(number of the first row, rows) of all rows, a row or at most `BLOCK` numbers at a time."""
    step = max(1, BLOCK // max(1, math.prod(values.shape[1:])))
    for start in range(0, len(values), step):
        yield start, np.asarray(values[start : start + step])
        release(values)


def _is_file(array: np.ndarray) -> bool:
    """Whether an array is mapped from a file, and no part of one that is."""
    return isinstance(array, np.memmap) and isinstance(array.base, mmap.mmap)


def _read(array: np.memmap, rows: np.ndarray) -> np.ndarray:
    """Copies of these rows ``[n, ...]``, by reading the file instead of the map.

    Through the map a row brings along what the system keeps in one piece with it, which may be
    megabytes; and where the file has become shorter since, it would kill the process.

    Raises:
      UserError: the file has become shorter.
    """
    size = math.prod(array.shape[1:]) * array.itemsize
    taken = np.empty((len(rows), *array.shape[1:]), array.dtype)
    target = taken.reshape(-1).view(np.uint8)
    begins = np.flatnonzero(
        np.diff(rows, prepend=-2) != 1
    )  # of runs of rows that follow each other
    ends = np.append(begins[1:], len(rows))
    with open(array.filename, "rb", buffering=0) as file:
        for begin, end in zip(begins.tolist(), ends.tolist(), strict=False):
            file.seek(array.offset + int(rows[begin]) * size)
            place = begin * size
            while place < end * size:
                count = file.readinto(target[place : end * size])
                if not count:
                    raise UserError(f"{array.filename} has become shorter since it was opened")
                place += count
    return taken


def release(values: Any) -> None:
    """Gives back the memory that reading a mapped array took; the system's file cache keeps it.

    Without this a process that went through a file once would hold all of it until somebody else
    needs the memory. An array that is not mapped stays as it is.
    """
    while isinstance(values, np.ndarray):
        values = values.base
    if isinstance(values, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        values.madvise(mmap.MADV_DONTNEED)
