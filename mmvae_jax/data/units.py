"""Location and scale of data by column, fitted on training rows in one or two passes over them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from mmvae_jax.data.rows import StoredRows, blocks

# A column that varies by less than this share of its mean does not vary as far as float32 can tell.
_SMALLEST = 1e-6


def standardisation(x: np.ndarray | StoredRows, present: np.ndarray) -> dict[str, Any]:
    """``location`` and ``scale`` of a ModalitySpec: means and standard deviations by column.

    The scale of a constant column is 1.

    Args:
      x: ``[N, D]``.
      present: which of the rows count, bool ``[N]``; there must be one.
    """
    count = np.count_nonzero(present)
    location = sum(block.sum(0) for block in _present(x, present)) / count
    squares = sum(((block - location) ** 2).sum(0) for block in _present(x, present))
    spread = np.sqrt(squares / count)
    scale = np.where(spread > _SMALLEST * np.abs(location), spread, 1.0)
    return {"location": tuple(location.tolist()), "scale": tuple(scale.tolist())}


def rates(counts: np.ndarray | StoredRows, present: np.ndarray, library: bool) -> dict[str, Any]:
    """``location``, the logarithm of each column's mean, and ``library_size``, of ``[N, D]``.

    Only starting points: half a count is added to each column, since one without any has no
    logarithm. With `library` the size is the mean of the rows' totals.

    Args:
      counts: ``[N, D]``.
      present: which of the rows count, bool ``[N]``; there must be one.
      library: whether there is a library size.
    """
    rows = np.count_nonzero(present)
    total = sum(block.sum(0) for block in _present(counts, present))
    size = float(total.sum() / rows) if library else 0.0
    return {
        "location": tuple(np.log((total + 0.5) / rows).tolist()),
        "library_size": (size or 1.0) if library else 0.0,
    }


def _present(x: np.ndarray | StoredRows, present: np.ndarray) -> Iterator[np.ndarray]:
    """The present rows as float64, in parts."""
    for start, block in blocks(x):
        yield np.asarray(block[present[start : start + len(block)]], np.float64)
