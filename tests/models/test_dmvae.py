"""DMVAE against an evaluation of its equations in NumPy, and against a known likelihood."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from scipy import stats

from mmvae_jax import models, objectives
from mmvae_jax.models.dmvae import DMVAE, KLS
from mmvae_jax.models.hybrid_latents import HybridLatents
from mmvae_jax.models.latents import LatentSpace
from tests.models import worlds
from tests.models.dmvae_numbers import (
    NOISE,
    ROWS,
    STEP,
    VARIANTS,
    Numbers,
    random_params,
    raw_batch,
)


@pytest.fixture(scope="module")
def programs():
    """Loss, terms and gradients of every variant: (params, batch) -> ..., compiled once."""

    def program(model):
        @jax.jit
        def both(params, raw):
            batch = models.prepare(raw)

            def total(params):
                variables = {"params": params}
                loss, terms = model.loss(variables, jax.random.key(2), batch, jnp.int32(STEP))
                return loss.sum(), (loss, terms)

            (_, (loss, terms)), gradients = jax.value_and_grad(total, has_aux=True)(params)
            return loss, terms, gradients

        return both, random_params(model)

    return {name: program(model) for name, model in VARIANTS.items()}


# --- the objective --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VARIANTS)
def test_objective_is_that_of_the_paper(programs, name):
    (both, params), raw = programs[name], raw_batch(VARIANTS[name])
    loss, _, _ = both(params, raw)
    numbers = Numbers(VARIANTS[name], params, raw)
    expected = [numbers.loss(row) for row in range(ROWS)]
    np.testing.assert_allclose(loss, expected, rtol=2e-4, atol=2e-4)
    assert np.ptp(expected) > 1.0


@pytest.mark.parametrize("name", ["weighted", "hybrid"])
def test_gradient_is_that_of_the_paper(programs, name):
    """Along one direction, against a difference quotient of the NumPy evaluation."""
    (both, params), raw = programs[name], raw_batch(VARIANTS[name])
    generator = np.random.default_rng(5)
    direction = jax.tree.map(lambda x: generator.normal(size=x.shape) * 0.1, params)
    _, _, gradients = both(params, raw)
    slope = sum(
        (np.asarray(g, np.float64) * d).sum()
        for g, d in zip(jax.tree.leaves(gradients), jax.tree.leaves(direction), strict=True)
    )

    def total(step):
        moved = jax.tree.map(lambda x, d: np.asarray(x, np.float64) + step * d, params, direction)
        numbers = Numbers(VARIANTS[name], moved, raw)
        return sum(numbers.loss(row) for row in range(ROWS))

    expected = (total(1e-4) - total(-1e-4)) / 2e-4
    assert slope == pytest.approx(expected, rel=2e-3)
    assert abs(expected) > 0.1


def test_terms_are_without_weights(programs):
    """elbo, log_px and KLs of one row against NumPy."""
    (both, params), raw = programs["weighted"], raw_batch(VARIANTS["weighted"])
    _, terms, _ = both(params, raw)
    numbers, row, names = Numbers(VARIANTS["weighted"], params, raw), 7, "abc"
    log_px = np.array([[numbers.log_px(i, s, row) for i in range(3)] for s in range(4)])
    kl = np.array([numbers.kl_shared(s, row) for s in range(4)])
    private = [numbers.kl_private(i, row) for i in range(3)]
    expected = {
        "elbo": (log_px.sum(1) - kl).mean() - sum(private),
        "kl/shared": kl[0],
        **{f"log_px/{n}": log_px[:, i].mean() for i, n in enumerate(names)},
        **{f"kl/shared/{n}": kl[1 + i] for i, n in enumerate(names)},
        **{f"kl/private/{n}": private[i] for i, n in enumerate(names[:2])},
    }
    for key, value in expected.items():
        np.testing.assert_allclose(terms[key][row], value, rtol=1e-4, atol=1e-4, err_msg=key)
    cross = [
        numbers.log_px(0, 1 + j, r)
        for r in range(ROWS)
        for j in (1, 2)
        if numbers.present[0, r] and numbers.present[j, r]
    ]
    np.testing.assert_allclose(terms["log_px_cross/a"], np.full(ROWS, np.mean(cross)), rtol=1e-4)


def test_entropy_of_every_modality_is_watched(programs):
    (both, params), raw = programs["hybrid"], raw_batch(VARIANTS["hybrid"])
    _, terms, _ = both(params, raw)
    numbers = Numbers(VARIANTS["hybrid"], params, raw)
    for index, name in enumerate(("a", "label")):
        rows = numbers.present[index]
        expected = np.mean(
            [
                stats.entropy(scipy.special.softmax(block[rows], -1).mean(0))
                for block in np.split(numbers.experts[index]["logits"], [3], 1)
            ]
        )
        np.testing.assert_allclose(terms[f"entropy/{name}"], np.full(ROWS, expected), rtol=1e-4)


@pytest.mark.parametrize("name", VARIANTS)
def test_missing_is_absent_bit_for_bit_under_one_program(programs, name):
    (both, params), raw = programs[name], raw_batch(VARIANTS[name])
    changed = {
        key: np.where(
            raw["present"][key].reshape(-1, *[1] * (x.ndim - 1)), x, np.array(-1000, x.dtype)
        )
        for key, x in raw["x"].items()
    }
    first, second = both(params, raw), both(params, {**raw, "x": changed})
    jax.tree.map(np.testing.assert_array_equal, first, second)
    assert first[0][0] == 0.0 and first[0][3] == 0.0  # nothing present; weight 0
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(first))
    assert both._cache_size() == 1


def with_biases(model: DMVAE, params, raw_scale: float, logit: float = 0.0):
    """Encoders with these biases of raw scales, and of logits with changing sign."""
    logits = sum(model.shared.categories) if isinstance(model.shared, HybridLatents) else 0
    params = jax.tree.map(np.array, jax.device_get(params))
    for index, spec in enumerate(model.specs):
        for part in params["encoder"][spec.name].values():
            bias, cut = part["Dense_0"]["bias"], model.shared.num_outputs
            bias[:logits] = logit * (-1.0) ** (np.arange(logits) + index)
            bias[logits + model.shared.dim : cut] = raw_scale
            bias[cut + spec.private_dim :] = raw_scale
    return params


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("raw_scale", [-9.2, 1e3])
def test_gradients_are_finite_at_extreme_posteriors(programs, name, raw_scale):
    """Logits of +-50, scales of 1e-4 and 1e3."""
    (both, params), model = programs[name], VARIANTS[name]
    loss, _, gradients = both(with_biases(model, params, raw_scale, 50.0), raw_batch(model))
    assert np.all(np.isfinite(loss))
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradients))


# --- posteriors, likelihood -----------------------------------------------------------------------


def test_test_time_posterior_is_the_product_of_what_is_given(programs):
    _, params = programs["paper"]
    raw = raw_batch(VARIANTS["paper"])
    batch = models.prepare(raw)
    numbers = Numbers(VARIANTS["paper"], params, raw)
    for prior in (False, True):
        model = dataclasses.replace(VARIANTS["paper"], single_expert_prior=prior)
        encode = jax.jit(lambda params, m=model: m.encode({"params": params}, batch))
        posterior = encode(params)
        np.testing.assert_array_equal(posterior.strata, np.ones((1, ROWS), bool))
        found = np.stack([posterior.shared["loc"][0], posterior.shared["scale"][0]])
        joint = np.stack([numbers.sources[0]["loc"], numbers.sources[0]["scale"]])
        rows = [0, 5, 6, 7] + [1, 2, 4] * prior  # row 0: nothing is present, the prior
        np.testing.assert_allclose(found[:, rows], joint[:, rows], rtol=1e-4, atol=1e-5)
        if not prior:  # one modality: its expert alone (row 3 has weight 0 in `numbers` only)
            for row, index in ((1, 2), (2, 1), (4, 0)):
                expert = numbers.experts[index]
                alone = np.stack([expert["loc"][row], expert["scale"][row]])
                np.testing.assert_allclose(found[:, row], alone, rtol=1e-4, atol=1e-5)


def exact_log_likelihood(model: DMVAE, params, batch) -> np.ndarray:
    """log p of each row's present modalities for linear decoders: a Gaussian, coupled by z_s."""
    found = []
    for row in range(ROWS):
        blocks, means, data = [], [], []
        have = [spec for spec in model.specs if batch["present"][spec.name][row]]
        for spec in have:
            layer = params["decoder"][spec.name]["Dense_0"]
            blocks.append(np.asarray(layer["kernel"], np.float64))
            means.append(np.asarray(layer["bias"], np.float64))
            data.append(np.asarray(batch["x"][spec.name][row], np.float64))
        if not have:
            found.append(0.0)
            continue
        covariance = [
            [
                a[s.private_dim :].T @ b[t.private_dim :]
                + (
                    a[: s.private_dim].T @ b[: t.private_dim] + NOISE**2 * np.eye(3)
                    if s is t
                    else 0
                )
                for t, b in zip(have, blocks, strict=True)
            ]
            for s, a in zip(have, blocks, strict=True)
        ]
        world = stats.multivariate_normal(np.concatenate(means), np.block(covariance))
        found.append(world.logpdf(np.concatenate(data)))
    return np.array(found)


