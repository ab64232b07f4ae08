"""Rows of an array by their numbers, copied only when they are asked for.

A data set that shows every image in many pairs has each image once in memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

from mmvae_jax.data.contract import SPLITS, Split


class Gathered:
    """Stands for ``pool[rows]``: what a `Split` asks of an array, and nothing else.

    Row numbers, marks or one number give a copy of these rows, ``numpy.asarray`` one of all; what
    a slice or `select` gives is another `Gathered`.

    Attributes:
      pool: ``[P, *shape]``.
      rows: int ``[N]``, numbers from 0 to P - 1.
    """

    def __init__(self, pool: np.ndarray, rows: np.ndarray) -> None:
        self.pool, self.rows = pool, rows

    @property
    def shape(self) -> tuple[int, ...]:
        """``(N, *shape)``."""
        return (len(self.rows), *self.pool.shape[1:])

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.pool.ndim

    @property
    def dtype(self) -> np.dtype:
        """Of the pool."""
        return self.pool.dtype

    @property
    def nbytes(self) -> int:
        """What all rows take once they are copied."""
        return len(self.rows) * self.pool[:1].nbytes

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: slice | int | np.ndarray) -> Gathered | np.ndarray:
        rows = self.rows[key]
        return Gathered(self.pool, rows) if isinstance(key, slice) else self.pool[rows]

    def select(self, rows: slice | np.ndarray) -> Gathered:
        """The rows of a slice, of row numbers or of a mask; nothing is copied."""
        return Gathered(self.pool, self.rows[rows])

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("rows by number cannot be had without a copy")
        return self.pool[self.rows].astype(dtype or self.dtype, copy=False)

    def __repr__(self) -> str:
        return f"Gathered({self.dtype}{list(self.shape)} from {len(self.pool):,} rows)"


def fingerprint(splits: Mapping[str, Split]) -> str:
    """Hash (32 hexadecimal digits) of splits whose rows are all present: each pool once."""
    digest = hashlib.blake2b(digest_size=16)
    pools: dict[int, bytes] = {}
    for part in SPLITS:
        split = splits[part]
        known = {"label": split.label, "item": split.item}
        arrays = {**split.x, **{key: array for key, array in known.items() if array is not None}}
        for name, values in sorted(arrays.items()):
            digest.update(f"{part}/{name};".encode())
            if isinstance(values, Gathered):
                if id(values.pool) not in pools:
                    pools[id(values.pool)] = _hash(values.pool)
                digest.update(pools[id(values.pool)])
                values = values.rows
            digest.update(_hash(values))
    return digest.hexdigest()


def _hash(values: np.ndarray) -> bytes:
    digest = hashlib.blake2b(f"{values.dtype.str} {values.shape};".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(values).reshape(-1).view(np.uint8))
    return digest.digest()
