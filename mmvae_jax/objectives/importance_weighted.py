"""Importance-weighted bounds over K samples, and their doubly reparameterized gradient.

Log-weights are [K, ...]: samples first. Larger bounds are better; a model's loss negates them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from mmvae_jax.distributions import (
    Axis,
    as_float32,
    log_mean_exp,
    masked_log_sum_exp,
    selection,
)
from mmvae_jax.types import Array, ArrayLike


def normalized_weights(
    log_w: ArrayLike, axis: Axis = 0, *, where: ArrayLike | None = None
) -> Array:
    """exp(log_w) divided by its sum over `axis`, as constants (no gradient), shape of log_w.

    Entries that are not selected get weight 0, and so does everything where all selected are -inf.
    """
    (log_w,) = as_float32(log_w)
    log_w = jax.lax.stop_gradient(log_w)
    selected = selection(where, log_w.shape)
    log_sum = jnp.expand_dims(masked_log_sum_exp(log_w, axis, where=selected), axis)
    log_sum = jnp.where(jnp.isneginf(log_sum), 0.0, log_sum)
    return jnp.where(selected, jnp.exp(jnp.where(selected, log_w, 0.0) - log_sum), 0.0)


def iwae(log_w: ArrayLike, *, where: ArrayLike | None = None) -> Array:
    """The importance-weighted bound log (1/K) sum_k exp(log_w[k]), [K, ...] -> [...].

    Burda et al. 2016. `where` as in `log_mean_exp`: [K, ...] or [K].
    """
    if jnp.ndim(log_w) < 1:
        raise ValueError("log_w needs a leading axis of samples, [K, ...], got a scalar")
    return log_mean_exp(log_w, 0, where=where)


@jax.custom_jvp
def _scale_tangent(x: Array, weight: Array) -> Array:
    del weight
    return x


@_scale_tangent.defjvp
def _scale_tangent_jvp(
    primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    # A rule for tangents that is linear in them serves both directions of differentiation; the
    # value stays x itself, so that the compiler sees the same forward pass with and without it.
    x, weight = primals
    return x, tangents[0] * weight


def scale_cotangent(x: ArrayLike, weight: ArrayLike) -> Array:
    """x unchanged; the gradient that arrives at it is multiplied by `weight`.

    weight: its shape is the beginning of x's shape; it is repeated over x's trailing axes and gets
    no gradient itself.
    """
    x, weight = jnp.asarray(x), jnp.asarray(weight)
    if x.shape[: weight.ndim] != weight.shape:
        raise ValueError(
            f"weight {weight.shape} must be the leading axes of x, which has shape {x.shape}"
        )
    if not jnp.issubdtype(x.dtype, jnp.floating):
        return x
    weight = jnp.expand_dims(weight, tuple(range(weight.ndim, x.ndim))).astype(x.dtype)
    return _scale_tangent(x, jax.lax.stop_gradient(weight))


def doubly_reparameterized(
    log_weight_fn: Callable[[Any, Any], Array],
) -> Callable[[Any, Any], Array]:
    """The IWAE bound with the doubly reparameterized gradient (Tucker et al. 2019, DReG).

    Args:
      log_weight_fn: (params, z) -> log-weights [K, ...]. Its posterior densities must use detached
        posterior parameters, so that these are reached through z alone. z is an array or a pytree
        of reparametrised posterior samples whose leading axes are those of the log-weights; other
        samples enter through params, or they get a wrong weight. It must be deterministic, and
        may close over traced values, which get the gradient of params.

    Returns:
      bound(params, z) -> [...]: value log (1/K) sum_k exp(log_w[k]); gradient of params
      sum_k w_k d log_w[k], of z sum_k w_k**2 d log_w[k], with w the normalised weights.

    The weights come from a forward pass of their own. It is equal, operation by operation, to the
    one that is differentiated, so compiled code holds it once (rematerialised or scanned code
    inside log_weight_fn would be run twice).
    """

    def bound(params: Any, z: Any) -> Array:
        log_w = log_weight_fn(jax.lax.stop_gradient(params), jax.lax.stop_gradient(z))
        weight = normalized_weights(log_w, axis=0)
        z = jax.tree.map(lambda sample: scale_cotangent(sample, weight), z)
        # The bound's own derivative with respect to log_w is the first factor w.
        return iwae(log_weight_fn(params, z))

    return bound
