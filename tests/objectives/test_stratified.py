"""Means and bounds over the strata that live."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from mmvae_jax import objectives

ALIVE = np.array([[True, True, False], [False, True, False]])


def test_strata_mean_counts_what_lives():
    values = np.array([[[1.0, 2.0, 3.0]], [[np.nan, 4.0, np.inf]]], np.float32)  # [S, 1, B]
    np.testing.assert_array_equal(objectives.strata_mean(values, ALIVE), [[1.0, 3.0, 0.0]])
    np.testing.assert_array_equal(objectives.strata_mean(values[:, 0], ALIVE), [1.0, 3.0, 0.0])
    with pytest.raises(ValueError, match=r"values must be \[S, ..., B\], alive \[S, B\]"):
        objectives.strata_mean(values, ALIVE[:, :2])


def test_bounds_ignore_dead_strata_even_where_they_hold_nan():
    log_w = jnp.stack(  # [K, S, B]
        [
            jnp.asarray([[0.0, 1.0, np.nan], [np.nan, 2.0, np.nan]]),
            jnp.asarray([[-1.0, 0.5, np.nan], [np.nan, 3.0, np.nan]]),
        ]
    )
    for tighter in (False, True):

        def total(w, tighter=tighter):
            bound = objectives.stratified_bound(w, ALIVE, tighter=tighter)
            return bound.sum(), bound

        gradient, bound = jax.grad(total, has_aux=True)(log_w)
        parts = [special.logsumexp(p) - np.log(2) for p in ([1.0, 0.5], [2.0, 3.0])]
        both = special.logsumexp([1.0, 0.5, 2.0, 3.0]) - np.log(4)
        first = special.logsumexp([0.0, -1.0]) - np.log(2)
        np.testing.assert_allclose(
            bound, [first, both if tighter else np.mean(parts), 0.0], rtol=1e-5
        )
        # The bound's gradient: the weights, divided by the number of strata for the looser.
        weights = objectives.stratified_weights(log_w, ALIVE, tighter=tighter)
        sums = weights.sum((0, 1)) if tighter else weights.sum(0)
        expected = [1, 1, 0] if tighter else [[1, 1, 0], [0, 1, 0]]
        np.testing.assert_allclose(sums, expected, rtol=1e-6)
        share = np.array([1.0, 1.0 if tighter else 0.5, 1.0], np.float32)
        np.testing.assert_allclose(gradient, weights * share[None, None], rtol=1e-5)
