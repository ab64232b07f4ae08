"""Densities, their sums in the log domain, and scales.

Every log-density is computed in float32 (float64 where it is given), whatever the networks used.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from mmvae_jax.types import Array, ArrayLike

_LOG_2 = float(np.log(2.0))
_LOG_2PI = float(np.log(2.0 * np.pi))
SCALE_FLOOR = 1e-6

Axis = int | tuple[int, ...]


def as_float32(*values: ArrayLike | float) -> tuple[Array, ...]:
    """The values as float32 arrays; as float64 if one of them is a float64 jax array."""
    arrays = [jnp.asarray(value) for value in values]
    wide = any(isinstance(v, jax.Array) and v.dtype == np.float64 for v in values)
    return tuple(array.astype(np.float64 if wide else np.float32) for array in arrays)


def check_same_rank(**arrays: Array) -> tuple[int, ...]:
    """The common broadcast shape; arrays that are not scalars must have equal ranks.

    Raises:
      ValueError: with every name and shape, where ranks differ or axes do not broadcast.
    """
    shapes = {name: tuple(array.shape) for name, array in arrays.items() if array.ndim}
    try:
        if len({len(shape) for shape in shapes.values()}) > 1:
            raise ValueError
        return np.broadcast_shapes(*shapes.values())
    except ValueError:
        listing = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(
            f"shapes must have equal ranks and broadcast, got {listing}: add axes of size 1"
        ) from None


def selection(where: ArrayLike | None, shape: tuple[int, ...]) -> Array:
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
    selected = selection(where, log_w.shape)
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
    selected = selection(where, log_w.shape)
    count = jnp.sum(selected, axis, dtype=log_w.dtype)
    nothing = count == 0.0
    log_sum = masked_log_sum_exp(log_w, axis, where=selected)
    return jnp.where(nothing, 0.0, log_sum - jnp.log(jnp.where(nothing, 1.0, count)))


@jax.custom_jvp
def softplus(x: ArrayLike) -> Array:
    """log(1 + exp(x)), elementwise; a third of the time of jax.nn.softplus on CPU.

    That one goes through a logaddexp which also minds infinities of both signs.
    """
    (x,) = as_float32(x)
    return jnp.maximum(x, 0.0) + jnp.log1p(jnp.exp(-jnp.abs(x)))


@softplus.defjvp
def _softplus_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    """The derivative is a sigmoid, at 0 too, where max and abs have none."""
    (x,), (change,) = primals, tangents
    x, change = as_float32(x, change)
    return softplus(x), jax.nn.sigmoid(x) * change


def normal_log_prob(x: ArrayLike, loc: ArrayLike, scale: ArrayLike) -> Array:
    """log N(x; loc, scale**2), elementwise; scale is a standard deviation.

    Arrays broadcast only if their ranks are equal (scalars always do).
    """
    x, loc, scale = as_float32(x, loc, scale)
    check_same_rank(x=x, loc=loc, scale=scale)
    return -0.5 * jnp.square((x - loc) / scale) - jnp.log(scale) - 0.5 * _LOG_2PI


def laplace_log_prob(x: ArrayLike, loc: ArrayLike, scale: ArrayLike) -> Array:
    """log Laplace(x; loc, scale) = -|x - loc| / scale - log(2 scale), elementwise.

    The standard deviation is sqrt(2) * scale. Arrays broadcast only if their ranks are equal.
    """
    x, loc, scale = as_float32(x, loc, scale)
    check_same_rank(x=x, loc=loc, scale=scale)
    return -jnp.abs(x - loc) / scale - jnp.log(scale) - _LOG_2


def poisson_log_prob(x: ArrayLike, log_rate: ArrayLike) -> Array:
    """log Poisson(x; exp(log_rate)) of whole numbers x >= 0, elementwise."""
    x, log_rate = as_float32(x, log_rate)
    check_same_rank(x=x, log_rate=log_rate)
    return x * log_rate - jnp.exp(log_rate) - jax.lax.lgamma(x + 1.0)


def negative_binomial_log_prob(x: ArrayLike, log_mean: ArrayLike, r: ArrayLike) -> Array:
    """log of the negative binomial of mean m and variance m + m**2 / r at whole x, elementwise.

    Gamma(x + r) / (Gamma(r) x!) (r / (r + m))**r (m / (r + m))**x, which is Poisson's as r grows.
    The gamma functions come as a beta function, B(r, x + 1) (x + r): their logarithms cancel to
    nothing in float32 at large r.
    """
    x, log_mean, r = as_float32(x, log_mean, r)
    check_same_rank(x=x, log_mean=log_mean, r=r)
    log_choices = -jax.scipy.special.betaln(r, x + 1.0) - jnp.log(x + r)
    return log_choices + x * (log_mean - jnp.log(r)) - (x + r) * jnp.log1p(jnp.exp(log_mean) / r)


def normal_kl(loc_q: ArrayLike, scale_q: ArrayLike, loc_p: ArrayLike, scale_p: ArrayLike) -> Array:
    """KL(N(loc_q, scale_q**2) || N(loc_p, scale_p**2)), elementwise: sum it over D."""
    loc_q, scale_q, loc_p, scale_p = as_float32(loc_q, scale_q, loc_p, scale_p)
    check_same_rank(loc_q=loc_q, scale_q=scale_q, loc_p=loc_p, scale_p=scale_p)
    ratio = scale_q / scale_p
    return 0.5 * (jnp.square(ratio) + jnp.square((loc_q - loc_p) / scale_p) - 1.0) - jnp.log(ratio)


def laplace_kl(loc_q: ArrayLike, scale_q: ArrayLike, loc_p: ArrayLike, scale_p: ArrayLike) -> Array:
    """KL(Laplace(loc_q, scale_q) || Laplace(loc_p, scale_p)), elementwise: sum it over D."""
    loc_q, scale_q, loc_p, scale_p = as_float32(loc_q, scale_q, loc_p, scale_p)
    check_same_rank(loc_q=loc_q, scale_q=scale_q, loc_p=loc_p, scale_p=scale_p)
    distance = jnp.abs(loc_q - loc_p)
    expected = scale_q * jnp.exp(-distance / scale_q) + distance  # E|z - loc_p| under q
    return expected / scale_p - 1.0 + jnp.log(scale_p) - jnp.log(scale_q)


def positive_scale(raw: ArrayLike, *, floor: float = SCALE_FLOOR) -> Array:
    """softplus(raw) + floor: a free positive scale."""
    (raw,) = as_float32(raw)
    return softplus(raw) + floor


def sum_constrained_scale(raw: ArrayLike, *, floor: float = SCALE_FLOOR) -> Array:
    """D * softmax(raw, -1) + floor: scales over the last axis that sum to D (1 + floor)."""
    (raw,) = as_float32(raw)
    if raw.ndim < 1:
        raise ValueError("raw needs a latent axis, got a scalar")
    return raw.shape[-1] * jax.nn.softmax(raw, axis=-1) + floor
