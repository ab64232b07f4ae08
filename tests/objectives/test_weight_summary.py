from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from mmvae_jax import objectives


@jax.jit
def summary_of(chunks, counts):
    """Chunks [C, 9, B] of which the first counts [C] rows count."""
    total = objectives.summarize_weights(chunks[0], jnp.arange(9) < counts[0])
    for index in (1, 2):
        part = objectives.summarize_weights(chunks[index], jnp.arange(9) < counts[index])
        total = objectives.merge_summaries(total, part)
    return total.log_mean, total.effective_sample_size, total.variance


@pytest.mark.parametrize("sizes", [(0, 7, 0), (3, 1, 3), (1, 1, 5)])
def test_chunks_come_to_the_same_as_all_at_once(sizes):
    generator = np.random.default_rng(0)
    log_w = (3 * generator.normal(size=(7, 4)) - 1200).astype(np.float32)
    chunks = np.full((3, 9, 4), np.nan, np.float32)  # what does not count may be anything
    for chunk, part in zip(chunks, np.split(log_w, np.cumsum(sizes)[:-1]), strict=True):
        chunk[: len(part)] = part
    log_mean, effective, variance = summary_of(chunks, np.array(sizes))
    exact = log_w.astype(np.float64)
    log_sum = special.logsumexp(exact, 0)
    np.testing.assert_allclose(log_mean, log_sum - np.log(7), rtol=1e-6)
    np.testing.assert_allclose(
        effective,
        np.exp(2 * log_sum - special.logsumexp(2 * exact, 0)),
        rtol=1e-3,
    )
    np.testing.assert_allclose(variance, exact.var(0, ddof=1), rtol=1e-4)


def test_equal_weights_all_count_and_one_draw_has_no_variance():
    log_w = np.full((3, 9, 4), -2.0, np.float32)
    log_mean, effective, variance = summary_of(log_w, np.array([2, 0, 3]))
    np.testing.assert_allclose(effective, 5.0, rtol=1e-6)
    np.testing.assert_allclose(log_mean, -2.0, rtol=1e-6)
    np.testing.assert_array_equal(variance, 0.0)
    assert np.isnan(summary_of(log_w, np.array([0, 1, 0]))[2]).all()