def test_importance_weights_recover_the_likelihood_and_the_elbo_is_below_it(programs):
    """In a linear-Gaussian world, for every pattern of presence and both ways to take KLs."""
    model, (_, params) = VARIANTS["paper"], programs["paper"]
    params = with_biases(model, params, 2.0)  # wide proposals: weights of small variance
    raw = raw_batch(model)
    raw["weight"] = np.ones(ROWS, np.float32)
    batch = models.prepare(raw)

    @jax.jit
    def estimates(params, keys):
        variables = {"params": params}
        log_w = model.log_weights(variables, keys[0], batch, model.names, (), 20_000)
        elbos = []
        for kl in KLS:
            either = dataclasses.replace(model, kl=kl)
            terms = jax.vmap(lambda key, m=either: m.loss(variables, key, batch, jnp.int32(0))[1])
            elbos.append(terms(keys)["elbo"])
        return log_w, elbos

    log_w, elbos = jax.device_get(estimates(params, jax.random.split(jax.random.key(3), 500)))
    exact = exact_log_likelihood(model, jax.device_get(params), raw)
    bound = np.asarray(objectives.iwae(log_w))
    error = np.exp(np.asarray(log_w, np.float64) - bound).std(0) / np.sqrt(len(log_w))
    assert np.all(error < 0.1)
    np.testing.assert_array_less(np.abs(bound - exact), 4 * error + 1e-3)
    for elbo in elbos:
        spread = elbo.std(0) / np.sqrt(len(elbo))
        np.testing.assert_array_less(elbo.mean(0), exact + 4 * spread + 1e-4)
        assert np.any(exact - elbo.mean(0) > 0.1)
    assert not np.array_equal(*elbos)
    difference = elbos[0] - elbos[1]  # the same draws
    spread = difference.std(0) / np.sqrt(len(difference))
    np.testing.assert_array_less(np.abs(difference.mean(0)), 4 * spread + 1e-4)


# --- training -------------------------------------------------------------------------------------


def test_it_learns_what_views_and_a_label_share():
    """Two vectors and a class, a fixed seed: the loss falls from above 200 to below 60.

    Twelve terms in a row: the loss is above that of other models.
    """
    specs, x = worlds.views_and_label(private=1)
    model = DMVAE(specs=specs, shared=LatentSpace(4), separate_encoders=False)
    variables, losses = worlds.train(model, {"x": x}, 200)
    assert losses[-20:].mean() < 60.0 < 200.0 < losses[0]
    assert worlds.label_accuracy(model, variables, x) > 0.7  # of four classes
