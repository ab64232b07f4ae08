"""MEME's objective against its formula in NumPy, and in worlds whose likelihoods are known."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from mmvae_jax import models
from tests.models import worlds
from tests.models.meme_cases import (
    NOISE,
    PAIRS,
    PAPER,
    SETTINGS,
    TRIPLES,
    Formula,
    build,
    data,
    encoder,
    formula,
    parameters,
    present_of,
    setting,
)


@pytest.mark.parametrize("name", SETTINGS)
def test_objective_against_numpy(name):
    """Rows of every kind, likelihoods with weights, on the noise that the model draws."""
    model, call = setting(name)
    count = len(model.specs)
    patterns = PAIRS if count == 2 else TRIPLES
    params, x = parameters(count), data(len(patterns), count)
    loss, terms, _ = call(params, x, present_of(patterns))
    reference = formula(model, params, x, len(patterns))
    expected = [reference.row(pattern, row) for row, pattern in enumerate(patterns)]
    np.testing.assert_allclose(-loss, expected, rtol=2e-5, atol=2e-4)
    np.testing.assert_array_equal(terms["bound"], -loss)
    weight = reference.direction(0, list(range(1, count)), 0)[1]
    np.testing.assert_allclose(terms["weight/m0"][0], weight, rtol=1e-4)
    assert 0 < weight <= model.num_samples + 1


@pytest.mark.parametrize("name", SETTINGS)
def test_gradient_against_numpy(name):
    """Encoders, decoders and pseudo-samples; in the differences the weights stay as they are."""
    model, call = setting(name)
    count = len(model.specs)
    patterns = PAIRS if count == 2 else TRIPLES
    params, x = parameters(count), data(len(patterns), count)
    _, _, gradient = call(params, x, present_of(patterns))
    reference = formula(model, params, x, len(patterns))
    weights = {
        (source, row): weight
        for row, pattern in enumerate(patterns)
        for source, (_, weight) in reference.directions(pattern, row).items()
    }

    def total(moved):
        here = Formula(model, moved, x, reference.noise, weights)
        return -sum(here.row(pattern, row) for row, pattern in enumerate(patterns))

    parts = ("encoder", "decoder", "pseudo")
    worlds.check_directional_derivatives(gradient, total, params, parts)


# --- worlds whose likelihood is known -----------------------------------------------------------


def exact_world(num_samples: int, moved: float = 0.0):
    """p(z) = N(0, 1), linear decoders, and encoders that are the exact single posteriors.

    Then p(s|z) p(z|t) / (q(z|s) q(t|z)) = p(s) / p(t) at every z.
    """
    generator = np.random.default_rng(3)
    model = build(dim=1, num_samples=num_samples, weight=1.0, **PAPER)
    params = {"encoder": {}, "decoder": {}, "likelihood": {}, "pseudo": {}}
    loadings = []
    for s in model.specs:
        a, b = generator.normal(size=s.shape), generator.normal(size=s.shape)
        variance = 1 / (1 + a @ a / NOISE**2)
        to_mean = variance * a / NOISE**2
        raw = np.log(np.expm1(np.sqrt(variance) - 1e-6))
        kernel = jnp.float32(np.stack([to_mean, np.zeros_like(a)], 1))
        bias = jnp.float32([moved - to_mean @ b, raw + moved])
        params["encoder"][s.name] = {"shared": {"Dense_0": {"kernel": kernel, "bias": bias}}}
        params["decoder"][s.name] = {"Dense_0": {"kernel": jnp.float32(a[None]), "bias": b}}
        params["decoder"][s.name]["Dense_0"]["bias"] = jnp.float32(b)
        params["likelihood"][s.name] = {}
        params["pseudo"][s.name] = jnp.zeros((4, *s.shape))
        loadings.append((a, b))
    return model, params, loadings


def log_marginals(loadings, x):
    """log p(s), log p(t), log p(s, t) of the exact world."""

    def log_p(*parts):
        a, b = np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])
        covariance = np.outer(a, a) + NOISE**2 * np.eye(len(a))
        return stats.multivariate_normal(b, covariance)

    (s, t), (x_s, x_t) = loadings, (x["m0"], x["m1"])
    both = log_p(s, t).logpdf(np.concatenate([x_s, x_t], 1))
    return log_p(s).logpdf(x_s), log_p(t).logpdf(x_t), both


def draws_of_the_bound(model, params, x, keys: int):
    batch = models.prepare({"x": x})

    @jax.jit
    def evaluate(rng):
        call = jax.vmap(lambda key: model.loss({"params": params}, key, batch, jnp.int32(0))[1])
        return call(jax.random.split(rng, keys))

    return {name: np.asarray(v, np.float64) for name, v in evaluate(jax.random.key(5)).items()}


def test_with_exact_encoders_the_pair_has_its_conditional_likelihood():
    """Half of log p(s|t) + log p(t|s), from below, closer as K grows; the weight has mean 1."""
    x = data(6)
    gaps = []
    for samples in (1, 60):
        model, params, loadings = exact_world(samples)
        found = draws_of_the_bound(model, params, x, 2000)
        log_s, log_t, both = log_marginals(loadings, x)
        exact = both - (log_s + log_t) / 2
        error = found["bound"].std(0) / np.sqrt(2000)
        gaps.append((exact - found["bound"].mean(0)).mean())
        assert np.all(found["bound"].mean(0) < exact + 4 * error)
        for name in ("weight/m0", "weight/m1"):
            error = found[name].std(0) / np.sqrt(2000)
            np.testing.assert_array_less(np.abs(found[name].mean(0) - 1), 4 * error)
            assert found[name].max() <= samples + 1 + 1e-4
    assert gaps[1] < 0.02 < 0.05 < gaps[0]


def test_with_other_encoders_it_stays_below():
    """The prior is p(z|t) itself: log p(s|t) = log N(s; A m + b, A V A' + noise)."""
    x = data(6)
    model, params, loadings = exact_world(60, moved=0.3)
    found = draws_of_the_bound(model, params, x, 500)
    exact = np.zeros(6)
    for source, other in ((0, 1), (1, 0)):
        loc, scale = encoder(params, other, x[f"m{other}"])
        a, b = loadings[source]
        for row in range(6):
            covariance = scale[row] ** 2 * np.outer(a, a) + NOISE**2 * np.eye(len(a))
            world = stats.multivariate_normal(a * loc[row] + b, covariance)
            exact[row] += world.logpdf(x[f"m{source}"][row]) / 2
    mean, error = found["bound"].mean(0), found["bound"].std(0) / np.sqrt(500)
    assert np.all(mean < exact + 4 * error)
    assert np.all(mean > exact - 3.0)


def test_one_modality_with_one_pseudo_sample_has_the_elbo_of_that_prior():
    """E L(s) = log p(s) - KL(q(z|s) || p(z|s)) with p(z) = p(z | u) of the other modality."""
    model = build(num_pseudo=1, num_samples=1, weight=1.0, **PAPER)
    patterns = np.array([[1, 0], [0, 1], [1, 0]], bool)
    params, x = parameters(2, 1), data(3)
    batch = models.prepare({"x": x, "present": present_of(patterns)})

    @jax.jit
    def evaluate(rng):
        call = jax.vmap(lambda key: model.loss({"params": params}, key, batch, jnp.int32(0))[0])
        return -call(jax.random.split(rng, 4000))

    found = np.asarray(evaluate(jax.random.key(0)), np.float64)
    for row, source in enumerate((0, 1, 0)):
        u = np.asarray(params["pseudo"][f"m{1 - source}"], np.float64)[0]
        loc, scale = encoder(params, 1 - source, u)
        layer = params["decoder"][f"m{source}"]["Dense_0"]
        a = np.asarray(layer["kernel"], np.float64).T
        b = np.asarray(layer["bias"], np.float64)
        s = x[f"m{source}"][row]
        covariance = a @ np.diag(scale**2) @ a.T + NOISE**2 * np.eye(len(s))
        log_p = stats.multivariate_normal(a @ loc + b, covariance).logpdf(s)
        precision = np.diag(scale**-2) + a.T @ a / NOISE**2
        mean = np.linalg.solve(precision, loc / scale**2 + a.T @ (s - b) / NOISE**2)
        q_loc, q_scale = encoder(params, source, s)
        away = q_loc - mean
        kl = 0.5 * (np.trace(precision * q_scale**2) + away @ precision @ away - 2)
        kl -= np.log(q_scale).sum() + 0.5 * np.linalg.slogdet(precision)[1]
        error = found[:, row].std() / np.sqrt(4000)
        assert abs(found[:, row].mean() - (log_p - kl)) < 4 * error
