"""The MMVAE objectives and their gradients against a second, independent evaluation in float64."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from mmvae_jax.models.latents import LatentSpace
from mmvae_jax.models.mmvae import LOG_RATIO_CAP, MMVAE
from tests.models import worlds

M, K, D, ROWS, BETA = 3, 3, 2, 8, 1.7
WEIGHTS = (1.0, 0.5, 2.0)
PRESENT = worlds.patterns(M, ROWS)

# (family of codes and likelihoods, estimator, bound, prior's scale)
CHOICES = {
    "iwae": ("normal", "iwae", "looser", "softplus"),
    "stl": ("laplace", "stl", "tighter", "sum"),
    "dreg": ("laplace", "dreg", "looser", "softplus"),
    "dreg-tighter": ("normal", "dreg", "tighter", "fixed"),
    "elbo": ("laplace", "elbo", "looser", "softplus"),
}
every_choice = pytest.mark.parametrize("choice", CHOICES)


@functools.cache
def build(choice: str) -> MMVAE:
    family, estimator, bound, prior_scale = CHOICES[choice]
    return MMVAE(
        specs=worlds.specs(M, weights=WEIGHTS, scales=(0.5, 0.75, 1.25), likelihood=family),
        shared=LatentSpace(D, family),
        num_samples=K,
        beta=BETA,
        estimator=estimator,
        bound=bound,
        prior_scale=prior_scale,
    )


# --- the objectives once more, in NumPy -----------------------------------------------------------


def noise_of(model: MMVAE) -> np.ndarray:
    draw = jax.random.normal if model.shared.family == "normal" else jax.random.laplace
    return np.asarray(draw(jax.random.key(2), (K, M, ROWS, D)), np.float64)


def prior_scale(model: MMVAE, params: Any) -> Any:
    if model.prior_scale == "fixed":
        return 1.0
    if model.prior_scale == "softplus":
        return worlds.positive(params["prior"])
    return D * special.softmax(params["prior"]) + worlds.FLOOR


def log_density(model: MMVAE, z: Any, loc: Any, scale: Any) -> np.ndarray:
    return worlds.DENSITIES[model.shared.family].logpdf(z, loc, scale).sum(-1)


def draws(model: MMVAE, params: Any, x: Any, noise: np.ndarray) -> list:
    """z[s] [K, B, D]."""
    found = worlds.posteriors(model, params, x)
    return [loc + scale * noise[:, s] for s, (loc, scale) in enumerate(found)]


def log_weights(model: MMVAE, params: Any, density: Any, z: list, x: Any) -> np.ndarray:
    """[K, S, B]; decoders and prior from ``params``, the mixture from ``density``."""
    found = worlds.posteriors(model, density, x)
    rows = []
    for code in z:
        log_px = sum(
            WEIGHTS[n] * np.where(PRESENT[n], worlds.log_px(params, spec, code, x), 0.0)
            for n, spec in enumerate(model.specs)
        )
        log_p = log_density(model, code, 0.0, prior_scale(model, params))
        each = np.stack([log_density(model, code, *q) for q in found])  # [R, K, B]
        here = np.broadcast_to(PRESENT[:, None], each.shape)
        count = np.maximum(PRESENT.sum(0), 1)
        log_q = special.logsumexp(np.where(here, each, -1e300), axis=0) - np.log(count)
        rows.append(log_px + model.beta * (log_p - log_q))
    return np.stack(rows, 1)


def bound_of(log_w: np.ndarray, bound: str) -> np.ndarray:
    """[B], and 0 where nothing is present."""
    values = np.zeros(ROWS)
    for b in range(ROWS):
        living = log_w[:, PRESENT[:, b], b]  # [K, present]
        if living.size and bound == "looser":
            values[b] = np.mean(special.logsumexp(living, axis=0) - np.log(K))
        elif living.size:
            values[b] = special.logsumexp(living) - np.log(living.size)
    return values


def weights_of(log_w: np.ndarray, bound: str) -> tuple[np.ndarray, np.ndarray]:
    """d bound / d log_w of every draw, and the normalised weight that DReG multiplies it by."""
    first, second = np.zeros_like(log_w), np.zeros_like(log_w)
    for b in range(ROWS):
        here = np.flatnonzero(PRESENT[:, b])
        if bound == "looser":
            for s in here:
                second[:, s, b] = special.softmax(log_w[:, s, b])
                first[:, s, b] = second[:, s, b] / len(here)
        elif here.size:
            first[:, here, b] = second[:, here, b] = special.softmax(log_w[:, here, b])
    return first, second


def importance_sampled_elbo(model: MMVAE, params: Any, constant: Any, x: Any) -> np.ndarray:
    """[B]; ``constant`` holds the parameters that get no gradient in the weights."""
    noise, values = noise_of(model), np.zeros(ROWS)
    z, fixed = draws(model, params, x, noise), draws(model, constant, x, noise)
    found, held = worlds.posteriors(model, params, x), worlds.posteriors(model, constant, x)
    scale = prior_scale(model, params)
    for b in range(ROWS):
        here = np.flatnonzero(PRESENT[:, b])
        for r in here:
            loc, width = (a[b] for a in found[r])
            if model.shared.family == "normal":
                kl = worlds.normal_kl(loc, width, 0.0, scale)
            else:
                spread = width * np.exp(-np.abs(loc) / width) + np.abs(loc)
                kl = (spread / scale - 1 + np.log(scale / width)).sum()
            total = -model.beta * kl
            for d in here:
                log_px = worlds.log_px(params, model.specs[d], z[d], x)[:, b]
                ratio = np.ones(K)
                if d != r:
                    code = fixed[d][:, b]
                    log_ratio = log_density(model, code, loc, width)
                    log_ratio = log_ratio - log_density(model, code, *(a[b] for a in held[d]))
                    assert log_ratio.max() < LOG_RATIO_CAP
                    ratio = np.exp(log_ratio)
                total = total + WEIGHTS[d] * np.mean(ratio * log_px)
            values[b] += total / len(here)
    return values


# --- values and gradients -------------------------------------------------------------------------


@every_choice
def test_value(choice):
    model = build(choice)
    params, x, (loss, terms, _) = worlds.answers(model, ROWS)
    p, x = worlds.as_float64(params), worlds.as_float64(x)
    if model.estimator == "elbo":
        expected = importance_sampled_elbo(model, p, p, x)
    else:
        z = draws(model, p, x, noise_of(model))
        expected = bound_of(log_weights(model, p, p, z, x), model.bound)
    np.testing.assert_allclose(-loss, expected, rtol=2e-5, atol=1e-4)
    np.testing.assert_array_equal(terms["elbo"], -loss)


@every_choice
def test_gradient(choice):
    """Central differences of the value, with constant what the estimator holds constant."""
    model = build(choice)
    params, x, (_, _, gradient) = worlds.answers(model, ROWS)
    p, x = worlds.as_float64(params), worlds.as_float64(x)
    noise = noise_of(model)
    constant = draws(model, p, x, noise)
    once, twice = weights_of(log_weights(model, p, p, constant, x), model.bound)

    def surrogate(weights, moved):
        z = draws(model, moved, x, noise)
        return -(weights * log_weights(model, moved, p, z, x)).sum()

    def total(moved):
        if model.estimator == "elbo":
            return -importance_sampled_elbo(model, moved, p, x).sum()
        z = draws(model, moved, x, noise)
        density = moved if model.estimator == "iwae" else p
        return -bound_of(log_weights(model, moved, density, z, x), model.bound).sum()

    others = ("decoder",) if model.prior_scale == "fixed" else ("decoder", "prior")
    worlds.check_directional_derivatives(gradient, total, p, others)
    encoder = total
    if model.estimator == "dreg":
        encoder = functools.partial(surrogate, once * twice)
    worlds.check_directional_derivatives(gradient, encoder, p, ("encoder",))


@every_choice
def test_missing_is_absent_bit_for_bit_and_compiles_once(choice):
    worlds.check_that_absent_content_never_matters(build(choice), ROWS)


@every_choice
def test_extreme_scales_stay_finite(choice):
    worlds.check_that_extreme_scales_stay_finite(build(choice), ROWS)


def test_terms_are_means_over_draws_of_all_present_experts():
    model = build("iwae")
    params, x, (_, terms, _) = worlds.answers(model, ROWS)
    p, x = worlds.as_float64(params), worlds.as_float64(x)
    z = draws(model, p, x, noise_of(model))
    row = 1  # m0 and m1
    assert PRESENT[:, row].tolist() == [True, True, False]
    expected = np.mean([worlds.log_px(p, model.specs[1], z[s], x)[:, row] for s in (0, 1)])
    np.testing.assert_allclose(terms["log_px/m1"][row], expected, rtol=1e-5)
    assert terms["log_px/m2"][row] == 0.0
    weighted = sum(w * terms[f"log_px/m{n}"][row] for n, w in enumerate(WEIGHTS))
    one = log_weights(model, p, p, z, x)[:, :2, row].mean()
    np.testing.assert_allclose(weighted - BETA * terms["kl/shared"][row], one, rtol=1e-4)


@pytest.mark.parametrize(("choice", "sources"), [("elbo", 1), ("iwae", M)])
def test_what_each_decoder_is_given(choice, sources, monkeypatch):
    """One call of each decoder: all experts' codes or, for the importance-sampled ELBO, its own."""
    model, decode, shapes = build(choice), MMVAE.decode_one, []

    def recorded(self, variables, spec, shared, private):
        shapes.append(shared.shape)
        return decode(self, variables, spec, shared, private)

    monkeypatch.setattr(MMVAE, "decode_one", recorded)
    rows, variables = worlds.batch(model, ROWS), {"params": worlds.random_params(model)}
    jax.eval_shape(lambda: model.loss(variables, jax.random.key(0), rows, jnp.int32(0)))
    assert shapes == [(K, sources, ROWS, D)] * M
