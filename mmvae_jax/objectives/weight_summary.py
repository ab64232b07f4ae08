"""What many log-weights come to, without keeping them: summaries of chunks that can be merged.

From draws z_k and log-weights log p(x, z_k) - log q(z_k | x): the importance-sampling estimate of
log p(x), how many of the draws count in it, and how much the log-weights vary.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from mmvae_jax.distributions import as_float32, masked_log_sum_exp, selection
from mmvae_jax.types import Array, ArrayLike


class WeightSummary(NamedTuple):
    """Of the K log-weights of every example; each array is [B].

    Attributes:
      count: K.
      log_sum: log of the sum of the weights.
      log_sum_of_squares: log of the sum of their squares.
      center: the mean of the log-weights.
      spread: the sum of squared deviations of the log-weights from it.
    """

    count: Array
    log_sum: Array
    log_sum_of_squares: Array
    center: Array
    spread: Array

    @property
    def log_mean(self) -> Array:
        """log (1/K) sum_k w_k: estimates log p(x), from below in expectation."""
        return self.log_sum - jnp.log(self.count)

    @property
    def effective_sample_size(self) -> Array:
        """(sum_k w_k)^2 / sum_k w_k^2, from 1 (one draw decides) to K (all weights are alike)."""
        return jnp.exp(2.0 * self.log_sum - self.log_sum_of_squares)

    @property
    def variance(self) -> Array:
        """The unbiased variance of log w_k over k; NaN where K is 1."""
        return jnp.where(self.count > 1, self.spread / jnp.maximum(self.count - 1, 1.0), jnp.nan)


def summarize_weights(log_w: ArrayLike, where: ArrayLike | None = None) -> WeightSummary:
    """The summary of log-weights [K, B], of which ``where`` [K] (default: all) count."""
    (log_w,) = as_float32(log_w)
    selected = selection(where, log_w.shape)
    count = selected.sum(0, dtype=log_w.dtype)
    chosen = jnp.where(selected, log_w, 0.0)
    center = chosen.sum(0) / jnp.maximum(count, 1.0)
    return WeightSummary(
        count=count,
        log_sum=masked_log_sum_exp(log_w, 0, where=selected),
        log_sum_of_squares=masked_log_sum_exp(2.0 * chosen, 0, where=selected),
        center=center,
        spread=jnp.where(selected, (chosen - center[None]) ** 2, 0.0).sum(0),
    )


def merge_summaries(first: WeightSummary, second: WeightSummary) -> WeightSummary:
    """The summary of both sets of draws together (Chan, Golub & LeVeque 1979)."""
    count = first.count + second.count
    share = second.count / jnp.maximum(count, 1.0)
    apart = second.center - first.center
    return WeightSummary(
        count=count,
        log_sum=jnp.logaddexp(first.log_sum, second.log_sum),
        log_sum_of_squares=jnp.logaddexp(first.log_sum_of_squares, second.log_sum_of_squares),
        center=first.center + share * apart,
        spread=first.spread + second.spread + apart**2 * first.count * share,
    )
