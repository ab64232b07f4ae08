"""The minibatch decomposition against its formula and against Gaussians with known terms.

World: x ~ N(0, A) and q(z | x) = N(x, s**2 I), so the aggregate posterior is N(0, C) with
C = A + s**2 I. With it MI = (log det C - D log s**2)/2, TC = (sum_d log C_dd - log det C)/2 and
KL_d = KL(N(0, C_dd) || N(0, 1)), by the entropies of Gaussians.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from mmvae_jax import objectives
from mmvae_jax.distributions import normal_log_prob

decompose = jax.jit(objectives.minibatch_kl_decomposition)


def gaussian_terms(covariance, scale):
    aggregate = covariance + scale**2 * np.eye(len(covariance))
    log_det, diagonal = np.linalg.slogdet(aggregate)[1], np.diag(aggregate)
    return (
        0.5 * (log_det - len(covariance) * np.log(scale**2)),
        0.5 * (np.log(diagonal).sum() - log_det),
        0.5 * np.sum(diagonal - 1 - np.log(diagonal)),
    )


def log_aggregate_bias(covariance, scale, batch_size):
    """Second-order bias of log mean_j q(z|x_j): -E_z Var_x(q(z|x)/q(z)) / (2 (B-1)).

    With P = A + s**2/2 I, E_x q(z|x)**2 = (4 pi s**2)**(-D/2) N(z; 0, P), and E_z of its ratio to
    q(z)**2 is a Gaussian integral.
    """
    dims = len(covariance)
    aggregate = covariance + scale**2 * np.eye(dims)
    narrow = covariance + 0.5 * scale**2 * np.eye(dims)
    between = np.linalg.inv(narrow) - np.linalg.inv(aggregate)
    second_moment = (2 * scale**2) ** (-dims / 2) * np.sqrt(
        np.linalg.det(aggregate) / (np.linalg.det(narrow) * np.linalg.det(between))
    )
    return -(second_moment - 1) / (2 * (batch_size - 1))


def batch_means(covariance, scale, dataset_size, batch_size, num_batches):
    """Estimates averaged within each of several independent batches, [num_batches, 3]."""
    root = jnp.asarray(np.linalg.cholesky(covariance), jnp.float32)

    @jax.jit
    def one(key):
        x_key, z_key = jax.random.split(key)
        x = jax.random.normal(x_key, (batch_size, len(covariance))) @ root.T
        z = x + scale * jax.random.normal(z_key, x.shape)
        log_q = normal_log_prob(z[:, None], x[None], scale)
        log_p = normal_log_prob(z, 0.0, 1.0)
        terms = objectives.minibatch_kl_decomposition(log_q, log_p, dataset_size)
        return jnp.stack([term.mean() for term in terms])

    keys = jax.random.split(jax.random.key(0), num_batches)
    return np.asarray([one(key) for key in keys], np.float64)


def random_scores(generator, batch_size, dims):
    log_q = generator.normal(size=(batch_size, batch_size, dims)) * 3 - 2
    return log_q.astype(np.float32), generator.normal(size=(batch_size, dims)).astype(np.float32)


def written_out(log_q, log_p, dataset_size, present):
    """q(z_i) ~ own/N + (N-1)/N * mean of the other present rows, one row at a time, float64."""
    log_q, log_p = log_q.astype(np.float64), log_p.astype(np.float64)
    out = np.zeros((3, len(log_p)))
    for i in np.flatnonzero(present):
        others = [j for j in np.flatnonzero(present) if j != i]
        share = np.array([1 / dataset_size] + [(1 - 1 / dataset_size) / len(others)] * len(others))
        rows = log_q[i][[i, *others]]
        joint = scipy.special.logsumexp(rows.sum(-1), b=share)
        marginals = scipy.special.logsumexp(rows, axis=0, b=share[:, None]).sum()
        own = log_q[i, i].sum()
        out[:, i] = own - joint, joint - marginals, marginals - log_p[i].sum()
    return out


@pytest.mark.parametrize("dataset_size", [9, 50_000])
def test_decomposition_equals_its_formula_with_masks(generator, dataset_size):
    log_q, log_p = random_scores(generator, 9, 4)
    for present in (np.ones(9, bool), np.array([1, 0, 1, 1, 0, 0, 1, 0, 1], bool)):
        actual = decompose(log_q, log_p, dataset_size, present=present)
        expected = written_out(log_q, log_p, dataset_size, present)
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)
        assert actual[0].shape == (9,) and actual[0].dtype == jnp.float32


def test_terms_add_up_to_the_sampled_kl(generator):
    """MI + TC + KL_d = log q(z_i|x_i) - log p(z_i), whatever the aggregate is taken to be."""
    log_q, log_p = random_scores(generator, 7, 3)
    expected = np.einsum("iid->i", log_q) - log_p.sum(-1)
    np.testing.assert_allclose(sum(decompose(log_q, log_p, 100)), expected, rtol=1e-4, atol=1e-4)


def test_one_dimension_has_no_total_correlation(generator):
    np.testing.assert_allclose(decompose(*random_scores(generator, 7, 1), 100)[1], 0.0, atol=1e-5)


def test_estimates_reach_known_gaussian_values():
    """B = 512, N = 50,000, correlated dimensions: within the known bias and four standard errors.

    The bias is that of the log of a mean of B - 1 terms (see `log_aggregate_bias`).
    """
    covariance = np.array([[1.0, 0.8, 0.0], [0.8, 1.0, 0.3], [0.0, 0.3, 0.5]])
    estimates = batch_means(covariance, 0.7, 50_000, 512, num_batches=48)
    error = estimates.std(0, ddof=1) / np.sqrt(len(estimates))
    expected = np.array(gaussian_terms(covariance, 0.7))
    joint = log_aggregate_bias(covariance, 0.7, 512)
    marginals = sum(
        log_aggregate_bias(covariance[d : d + 1, d : d + 1], 0.7, 512) for d in range(3)
    )
    bias = np.array([-joint, joint - marginals, marginals])
    tolerance = np.abs(bias) + 4 * error
    assert np.all(np.abs(estimates.mean(0) - expected) < tolerance)
    assert np.all(tolerance < 0.2 * expected)  # the test can tell the terms from 0 and each other


def test_informative_codes_with_independent_dimensions_show_little_total_correlation():
    """True TC 0 with D = 8: the bias stays within one nat.

    With the 1/(BN) weighting of the literature, log q(z) and each of the D log-marginals are too
    low by about log(N), which leaves a TC of about (D - 1) log N = 76.
    """
    estimates = batch_means(np.eye(8) * 0.5, 1.0, 50_000, 512, num_batches=6)
    assert abs(estimates[:, 1].mean()) < 1.0


def test_absent_rows_reach_neither_value_nor_gradient(generator):
    """What is present gets what a batch of the present rows alone gets; the rest is 0."""
    log_q, log_p = random_scores(generator, 6, 3)
    present = np.array([1, 0, 1, 1, 0, 1], bool)
    inside = present[:, None] & present[None, :]

    @jax.jit
    def value_and_gradient(content):
        def total(log_q, log_p):
            terms = objectives.minibatch_kl_decomposition(log_q, log_p, 100, present=present)
            return terms[0].sum() + 2 * terms[1].sum() + 3 * terms[2].sum(), terms

        held = (
            jnp.where(inside[:, :, None], log_q, content),
            jnp.where(present[:, None], log_p, content),
        )
        return jax.value_and_grad(total, (0, 1), has_aux=True)(*held)

    wanted = value_and_gradient(0.0)
    for content in (1e30, np.nan, np.inf, -np.inf):
        jax.tree.map(np.testing.assert_array_equal, value_and_gradient(content), wanted)
    (_, terms), gradient = wanted
    alone = decompose(log_q[present][:, present], log_p[present], 100)
    for term, wanted in zip(terms, alone, strict=True):
        np.testing.assert_allclose(term[present], wanted, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(term[~present], 0.0)
    np.testing.assert_array_equal(gradient[0][~inside], 0.0)
    np.testing.assert_array_equal(gradient[1][~present], 0.0)
    assert np.all(gradient[0][inside] != 0) and np.all(gradient[1][present] != 0)


def test_a_row_without_company_is_its_own_aggregate(debug_nans, generator):
    log_q, log_p = random_scores(generator, 4, 3)
    present = np.array([0, 0, 1, 0], bool)
    mi, tc, kl = decompose(log_q, log_p, 100, present=present)
    np.testing.assert_array_equal(mi, 0.0)
    np.testing.assert_allclose(tc, 0.0, atol=1e-6)
    np.testing.assert_allclose(kl[2], log_q[2, 2].sum() - log_p[2].sum(), rtol=1e-5)
    nothing = decompose(log_q, log_p, 100, present=np.zeros(4, bool))
    np.testing.assert_array_equal(nothing, np.zeros((3, 4)))


def test_dataset_of_one_example(debug_nans, generator):
    """N = 1: the aggregate is the own posterior, whatever else the batch holds."""
    mi, tc, _ = decompose(*random_scores(generator, 4, 3), 1)
    np.testing.assert_allclose([mi, tc], np.zeros((2, 4)), atol=1e-5)


def test_arguments_that_do_not_fit_are_named():
    function = objectives.minibatch_kl_decomposition
    with pytest.raises(ValueError, match=r"\[B, B, D\]"):
        function(np.zeros((4, 5, 3)), np.zeros((4, 3)), 10)
    with pytest.raises(ValueError, match="dataset_size"):
        function(np.zeros((4, 4, 3)), np.zeros((4, 3)), 0)
    with pytest.raises(ValueError, match="present must be bool"):
        function(np.zeros((4, 4, 3)), np.zeros((4, 3)), 10, present=np.ones(4))
