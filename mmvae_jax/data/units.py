"""Location and scale of data by column, fitted on training rows."""

from __future__ import annotations

from typing import Any

import numpy as np

# A column that varies by less than this share of its mean does not vary as far as float32 can tell.
_SMALLEST = 1e-6


def standardisation(x: np.ndarray) -> dict[str, Any]:
    """``location`` and ``scale`` of a ModalitySpec: means and standard deviations of ``[n, D]``.

    The scale of a constant column is 1.
    """
    x = np.asarray(x, np.float64)
    location = x.mean(0)
    spread = x.std(0)
    scale = np.where(spread > _SMALLEST * np.abs(location), spread, 1.0)
    return {"location": tuple(location.tolist()), "scale": tuple(scale.tolist())}


def rates(counts: np.ndarray, library: bool) -> dict[str, Any]:
    """``location``, the logarithm of each column's mean, and ``library_size``, of ``[n, D]``.

    Only starting points: half a count is added to each column, since one without any has no
    logarithm. With `library` the size is the mean of the rows' totals.
    """
    total = np.asarray(counts, np.float64)
    location = np.log((total.sum(0) + 0.5) / len(total))
    size = float(total.sum(1).mean()) if library else 0.0
    return {
        "location": tuple(location.tolist()),
        "library_size": (size or 1.0) if library else 0.0,
    }
