"""Means and bounds over the strata of a mixture, of which only some live in a row.

A stratum is one component that the code is drawn from; where it does not live (its modality is
absent), what it holds reaches neither value nor gradient, NaN and infinities included.
"""

from __future__ import annotations

import jax.numpy as jnp

from mmvae_jax.distributions import as_float32, log_mean_exp
from mmvae_jax.objectives.importance_weighted import iwae, normalized_weights
from mmvae_jax.types import Array, ArrayLike


def strata_mean(values: ArrayLike, alive: ArrayLike) -> Array:
    """Mean over the living strata: [S, ..., B] and bool [S, B] to [..., B]; 0 where none lives."""
    (values,) = as_float32(values)
    mask = jnp.asarray(alive)
    if mask.ndim != 2 or (values.shape[0], values.shape[-1]) != mask.shape:
        raise ValueError(f"values must be [S, ..., B], alive [S, B]: {values.shape}, {mask.shape}")
    mask = jnp.expand_dims(mask, tuple(range(1, values.ndim - 1)))
    count = jnp.maximum(mask.sum(0), 1).astype(values.dtype)
    return jnp.where(mask, values, 0.0).sum(0) / count


def stratified_bound(log_w: ArrayLike, alive: ArrayLike, *, tighter: bool = False) -> Array:
    """The importance-weighted bound of K draws of each stratum, [K, S, B] to [B].

    Looser: the mean over strata of the log-mean-exp over draws. Tighter: one log-mean-exp over
    both. Both bound log p(x) from below where log_w divides by the mixture of the living strata
    (Shi et al. 2019); 0 where none lives.

    Args:
      log_w: log-weights [K, S, B].
      alive: bool [S, B].
      tighter: which of the two.
    """
    mask = jnp.broadcast_to(jnp.asarray(alive)[None], jnp.shape(log_w))
    if tighter:
        return log_mean_exp(log_w, axis=(0, 1), where=mask)
    return strata_mean(iwae(log_w, where=mask), alive)


def stratified_weights(log_w: ArrayLike, alive: ArrayLike, *, tighter: bool = False) -> Array:
    """The normalised weights [K, S, B] of `stratified_bound`, as constants; 0 in dead strata.

    They sum to 1 over the draws of each living stratum or, for the tighter bound, over all draws.
    """
    mask = jnp.broadcast_to(jnp.asarray(alive)[None], jnp.shape(log_w))
    return normalized_weights(log_w, axis=(0, 1) if tighter else 0, where=mask)
