"""Holding rows out of a training set."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mmvae_jax.data.contract import Split
from mmvae_jax.types import UserError

# Training rows that stand in for validation where none are held out.
LOOK_IN = 10_000


def hold_out(
    count: int, sizes: Mapping[str, int], seed: int, source: str
) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers for training and for validation, out of `count`, in random order.

    Raises:
      UserError: nothing would be left to train on.
    """
    held = sizes["validation"]
    if held >= count:
        raise UserError(
            f"data.num_validation is {held}, but {source} has {count} training rows in all"
        )
    rows = np.random.default_rng([seed, 0]).permutation(count)
    return (rows[held:], rows[:held]) if held else (rows, rows[:LOOK_IN])


def look_in(train: Split) -> Split:
    """Up to 10,000 training rows (whose order is random), as views: no memory is taken."""
    return train.select(slice(0, LOOK_IN))
