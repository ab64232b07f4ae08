"""The objective of one direction of MEME (Joy et al., ICLR 2022)."""

from __future__ import annotations

import jax

from mmvae_jax.distributions import as_float32, log_mean_exp
from mmvae_jax.types import Array, ArrayLike


def mutual_supervision(
    log_p_source: ArrayLike,
    log_q_target: ArrayLike,
    log_ratio: ArrayLike,
    *,
    label_coefficient: float = 1.0,
) -> tuple[Array, Array]:
    """w (log p(s|z) + log p(z|t) - log q(z|s) - log q(t|z)) + c log q(t|s): Eq. 6 without log p(t).

    w = q(t|z) / q(t|s) takes no gradient (App. B: that of the full estimator is mostly noise).
    q(t|s) is the mean of q(t|z_k) over K fresh draws of q(z|s) and z itself, so that w is at most
    K + 1 (App. D, whose Eq. 8 leaves out the division).

    Args:
      log_p_source: log p(s|z), [...], z a draw from q(z|s).
      log_q_target: log q(t|z_k), [K + 1, ...], that of z itself first; 0 where no t is observed,
        which makes w 1 and the result the bound of s alone (Eq. 4).
      log_ratio: log p(z|t) - log q(z|s) at z or minus its expectation, KL(q(z|s) || p(z|t)), [...].
      label_coefficient: c; 1 in the paper, 10 in its published code.

    Returns:
      The objective, larger is better, and w, each [...].

    Raises:
      ValueError: where the shapes do not fit.
    """
    log_p_source, log_q_target, log_ratio = as_float32(log_p_source, log_q_target, log_ratio)
    shapes = log_p_source.shape, log_q_target.shape[1:], log_ratio.shape
    if log_q_target.ndim < 1 or len(set(shapes)) > 1:
        raise ValueError(
            f"log_p_source and log_ratio must be [...], log_q_target [K + 1, ...], got "
            f"{log_p_source.shape}, {log_ratio.shape} and {log_q_target.shape}"
        )
    # q(t|z) over the mean of all K + 1, without the rounding of two large logarithms.
    share = jax.nn.softmax(jax.lax.stop_gradient(log_q_target), axis=0)[0]
    weight = log_q_target.shape[0] * share
    bound = weight * (log_p_source + log_ratio - log_q_target[0])
    return bound + label_coefficient * log_mean_exp(log_q_target, axis=0), weight
