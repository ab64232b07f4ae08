"""The sparse variational process against exact ones, the score against numerical integration."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from mmvae_jax.evaluation import Context, NotApplicable, Settings, classifiers, mutual_information
from mmvae_jax.evaluation import variational_gp as gp
from mmvae_jax.evaluation.classifiers import Classifier
from mmvae_jax.evaluation.judge_networks import ImageNet
from tests.evaluation import fakes

NOISE = 0.3  # standard deviation of the targets of a regression
# Of all trainings here, so that they are one program.
ROWS, FEATURES, STEPS = 150, 16, 150


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(gp, "_INDUCING", 25)
    monkeypatch.setattr(mutual_information, "_STEPS", STEPS)


def gaussian_likelihood(mean, variance, target, key):
    """E_q log N(target | f, NOISE^2), summed over the C independent outputs."""
    del key
    squared = (target - mean) ** 2 + variance
    return (-0.5 * squared / NOISE**2 - np.log(NOISE * np.sqrt(2 * np.pi))).sum(-1)


@pytest.fixture(scope="module")
def regression():
    """Points, two outputs, and the kernel's parameters; the inducing points are the points."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(12, 2)).astype(np.float32)
    y = np.stack([np.sin(2 * x[:, 0]), x[:, 1] ** 2], 1).astype(np.float32)
    parameters = gp.initial(jnp.asarray(x), 2)
    parameters["log_lengthscale"] = jnp.log(jnp.float32(0.7))
    parameters["log_variance"] = jnp.log(jnp.float32(1.5))
    return x, y, parameters


def kernel(x, y):
    squared = ((x[:, None].astype(float) - y[None]) ** 2).sum(-1)
    return 1.5 * np.exp(-0.5 * squared / 0.7**2)


def optimal(x, y, parameters):
    """q(v) at its optimum, which a Gaussian likelihood has in closed form."""
    # The prior of the process at its inducing points has their jitter, too.
    lower = np.linalg.cholesky(kernel(x, x) + gp._JITTER * 1.5 * np.eye(len(x)))
    known = np.linalg.solve(lower, kernel(x, x))
    covariance = np.linalg.inv(np.eye(len(x)) + known @ known.T / NOISE**2)
    factor = np.linalg.cholesky(covariance)
    raw = np.tril(factor, -1) + np.diag(np.log(np.diag(factor)))
    return {
        **parameters,
        "mean": jnp.asarray(covariance @ known @ y / NOISE**2, jnp.float32),
        "factor": jnp.asarray(np.stack([raw, raw]), jnp.float32),
    }


@jax.jit
def bound(parameters, x, y):
    return gp.elbo(parameters, x, y, len(x), gaussian_likelihood, jax.random.key(0))


def test_predictions_are_those_of_exact_regression(regression):
    x, y, parameters = regression
    new = np.random.default_rng(1).normal(size=(9, 2)).astype(np.float32)
    mean, variance = jax.jit(gp.predict)(optimal(x, y, parameters), new)
    gain = np.linalg.solve(kernel(x, x) + NOISE**2 * np.eye(len(x)), kernel(x, new)).T
    np.testing.assert_allclose(mean, gain @ y, atol=3e-3)
    exact = 1.5 - (gain * kernel(new, x)).sum(1)
    np.testing.assert_allclose(variance, np.stack([exact, exact], 1), atol=3e-3)


def test_the_elbo_is_the_evidence_at_the_optimum_and_below_it_elsewhere(regression):
    x, y, parameters = regression
    noisy = kernel(x, x) + NOISE**2 * np.eye(len(x))
    evidence = sum(stats.multivariate_normal(cov=noisy).logpdf(column) for column in y.T)
    best = optimal(x, y, parameters)
    assert float(bound(best, x, y)) == pytest.approx(evidence, abs=0.05)
    assert bound(parameters, x, y) < evidence - 1
    few = gp.initial(jnp.asarray(x[:4]), 2) | {
        name: parameters[name] for name in ("log_lengthscale", "log_variance")
    }
    few = optimal(x[:4], y[:4], few)
    assert bound(few, x, y) < evidence - 1
    generator = np.random.default_rng(2)
    for _ in range(3):
        moved = {
            name: best[name] + jnp.asarray(0.1 * generator.normal(size=best[name].shape), "float32")
            for name in ("mean", "factor")
        }
        assert bound(best | moved, x, y) < evidence


def test_the_divergence_is_that_of_scipy_free_formulas(regression):
    """KL(N(m, L L') || N(0, 1)) = (tr S + m'm - Z - log det S) / 2, of two outputs."""
    x, y, parameters = regression
    best = optimal(x, y, parameters)
    factor = np.asarray(gp._factor(best), float)
    mean = np.asarray(best["mean"], float)
    expected = 0.0
    for c in range(2):
        covariance = factor[c] @ factor[c].T
        expected += np.trace(covariance) + mean[:, c] @ mean[:, c] - len(x)
        expected -= np.linalg.slogdet(covariance)[1]
    assert float(gp.kl(best)) == pytest.approx(expected / 2, rel=1e-4)


