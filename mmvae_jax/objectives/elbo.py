"""The evidence lower bound of one sample."""

from __future__ import annotations

import jax.numpy as jnp

from mmvae_jax.distributions import as_float32
from mmvae_jax.types import Array, ArrayLike


def elbo(log_px: ArrayLike, kl: ArrayLike, *, beta: ArrayLike | float = 1.0) -> Array:
    """sum_m log p(x_m|z) - beta * KL, [..., B]; a lower bound on log p(x) where beta >= 1.

    Args:
      log_px: [..., M, B], already masked (0 where absent) and weighted.
      kl: [..., B], analytic or sampled.
      beta: a scalar (may be traced: a warm-up), or of kl's rank.

    Raises:
      ValueError: where the shapes do not fit.
    """
    log_px, kl, beta = as_float32(log_px, kl, beta)
    if log_px.ndim < 2 or log_px.shape[:-2] + log_px.shape[-1:] != kl.shape:
        raise ValueError(
            f"log_px must be [..., M, B] and kl [..., B], got {log_px.shape} and {kl.shape}"
        )
    if beta.ndim not in (0, kl.ndim):
        raise ValueError(
            f"beta must be a scalar or have the rank of kl {kl.shape}, got {beta.shape}"
        )
    return jnp.sum(log_px, axis=-2) - beta * kl
