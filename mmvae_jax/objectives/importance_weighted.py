"""Importance-weighted bounds over K samples, and their doubly reparameterized gradient.

Log-weights are [K, ...]: samples first. Larger bounds are better; a model's loss negates them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from mmvae_jax.distributions import as_float32
from mmvae_jax.types import Array, ArrayLike

Axis = int | tuple[int, ...]


def _mask(where: ArrayLike | None, shape: tuple[int, ...]) -> Array:
    """`where` broadcast to `shape`; one mask value per index of the first axis ([K]) is enough."""
    if where is None:
        return jnp.ones(shape, bool)
    where = jnp.asarray(where)
    if where.dtype != bool:
        raise TypeError(f"a mask must be boolean, got {where.dtype}")
    given = where.shape
    if where.ndim == 1 and len(shape) > 1:
        where = jnp.expand_dims(where, tuple(range(1, len(shape))))
    fits = where.ndim == len(shape)
    if not fits or any(w not in (1, n) for w, n in zip(where.shape, shape, strict=True)):
        raise ValueError(
            f"a mask of shape {given} does not fit {shape}: give it the same rank, "
            "or one value per index of the first axis"
        )
    return jnp.broadcast_to(where, shape)


def masked_log_sum_exp(log_w: ArrayLike, axis: Axis, *, where: ArrayLike | None = None) -> Array:
    """log of the sum of exp over the selected entries of `axis`; -inf where none is selected.

    Entries that are not selected may hold NaN or infinities: neither value nor gradient sees them.
    A selected NaN gives NaN. Where the result is -inf, the gradient is 0.
    """
    (log_w,) = as_float32(log_w)
    selected = _mask(where, log_w.shape)
    peak = jax.lax.stop_gradient(
        jnp.max(log_w, axis, keepdims=True, where=selected, initial=-jnp.inf)
    )
    peak = jnp.where(jnp.isfinite(peak), peak, 0.0)
    # Selected before the exponential too: its derivative of what is left out could be 0 * NaN.
    total = jnp.sum(jnp.exp(jnp.where(selected, log_w - peak, 0.0)), axis, where=selected)
    empty = total == 0.0
    log_total = jnp.log(jnp.where(empty, 1.0, total)) + jnp.squeeze(peak, axis)
    return jnp.where(empty, -jnp.inf, log_total)


def log_mean_exp(log_w: ArrayLike, axis: Axis, *, where: ArrayLike | None = None) -> Array:
    """log of the mean of exp(log_w) over `axis`, in the log domain.

    Args:
      log_w: [...], may hold -inf.
      axis: an axis or several.
      where: bool, the rank of log_w (axes of size 1 broadcast), or one value per index of log_w's
        first axis. The mean is over the selected entries; the others may hold NaN or infinities
        and reach neither value nor gradient.

    Returns:
      log_w without `axis`; 0 with gradient 0 where nothing is selected.
    """
    (log_w,) = as_float32(log_w)
    selected = _mask(where, log_w.shape)
    count = jnp.sum(selected, axis, dtype=log_w.dtype)
    nothing = count == 0.0
    log_sum = masked_log_sum_exp(log_w, axis, where=selected)
    return jnp.where(nothing, 0.0, log_sum - jnp.log(jnp.where(nothing, 1.0, count)))


def normalized_weights(
    log_w: ArrayLike, axis: Axis = 0, *, where: ArrayLike | None = None
) -> Array:
    """exp(log_w) divided by its sum over `axis`, as constants (no gradient), shape of log_w.

    Entries that are not selected get weight 0, and so does everything where all selected are -inf.
    """
    (log_w,) = as_float32(log_w)
    log_w = jax.lax.stop_gradient(log_w)
    selected = _mask(where, log_w.shape)
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