def test_the_softmax_likelihood_is_that_of_an_integral():
    mean, spread, label = np.float32([[0.4, -0.3]]), np.float32([[0.5, 0.7]]), np.array([1])
    keys = jax.random.split(jax.random.key(0), 400)
    draw = jax.jit(jax.vmap(lambda key: gp.softmax_likelihood(mean, spread**2, label, key)[0]))
    draws = np.asarray(draw(keys), float)
    # Of two classes only the difference of the scores counts, of the other one and this.
    exact = expectation(0.7, np.hypot(0.5, 0.7), lambda d: -np.logaddexp(0, d))
    error = draws.std() / 20
    assert draws.mean() == pytest.approx(exact, abs=4 * error) and error < 0.02


def expectation(mean, spread, function):
    """E function(d) of a normal number, on a fine grid."""
    nodes = np.linspace(-10, 10, 4001)
    weights = np.exp(-0.5 * nodes**2)
    return (weights * function(mean + spread * nodes)).sum() / weights.sum()


def test_the_score_against_integration_and_without_variance():
    means, spreads = np.float32([[0.5, 0.0], [2.0, 0.0]]), np.float32([[1.0, 0.5], [3.0, 2.0]])
    noise = np.random.default_rng(0).normal(size=(4000, 2)).astype(np.float32)
    noise = np.concatenate([noise, -noise])
    score = jax.jit(gp.mutual_information)
    found = score(means, spreads**2, noise)

    def entropy(p):
        return special.entr(p) + special.entr(1 - p)

    for row in range(2):
        about = means[row, 0] - means[row, 1], np.linalg.norm(spreads[row])
        single = expectation(*about, lambda d: entropy(special.expit(d)))
        exact = entropy(expectation(*about, special.expit)) - single
        assert found[row] == pytest.approx(exact, abs=0.01) and exact > 0.05
    np.testing.assert_allclose(score(means, 0 * spreads, noise[:64]), 0, atol=1e-5)


def test_training_finds_classes_is_sure_there_and_unsure_elsewhere():
    generator = np.random.default_rng(0)
    label = (np.arange(ROWS) % fakes.CLASSES).astype(np.int32)
    corners = np.zeros((fakes.CLASSES, FEATURES), np.float32)
    corners[:, :2] = 4 * np.float32([[1, 1], [-1, 1], [1, -1], [-1, -1]])
    x = corners[label] + 0.5 * generator.normal(size=(ROWS, FEATURES)).astype(np.float32)
    process = gp.fit(x, label, fakes.CLASSES, seed=0, steps=STEPS)
    assert (process(x)[0].argmax(1) == label).mean() > 0.95
    noise = generator.normal(size=(500, fakes.CLASSES)).astype(np.float32)
    score = jax.jit(gp.mutual_information)
    near, far = (score(*process(points), noise).mean() for points in (corners, 50 - corners))
    assert near < 0.5 * far
    again = gp.fit(x, label, fakes.CLASSES, seed=0, steps=STEPS)
    np.testing.assert_array_equal(process(x)[0], again(x)[0])


def context(names, *, judged=("a",), **model):
    """Images judged by networks that have learnt nothing: their features are what they are."""
    given = Context(
        model=fakes.FakeModel(fakes.specs(names), **model),
        variables=fakes.variables(names),
        dataset=fakes.dataset(names),
        settings=Settings(batch_size=64, probe_train=ROWS),
        workdir=None,
        step=0,
    )
    network = ImageNet(fakes.CLASSES, widths=(8,), hidden=FEATURES)
    shapes = {spec.name: spec.shape for spec in fakes.specs(names)}
    given.__dict__["classifiers"] = {
        name: Classifier(network, classifiers._init(network, shapes[name], np.uint32(0)))
        for name in judged
    }
    return given


def test_right_images_score_as_real_ones_and_noise_more():
    given = context(("a", "b"))
    test = given.dataset.splits["test"]
    test.present["b"][:] = False
    test.present["a"][:10] = False
    found = mutual_information.mutual_information_score(given)
    score = {name.split("/")[1]: result for name, result in found.items()}
    assert set(score) == {"real", "noise", "reconstruction", "unconditional", "accuracy"}
    assert "has what it needs" in given.skipped["mutual_information_score/cross/a"]
    assert score["accuracy"].value == 1
    assert (score["real"].n, score["reconstruction"].n, score["unconditional"].n) == (40, 40, 50)
    assert 0 <= score["real"].value < 0.5 * score["noise"].value
    assert score["reconstruction"].value < 0.5 * score["noise"].value
    again = mutual_information.mutual_information_score(given)
    assert again["mutual_information_score/noise/a"].value == score["noise"].value


def test_what_other_modalities_are_given_makes_the_crossed_image():
    given = context(("a", "v"))
    test = given.dataset.splits["test"]
    test.present["v"][:20] = False
    found = mutual_information.mutual_information_score(given)
    crossed = found["mutual_information_score/cross/a"]
    assert crossed.n == 30 and "all other modalities" in crossed.how
    assert {name.split("/")[2] for name in found} == {"a"}


def test_where_no_image_has_a_judge():
    given = context(("a", "v"), judged=())
    with pytest.raises(NotApplicable, match="no modality is an image"):
        mutual_information.mutual_information_score(given)
    unlabelled = dataclasses.replace(given, dataset=fakes.dataset(("a",), labels=False))
    with pytest.raises(NotApplicable, match="has no labels"):
        mutual_information.mutual_information_score(unlabelled)
