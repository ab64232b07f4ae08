"""Coefficients that change with the training step."""

from __future__ import annotations

import jax.numpy as jnp

from mmvae_jax.types import Array


def linear_warmup(step: Array, steps: int) -> Array:
    """(step + 1) / steps, at most 1: the annealed beta of step 0, 1, ...; 1 where steps is 0.

    Args:
      step: int scalar, traced; the first step is 0.
      steps: length of the warm-up, static.
    """
    if steps == 0:
        return jnp.ones([], jnp.float32)
    return jnp.minimum((step + 1).astype(jnp.float32) / jnp.float32(steps), 1.0)
