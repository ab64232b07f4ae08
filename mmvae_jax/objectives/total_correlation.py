"""KL to the prior, split into mutual information, total correlation and dimension-wise KL.

E_x KL(q(z|x) || p(z)) = MI + TC + sum_d KL(q(z_d) || p(z_d)) (Chen et al. 2018, beta-TCVAE), with
the aggregate posterior q(z) estimated from the minibatch.
"""

from __future__ import annotations

import jax.numpy as jnp

from mmvae_jax.distributions import as_float32, masked_log_sum_exp
from mmvae_jax.types import Array, ArrayLike


def minibatch_kl_decomposition(
    log_q_pairwise: ArrayLike,
    log_p: ArrayLike,
    dataset_size: ArrayLike | int,
    *,
    present: ArrayLike | None = None,
) -> tuple[Array, Array, Array]:
    """One-sample estimates per example of MI, TC and the dimension-wise KL.

    With N = dataset_size, z_i ~ q(z|x_i), and means over the other present rows of the batch::

        q(z_i) ~ q(z_i|x_i) / N + (N-1)/N * mean_{j != i} q(z_i|x_j)      (each dimension alike)

    so that MI_i + TC_i + KL_i = log q(z_i|x_i) - log p(z_i) exactly. The own term has its true
    share 1/N, which keeps the bias small: at B = 512, N = 50,000, D = 8 and a true TC of 0 about
    -0.4. With D = 1 the TC is exactly 0.

    Args:
      log_q_pairwise: [B, B, D]; log q(z_i^d | x_j) at [i, j, d]. Memory O(B**2 D).
      log_p: [B, D], log p(z_i^d).
      dataset_size: N >= 1, the number of examples that have this modality; may be traced.
      present: bool [B]; rows that are absent enter no sum, as sample or as component. They may
        hold anything, even NaN.

    Returns:
      (mutual_information, total_correlation, dimension_wise_kl), each float32 [B], 0 where absent.
      A row without any other present row is its own aggregate: MI 0, TC 0.

    Raises:
      ValueError: where shapes do not fit, or a known dataset_size is below 1.
    """
    log_q, log_p, size = as_float32(log_q_pairwise, log_p, dataset_size)
    present = _checked_present(log_q, log_p, dataset_size, present)
    pair = present[:, None] & present[None, :]
    log_q = jnp.where(pair[:, :, None], log_q, 0.0)
    log_p = jnp.where(present[:, None], log_p, 0.0)

    log_weight = _log_component_weights(pair, size)
    joint = jnp.sum(log_q, axis=-1)
    log_aggregate = masked_log_sum_exp(joint + log_weight, 1)
    log_marginals = jnp.sum(masked_log_sum_exp(log_q + log_weight[:, :, None], 1), axis=-1)
    terms = (
        jnp.diagonal(joint) - log_aggregate,
        log_aggregate - log_marginals,
        log_marginals - jnp.sum(log_p, axis=-1),
    )
    return tuple(jnp.where(present, term, 0.0) for term in terms)


def _log_component_weights(pair: Array, size: Array) -> Array:
    """log of the share of component j in the estimate of q(z_i), [B, B]; -inf where it has none."""
    own = jnp.eye(pair.shape[0], dtype=bool)
    other = pair & ~own
    num_others = jnp.sum(other, axis=1, keepdims=True, dtype=size.dtype)
    alone = num_others == 0.0
    log_own = jnp.where(alone, 0.0, -jnp.log(size))
    log_other = jnp.log1p(-1.0 / size) - jnp.log(jnp.where(alone, 1.0, num_others))
    return jnp.where(own, log_own, jnp.where(other, log_other, -jnp.inf))


def _checked_present(
    log_q: Array, log_p: Array, dataset_size: ArrayLike | int, present: ArrayLike | None
) -> Array:
    if log_q.ndim != 3 or log_q.shape[0] != log_q.shape[1] or log_p.shape != log_q.shape[1:]:
        raise ValueError(
            f"log_q_pairwise must be [B, B, D] and log_p [B, D], "
            f"got {log_q.shape} and {log_p.shape}"
        )
    if isinstance(dataset_size, int | float) and dataset_size < 1:
        raise ValueError(f"dataset_size must be at least 1, got {dataset_size}")
    if jnp.ndim(dataset_size) != 0:
        raise ValueError(f"dataset_size must be a scalar, got shape {jnp.shape(dataset_size)}")
    present = jnp.ones(log_p.shape[:1], bool) if present is None else jnp.asarray(present)
    if present.shape != log_p.shape[:1] or present.dtype != bool:
        raise ValueError(
            f"present must be bool {log_p.shape[:1]}, got {present.dtype} {present.shape}"
        )
    return present
