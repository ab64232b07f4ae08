"""Densities against SciPy and numerical integration; Concrete samples against closed forms."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats

from mmvae_jax import distributions
from mmvae_jax.distributions import Concrete


def concrete_log_density(log_z, temperature, logits):
    """The density as published, in float64 and independent of the implementation."""
    log_z, logits = np.asarray(log_z, np.float64), np.asarray(logits, np.float64)
    n = logits.shape[-1]
    log_pi = scipy.special.log_softmax(logits, axis=-1)
    log_sum = scipy.special.logsumexp(log_pi - temperature * log_z, axis=-1)
    product = np.sum(log_pi - (temperature + 1) * log_z, axis=-1) - n * log_sum
    return scipy.special.gammaln(n) + (n - 1) * np.log(temperature) + product


def simplex_grid(n, half_width, step):
    """Points of the simplex as log z, and the volume dz_1 .. dz_{n-1} that each stands for.

    z = softmax([a, 0]) over a uniform grid of a; the Jacobian of the map is prod_k z_k. The
    trapezoid rule converges exponentially for integrands that decay on both sides.
    """
    axis = np.arange(-half_width, half_width + step / 2, step)
    a = np.stack(np.meshgrid(*[axis] * (n - 1), indexing="ij"), -1).reshape(-1, n - 1)
    log_z = scipy.special.log_softmax(np.concatenate([a, np.zeros((len(a), 1))], 1), axis=1)
    return log_z, np.exp(log_z.sum(1)) * step ** (n - 1)


# --- elementwise densities and scales ----------------------------------------------------------


def test_normal_and_laplace_log_prob_equal_scipy(generator):
    x, loc = generator.normal(size=(2, 5, 3)) * 3
    scale = np.exp(generator.normal(size=(5, 1)))
    np.testing.assert_allclose(
        distributions.normal_log_prob(x, loc, scale),
        scipy.stats.norm.logpdf(x, loc, scale),
        rtol=1e-5,
        atol=1e-5,
    )
    np.testing.assert_allclose(
        distributions.laplace_log_prob(x, loc, scale),
        scipy.stats.laplace.logpdf(x, loc, scale),
        rtol=1e-5,
        atol=1e-5,
    )


def test_log_probs_are_float32_for_low_precision_inputs():
    half = jnp.ones((3,), jnp.bfloat16)
    for log_prob in (distributions.normal_log_prob, distributions.laplace_log_prob):
        assert log_prob(half, half, half).dtype == jnp.float32


@pytest.mark.parametrize("function", ["normal_log_prob", "laplace_log_prob"])
def test_unequal_ranks_are_named_in_the_error(function):
    with pytest.raises(ValueError, match=r"x \(4, 3\).*loc \(3,\)"):
        getattr(distributions, function)(jnp.ones((4, 3)), jnp.ones(3), 1.0)


@pytest.mark.parametrize("scale_q, scale_p", [(0.3, 1.0), (2.0, 0.7)])
def test_normal_kl_equals_quadrature(scale_q, scale_p):
    q, p = scipy.stats.norm(0.4, scale_q), scipy.stats.norm(-0.5, scale_p)
    expected, _ = scipy.integrate.quad(
        lambda z: q.pdf(z) * (q.logpdf(z) - p.logpdf(z)), 0.4 - 12 * scale_q, 0.4 + 12 * scale_q
    )
    np.testing.assert_allclose(
        distributions.normal_kl(0.4, scale_q, -0.5, scale_p), expected, rtol=1e-5
    )


def test_softplus_and_its_gradient_hold_from_far_below_to_far_above_zero():
    x = np.array([-1e4, -80.0, -20.0, -1.0, 0.0, 1e-3, 3.0, 50.0, 1e4])
    np.testing.assert_allclose(distributions.softplus(x), np.logaddexp(x, 0.0), rtol=2e-6)
    gradient = jax.vmap(jax.grad(distributions.softplus))(jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(gradient, scipy.special.expit(x), rtol=2e-6, atol=1e-37)


def test_positive_scale_is_softplus_above_its_floor(generator):
    raw = generator.normal(size=(50,)) * 5
    np.testing.assert_allclose(
        distributions.positive_scale(raw), np.logaddexp(raw, 0) + 1e-6, rtol=1e-5
    )
    np.testing.assert_allclose(distributions.positive_scale(-200.0), 1e-6, rtol=1e-6)
    assert distributions.positive_scale(jnp.zeros((), jnp.bfloat16)).dtype == jnp.float32


def test_sum_constrained_scale_sums_to_the_number_of_dimensions(generator):
    raw = generator.normal(size=(4, 7)) * 30
    scale = distributions.sum_constrained_scale(raw, floor=1e-3)
    np.testing.assert_allclose(scale.sum(-1), 7 * (1 + 1e-3), rtol=1e-5)
    np.testing.assert_allclose(scale, 7 * scipy.special.softmax(raw, -1) + 1e-3, rtol=1e-4)
    assert scale.min() >= 1e-3


# --- Concrete ----------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3, 10])
@pytest.mark.parametrize("temperature", [0.3, 0.66, 2.0])
def test_concrete_density_equals_the_published_formula(generator, n, temperature):
    logits = generator.normal(size=(4, n)) * 2 + 3  # not normalised
    log_z = scipy.special.log_softmax(generator.normal(size=(6, 4, n)) * 3, axis=-1)
    concrete = Concrete(temperature, logits)
    expected = concrete_log_density(log_z, temperature, logits)
    np.testing.assert_allclose(concrete.log_prob_of_log(log_z), expected, rtol=2e-5, atol=2e-5)
    np.testing.assert_allclose(concrete.log_prob(np.exp(log_z)), expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("n, step", [(2, 0.05), (3, 0.25)])
@pytest.mark.parametrize("temperature", [0.4, 0.66, 1.5])
def test_concrete_density_integrates_to_one(n, step, temperature):
    log_z, volume = simplex_grid(n, half_width=45.0, step=step)
    concrete = Concrete(temperature, np.array([0.7, -0.4, 1.1][:n]))
    log_prob = np.asarray(concrete.log_prob_of_log(log_z), np.float64)
    np.testing.assert_allclose(np.sum(np.exp(log_prob) * volume), 1.0, atol=1e-4)


def test_concrete_samples_of_two_classes_have_a_logistic_log_ratio():
    """log(z_1/z_2) = (l_1 - l_2 + logistic noise)/T, a difference of two Gumbels being logistic."""
    temperature, logits = 0.66, np.array([1.2, -0.3])
    log_z = Concrete(temperature, logits).sample_log(seed=jax.random.key(3), sample_shape=(20_000,))
    ratio = np.asarray(log_z[:, 0] - log_z[:, 1], np.float64)
    expected = scipy.stats.logistic(loc=1.5 / temperature, scale=1 / temperature)
    assert scipy.stats.kstest(ratio, expected.cdf).pvalue > 1e-3


def test_concrete_samples_of_three_classes_follow_the_density():
    """Moments and cell probabilities are those of the density on a grid, within 4 errors."""
    temperature, logits, count = 0.66, np.array([0.7, -0.4, 0.1]), 40_000
    log_z, volume = simplex_grid(3, half_width=40.0, step=0.1)
    probability = np.exp(concrete_log_density(log_z, temperature, logits)) * volume
    samples = Concrete(temperature, logits).sample(seed=jax.random.key(4), sample_shape=(count,))

    def statistics(z):
        cells = [z[:, 0] > 0.6, (z[:, 1] < 0.2) & (z[:, 2] < 0.5)]
        return np.stack([z[:, 0], z[:, 1] ** 2, z[:, 0] * z[:, 2], *cells], 1).astype(np.float64)

    drawn = statistics(np.asarray(samples))
    expected = probability @ statistics(np.exp(log_z))
    error = drawn.std(0) / np.sqrt(count)
    # The edge of a cell cuts grid squares: 0.002 covers that part of the quadrature's error.
    assert np.all(np.abs(drawn.mean(0) - expected) < 4 * error + np.array([1e-4] * 3 + [2e-3] * 2))


def test_concrete_argmax_is_the_categorical():
    """The class with the largest logit + Gumbel is categorical with softmax(logits), at every T."""
    logits, count = np.array([2.0, 0.0, -1.0, 0.5]), 40_000
    z = Concrete(0.9, logits).sample(seed=jax.random.key(5), sample_shape=(count,))
    frequency = np.bincount(np.argmax(np.asarray(z), -1), minlength=4) / count
    expected = scipy.special.softmax(logits)
    assert np.all(np.abs(frequency - expected) < 4 * np.sqrt(expected * (1 - expected) / count))


@pytest.mark.parametrize("temperature", [0.1, 0.66])
def test_concrete_is_exact_in_the_log_domain_at_extreme_logits(debug_nans, temperature):
    """At logits of +-50 coordinates of z underflow; log z and its density stay finite and right."""
    logits = np.array([[50.0, -50.0, 0.0], [-50.0, -50.0, 50.0]])
    concrete = Concrete(temperature, logits)
    log_z = concrete.sample_log(seed=jax.random.key(6), sample_shape=(64,))
    assert log_z.min() < -100
    assert np.asarray(concrete.sample(seed=jax.random.key(6), sample_shape=(64,))).min() == 0.0
    np.testing.assert_allclose(
        concrete.log_prob_of_log(log_z),
        concrete_log_density(log_z, temperature, logits),
        rtol=1e-5,
        atol=2e-3,
    )

    def objective(logits):
        drawn = Concrete(temperature, logits).sample_log(seed=jax.random.key(6))
        return jnp.sum(Concrete(temperature, jnp.zeros_like(logits)).log_prob_of_log(drawn))

    gradient = jax.jit(jax.grad(objective))(jnp.asarray(logits, jnp.float32))
    assert np.all(np.isfinite(gradient)) and np.any(gradient != 0)


def test_concrete_log_prob_of_z_stays_finite_after_underflow_and_rejects_negatives(debug_nans):
    concrete = Concrete(0.66, np.array([50.0, -50.0]))
    z = jnp.array([[1.0, 0.0], [0.4, 0.6]])
    assert np.all(np.isfinite(concrete.log_prob(z)))
    assert np.all(np.isfinite(jax.jit(jax.grad(lambda z: concrete.log_prob(z).sum()))(z)))
    assert concrete.log_prob(jnp.array([1.2, -0.2])) == -np.inf


def test_concrete_is_a_distrax_distribution(generator):
    logits = jnp.asarray(generator.normal(size=(4, 5, 3)), jnp.float32)
    concrete = Concrete(jnp.full((4, 5), 0.5), logits)
    assert (concrete.batch_shape, concrete.event_shape) == ((4, 5), (3,))
    z, log_prob = concrete.sample_and_log_prob(seed=jax.random.key(0), sample_shape=(2, 6))
    assert z.shape == (2, 6, 4, 5, 3) and log_prob.shape == (2, 6, 4, 5)
    np.testing.assert_allclose(z.sum(-1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(concrete.log_prob(z), log_prob, rtol=1e-3, atol=1e-3)
    assert concrete.sample(seed=0).shape == (4, 5, 3)


def test_concrete_under_jit_vmap_and_a_traced_temperature(generator):
    logits = jnp.asarray(generator.normal(size=(4, 3)), jnp.float32)
    log_z = Concrete(0.7, logits).sample_log(seed=jax.random.key(1))

    def density(temperature, logits, log_z):
        return Concrete(temperature, logits).log_prob_of_log(log_z)

    mapped = jax.jit(jax.vmap(density, (None, 0, 0)))(jnp.float32(0.7), logits, log_z)
    np.testing.assert_allclose(mapped, density(0.7, logits, log_z), rtol=1e-5, atol=1e-5)


def test_concrete_does_not_depend_on_the_logits_normalisation(generator):
    logits = generator.normal(size=(3,))
    log_z = scipy.special.log_softmax(generator.normal(size=(7, 3)), -1)
    np.testing.assert_allclose(
        Concrete(0.66, logits + 20).log_prob_of_log(log_z),
        Concrete(0.66, logits).log_prob_of_log(log_z),
        rtol=1e-4,
        atol=1e-4,
    )


@pytest.mark.parametrize(
    "temperature, logits, message",
    [
        (0.5, np.zeros(()), "n >= 2"),
        (0.5, np.zeros((4, 1)), "n >= 2"),
        (np.ones(3), np.zeros((4, 2)), "temperature"),
    ],
)
def test_concrete_says_which_argument_is_wrong(temperature, logits, message):
    with pytest.raises(ValueError, match=message):
        Concrete(temperature, logits)


def test_concrete_says_that_a_value_has_the_wrong_number_of_classes():
    with pytest.raises(ValueError, match="3 classes"):
        Concrete(0.5, np.zeros((4, 3))).log_prob_of_log(np.zeros((4, 2)))
