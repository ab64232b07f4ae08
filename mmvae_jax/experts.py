"""How the experts of several modalities become one distribution.

Experts come stacked on a leading axis M. `present` says which of them there are: bool, one value
per expert ([M]) or per expert and batch member ([M, ...]). What an absent expert holds, NaN and
infinities included, reaches neither a result nor a gradient.
"""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from mmvae_jax.distributions import as_float32, check_same_rank, log_mean_exp
from mmvae_jax.types import Array, ArrayLike

_MOST_MODALITIES_FOR_ALL_SUBSETS = 20


def _expert_mask(present: ArrayLike | None, shape: tuple[int, ...]) -> Array:
    """`present` broadcast to [M, ...] with an axis of size 1 for the last axis of `shape`."""
    leading = shape[:-1]
    if present is None:
        return jnp.ones((*leading, 1), bool)
    present = jnp.asarray(present)
    if present.dtype != bool:
        raise TypeError(f"present must be boolean, got {present.dtype}")
    if present.ndim == 1:
        present = jnp.expand_dims(present, tuple(range(1, len(leading))))
    fits = present.ndim == len(leading) and present.shape[0] == leading[0]
    if not fits or any(p not in (1, n) for p, n in zip(present.shape, leading, strict=True)):
        raise ValueError(f"present must have shape {leading[:1]} or {leading}, got {present.shape}")
    return jnp.broadcast_to(present, leading)[..., None]


def product_of_gaussians(
    loc: ArrayLike, scale: ArrayLike, present: ArrayLike | None = None, *, prior: bool = True
) -> tuple[Array, Array]:
    """Normalised product of the present Gaussian experts: precisions add up (Wu & Goodman 2018).

    Args:
      loc: [M, ..., D].
      scale: [M, ..., D], standard deviations.
      present: bool [M] or [M, ...]; all where it is not given.
      prior: whether N(0, I) is one of the factors.

    Returns:
      (loc, scale), each [..., D]; N(0, I) where nothing is present, with or without the prior.

    Raises:
      ValueError: where the shapes do not fit.
    """
    loc, scale = as_float32(loc, scale)
    if loc.ndim < 2 or loc.shape != scale.shape or loc.shape[0] < 1:
        raise ValueError(
            f"loc and scale must both be [M, ..., D], got {loc.shape} and {scale.shape}"
        )
    mask = _expert_mask(present, loc.shape)
    loc = jnp.where(mask, loc, 0.0)
    scale = jnp.where(mask, scale, 1.0)
    # Precisions relative to the sharpest factor lie in (0, 1]: nothing overflows between scales of
    # 1e-4 and 1e3. The result does not depend on the reference, so it takes no gradient.
    reference = jnp.min(scale, axis=0, where=mask, initial=1.0 if prior else jnp.inf)
    reference = jax.lax.stop_gradient(jnp.where(jnp.isfinite(reference), reference, 1.0))
    precision = jnp.where(mask, jnp.square(reference[None] / scale), 0.0)
    total = jnp.sum(precision, axis=0)
    if prior:
        total = total + jnp.square(reference)
    total = jnp.where(jnp.any(mask, axis=0), total, 1.0)
    return jnp.sum(precision * loc, axis=0) / total, reference / jnp.sqrt(total)


def quotient_of_gaussians(
    loc_p: ArrayLike, scale_p: ArrayLike, loc_q: ArrayLike, scale_q: ArrayLike
) -> tuple[Array, Array]:
    """The Gaussian proportional to N(loc_p, scale_p**2) / N(loc_q, scale_q**2), elementwise.

    Precisions are subtracted. Where scale_p >= scale_q the quotient is not a density: both results
    are NaN there, with gradient 0. Arrays broadcast only if their ranks are equal.

    Returns:
      (loc, scale).
    """
    loc_p, scale_p, loc_q, scale_q = as_float32(loc_p, scale_p, loc_q, scale_q)
    shape = check_same_rank(loc_p=loc_p, scale_p=scale_p, loc_q=loc_q, scale_q=scale_q)
    valid = jnp.broadcast_to((scale_p > 0.0) & (scale_q > scale_p), shape)
    scale_p = jnp.where(valid, scale_p, 1.0)
    scale_q = jnp.where(valid, scale_q, 2.0)
    ratio = scale_p / scale_q
    # 1 - ratio**2 without cancellation where the two scales are close.
    remaining = (scale_q - scale_p) / scale_q * (1.0 + ratio)
    loc = loc_p + jnp.square(ratio) * (loc_p - loc_q) / remaining
    scale = scale_p / jnp.sqrt(remaining)
    return jnp.where(valid, loc, jnp.nan), jnp.where(valid, scale, jnp.nan)


def product_of_concretes(logits: ArrayLike, present: ArrayLike | None = None) -> Array:
    """Class log-probabilities of the product of the present concrete experts.

    Approximates the product of Concrete densities at one temperature as that temperature goes to 0:
    class probabilities multiply, so logits add up; the uniform prior changes nothing.

    Args:
      logits: [M, ..., C], unnormalised; -inf excludes a class.
      present: bool [M] or [M, ...].

    Returns:
      Normalised log-probabilities [..., C]: uniform where nothing is present, NaN where the present
      experts exclude every class.
    """
    (logits,) = as_float32(logits)
    if logits.ndim < 2 or logits.shape[0] < 1:
        raise ValueError(f"logits must be [M, ..., C], got {logits.shape}")
    mask = _expert_mask(present, logits.shape)
    log_probs = jax.nn.log_softmax(jnp.where(mask, logits, 0.0), axis=-1)
    return jax.nn.log_softmax(jnp.sum(jnp.where(mask, log_probs, 0.0), axis=0), axis=-1)


def mixture_log_prob(log_probs: ArrayLike, present: ArrayLike | None = None) -> Array:
    """Log-density of the even mixture of the present experts: log of their mean density.

    Args:
      log_probs: [M, ...], each component's log-density; may hold -inf.
      present: bool, [M] or of log_probs' rank (axes of size 1 broadcast).

    Returns:
      [...]; 0 with gradient 0 where nothing is present.
    """
    if jnp.ndim(log_probs) < 1:
        raise ValueError("log_probs must be [M, ...], got a scalar")
    return log_mean_exp(log_probs, 0, where=present)


def subsets(num_modalities: int, *, include_empty: bool = False) -> np.ndarray:
    """Every non-empty subset of the modalities as a static table, bool [2**M - 1, M].

    Rows are ordered by size, singletons first and in the order of the modalities, the full set
    last; within a size they are in lexicographic order of their members. `include_empty` puts a
    row of False in front.
    """
    if not 1 <= num_modalities <= _MOST_MODALITIES_FOR_ALL_SUBSETS:
        raise ValueError(
            f"num_modalities must be from 1 to {_MOST_MODALITIES_FOR_ALL_SUBSETS}, "
            f"got {num_modalities}"
        )
    sizes = range(0 if include_empty else 1, num_modalities + 1)
    members = [m for size in sizes for m in itertools.combinations(range(num_modalities), size)]
    table = np.zeros((len(members), num_modalities), bool)
    for row, chosen in zip(table, members, strict=True):
        row[list(chosen)] = True
    return table
