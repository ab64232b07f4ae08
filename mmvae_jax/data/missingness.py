"""Making a complete split a partial one, the same way in every process and in every run."""

from __future__ import annotations

import dataclasses

import numpy as np

from mmvae_jax.data.contract import Split


def drop(split: Split, probability: float, seed: int) -> Split:
    """Marks modalities as absent, each independently, and never all of a row.

    A row that would lose everything keeps one modality, chosen uniformly. What is absent stays in
    the arrays: by the contract of batches nothing reads it. Row i depends on the seed and on i
    alone, so that a longer split begins like a shorter one.

    Args:
      split: rows; what is absent already stays absent.
      probability: that a modality of a row is left out, in [0, 1).
      seed: decides which.
    """
    names = list(split.x)
    rng = np.random.default_rng([seed, 0x6D697373])
    draws = rng.random((len(split), len(names) + 1))
    present = np.stack([split.present[name] for name in names], 1)
    kept = present & (draws[:, :-1] >= probability)
    lost = np.flatnonzero(present.any(1) & ~kept.any(1))
    for row in lost:
        choices = np.flatnonzero(present[row])
        kept[row, choices[int(draws[row, -1] * len(choices))]] = True
    return dataclasses.replace(split, present=dict(zip(names, kept.T, strict=True)))
