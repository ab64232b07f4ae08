"""Which rows are looked at where not all of them are: a fair choice, whatever their order.

Rows may be sorted by class, or classes may take turns, so that neither the first rows nor rows at
even distances are a fair sample.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_SEED = 0


def fair_order(count: int) -> np.ndarray:
    """The numbers 0 to count - 1 in a random order [count] that depends on ``count`` alone."""
    return np.random.default_rng([_SEED, count]).permutation(count)


def some(rows: np.ndarray, count: int) -> np.ndarray:
    """So many of these row numbers [N], or all where there are no more: in their order.

    Drawn at random without replacement, the same in every run; fewer are among more of the same.
    """
    if len(rows) <= count:
        return rows
    return rows[np.sort(fair_order(len(rows))[:count])]


def some_rows(split: Any, count: int) -> Any:
    """So many rows of a split, chosen as by `some`; the split itself where there are no more."""
    if len(split) <= count:
        return split
    return split.select(some(np.arange(len(split)), count))
