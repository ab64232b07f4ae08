"""The MMVAE+ objective and its gradients against a second, independent evaluation in float64.

Only the noise is taken from the model. Posteriors, decoders, densities, mixtures and bounds are
written out once more below, draw by draw and expert by expert, as App. B states them.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from mmvae_jax import models
from mmvae_jax.models.latents import LatentSpace
from mmvae_jax.models.mmvae_plus import MMVAEPlus
from tests.models import worlds

ROWS, M, K, D, W = 4, 3, 3, 3, 2
BETA = 1.7
NAMES = tuple(f"m{m}" for m in range(M))
WEIGHTS = (1.0, 0.5, 2.0)  # lambda of each modality
SCALES = (0.5, 0.75, 1.25)  # of each likelihood
PRESENT = np.array([[1, 1, 1], [1, 0, 1], [0, 0, 1], [1, 1, 1]], bool).T  # [M, B]

every_density = pytest.mark.parametrize("family", ["normal", "laplace"])
every_posterior = pytest.mark.parametrize("posterior", ["paper", "code"])
every_bound = pytest.mark.parametrize("bound", ["looser", "tighter"])


def build(family: str, posterior: str, bound: str, estimator: str = "iwae") -> MMVAEPlus:
    """Linear networks, one family of densities throughout, free auxiliary scales."""
    specs = worlds.specs(M, private=(W,) * M, weights=WEIGHTS, scales=SCALES, likelihood=family)
    return MMVAEPlus(
        specs=specs,
        shared=LatentSpace(D, family),
        num_samples=K,
        beta=BETA,
        estimator=estimator,
        bound=bound,
        posterior=posterior,
        auxiliary_scale="free",
    )


@functools.cache
def problem(family: str) -> tuple[Any, Any, Any]:
    """(params, batch, noise of the draws): the same for all choices of objective."""
    model = build(family, "paper", "looser")
    rng = np.random.default_rng(0)
    x = {name: rng.normal(size=(ROWS, worlds.SIZE)).astype(np.float32) for name in NAMES}
    batch = models.prepare({"x": x, "present": dict(zip(NAMES, PRESENT, strict=True))})
    params = model.init(jax.random.key(1), batch)["params"]
    # Biases and auxiliary scales start alike in every modality; here they differ.
    params = jax.tree.map(
        lambda leaf: leaf + 0.4 * rng.normal(size=leaf.shape).astype(np.float32), params
    )
    variables = {"params": params}
    found = model.experts(variables, batch)
    codes = model.sample_codes(jax.random.key(2), found)
    auxiliary = model.sample_auxiliary(variables, jax.random.key(2), found, codes)
    p, data = worlds.as_float64(params), worlds.as_float64(batch["x"])
    shared, private = posteriors(np, p["encoder"], data)
    noise = {
        "u": [standardised(codes.shared[:, s], *shared[s]) for s in range(M)],
        "w": [standardised(codes.private[n], *q) for n, q in zip(NAMES, private, strict=True)],
        "aux": [standardised(auxiliary[n], 0.0, positive(np, p["auxiliary"][n])) for n in NAMES],
    }
    return params, batch, noise


def standardised(draws: Any, loc: Any, scale: Any) -> np.ndarray:
    return (np.asarray(draws, np.float64) - loc) / scale


# --- the objective once more; `xp` is NumPy, or jax.numpy where a gradient is wanted -------------


def positive(xp, raw):
    return xp.log1p(xp.exp(-xp.abs(raw))) + xp.maximum(raw, 0.0) + worlds.FLOOR


def posteriors(xp, encoder, x):
    """[(loc, scale)] of the shared and of the private code of every modality, each [B, .]."""
    found = []
    for part, size in (("shared", D), ("private", W)):
        raw = [
            xp.matmul(x[n], encoder[n][part]["Dense_0"]["kernel"])
            + encoder[n][part]["Dense_0"]["bias"][None]
            for n in NAMES
        ]
        found.append([(r[:, :size], positive(xp, r[:, size:])) for r in raw])
    return found


def density(xp, family, value, loc, scale):
    """log-density summed over the last axis; all of one rank."""
    distance = (value - loc) / scale
    if family == "normal":
        each = -0.5 * distance**2 - xp.log(scale) - 0.5 * np.log(2 * np.pi)
    else:
        each = -xp.abs(distance) - xp.log(2 * scale)
    return each.sum(-1)


def draws(xp, encoder, auxiliary, x, noise):
    """u[s] [K, B, D], w[s] [K, B, W] and aux[n][:, s] [K, B, W] from parameters and noise."""
    shared, private = posteriors(xp, encoder, x)
    u = [loc[None] + scale[None] * e for (loc, scale), e in zip(shared, noise["u"], strict=True)]
    w = [loc[None] + scale[None] * e for (loc, scale), e in zip(private, noise["w"], strict=True)]
    scales = [positive(xp, auxiliary[n])[None, None, None] for n in NAMES]
    aux = [scale * e for scale, e in zip(scales, noise["aux"], strict=True)]
    return u, w, aux


def log_weights(xp, family, posterior, encoder, decoder, x, codes):
    """{s: [K, B]}: App. B's log-weight of each source's draws; ``encoder`` gives the densities."""
    u, w, aux = codes
    shared, private = posteriors(xp, encoder, x)
    zero, one = np.zeros((1, 1, 1)), np.ones((1, 1, 1))
    here = PRESENT.astype(np.float64)
    found = {}
    for s in range(M):
        total = 0.0
        for n, name in enumerate(NAMES):
            own = w[s] if n == s else aux[n][:, s]
            layer = decoder[name]["Dense_0"]
            mean = xp.matmul(xp.concatenate([own, u[s]], -1), layer["kernel"])
            mean = mean + layer["bias"][None, None]
            log_px = density(xp, family, x[name][None], mean, SCALES[n] * one)
            total = total + WEIGHTS[n] * here[n][None] * log_px
        log_p = density(xp, family, u[s], zero, one) + density(xp, family, w[s], zero, one)
        under = []
        for r in range(M):
            log_q = density(xp, family, u[s], *(a[None] for a in shared[r]))
            if posterior == "paper":
                log_q = log_q + density(xp, family, w[s], *(a[None] for a in private[r]))
            under.append(log_q)
        # Means over the present experts, by hand; nothing is far from 1 in these small spaces.
        mixture = sum(here[r][None] * xp.exp(under[r]) for r in range(M)) / here.sum(0)[None]
        log_q = xp.log(mixture)
        if posterior == "code":
            log_q = log_q + density(xp, family, w[s], *(a[None] for a in private[s]))
        found[s] = total + BETA * (log_p - log_q)
    return found


def bound_value(log_w, bound: str) -> np.ndarray:
    """[B] from {s: [K, B]}, in NumPy."""
    values = np.empty(ROWS)
    for b in range(ROWS):
        sources = [log_w[s][:, b] for s in range(M) if PRESENT[s, b]]
        if bound == "looser":
            values[b] = np.mean([special.logsumexp(v) - np.log(K) for v in sources])
        else:
            values[b] = special.logsumexp(sources) - np.log(K * len(sources))
    return values


def constant_weights(log_w, bound: str) -> tuple[dict, dict]:
    """d bound / d log_w of every draw, and the normalised weight by which DReG multiplies it."""
    first, second = ({s: np.zeros((K, ROWS)) for s in range(M)} for _ in range(2))
    for b in range(ROWS):
        sources = [s for s in range(M) if PRESENT[s, b]]
        together = special.softmax([log_w[s][:, b] for s in sources])
        for place, s in enumerate(sources):
            alone = special.softmax(log_w[s][:, b])
            second[s][:, b] = alone if bound == "looser" else together[place]
            first[s][:, b] = alone / len(sources) if bound == "looser" else together[place]
    return first, second


# --- tests ---------------------------------------------------------------------------------------


@functools.cache
def float64_log_weights(family: str, posterior: str):
    params, batch, noise = problem(family)
    p, x = worlds.as_float64(params), worlds.as_float64(batch["x"])
    codes = draws(np, p["encoder"], p["auxiliary"], x, noise)
    return log_weights(np, family, posterior, p["encoder"], p["decoder"], x, codes)


@every_density
@every_posterior
@every_bound
def test_value(family, posterior, bound):
    params, batch, _ = problem(family)
    model = build(family, posterior, bound)
    loss, terms = model.loss({"params": params}, jax.random.key(2), batch, jnp.int32(0))
    expected = bound_value(float64_log_weights(family, posterior), bound)
    np.testing.assert_allclose(-np.asarray(loss), expected, rtol=1e-5)
    np.testing.assert_allclose(terms["elbo"], expected, rtol=1e-5)


@every_density
@every_posterior
def test_log_weights_of_every_draw(family, posterior):
    params, batch, _ = problem(family)
    variables, model = {"params": params}, build(family, posterior, "looser")
    found = model.experts(variables, batch)
    codes = model.sample_codes(jax.random.key(2), found)
    auxiliary = model.sample_auxiliary(variables, jax.random.key(2), found, codes)
    present = model.present(batch)
    log_w, _ = model.log_weight(variables, batch, found, codes, auxiliary, present)
    expected = float64_log_weights(family, posterior)
    for s in range(M):
        ours = np.asarray(log_w[:, s])[:, PRESENT[s]]
        np.testing.assert_allclose(ours, expected[s][:, PRESENT[s]], rtol=1e-5, atol=1e-4)


@functools.cache
def surrogate_gradient(family: str, posterior: str, detach: bool):
    """Maps weights {s: [K, B]} to the gradient of minus the weighted sum of log-weights."""
    params, batch, noise = problem(family)
    p, x = worlds.as_float64(params), worlds.as_float64(batch["x"])

    def surrogate(parts, weights):
        # Sticking the landing and DReG reach the encoder through the draws alone.
        density_encoder = p["encoder"] if detach else parts["encoder"]
        codes = draws(jnp, parts["encoder"], parts["auxiliary"], x, noise)
        log_w = log_weights(jnp, family, posterior, density_encoder, parts["decoder"], x, codes)
        return -sum((weights[s] * log_w[s]).sum() for s in range(M))

    parts = {part: p[part] for part in ("encoder", "decoder", "auxiliary")}
    differentiated = jax.grad(surrogate)

    def gradient(weights):
        with jax.enable_x64(True):
            return jax.tree.map(np.asarray, differentiated(parts, weights))

    return gradient


def expected_gradients(family: str, posterior: str, bound: str, estimator: str) -> Any:
    """Gradient of minus the summed bound, from surrogates whose weights are constants."""
    single, normalised = constant_weights(float64_log_weights(family, posterior), bound)
    gradient = surrogate_gradient(family, posterior, estimator != "iwae")
    found = gradient(single)
    if estimator == "dreg":
        twice = gradient({s: single[s] * normalised[s] for s in range(M)})
        found = {**found, "encoder": twice["encoder"]}
    return found


@every_density
@every_posterior
@every_bound
@pytest.mark.parametrize("estimator", ["iwae", "stl", "dreg"])
def test_gradient(family, posterior, bound, estimator):
    params, batch, _ = problem(family)
    model = build(family, posterior, bound, estimator)

    @jax.grad  # not compiled: op by op, all cases share what they need
    def gradient(params):
        loss, _ = model.loss({"params": params}, jax.random.key(2), batch, jnp.int32(0))
        return loss.sum()

    found = gradient(params)
    for part, expected in expected_gradients(family, posterior, bound, estimator).items():
        largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected))
        assert largest > 0.1, part
        jax.tree.map(
            lambda a, b, size=largest: np.testing.assert_allclose(
                a, b, rtol=1e-4, atol=2e-5 * size
            ),
            jax.device_get(found[part]),
            expected,
        )


@every_posterior
def test_extreme_scales_stay_finite(posterior):
    specs = worlds.specs(2, private=(W, W))
    model = MMVAEPlus(specs, LatentSpace(D), num_samples=2, estimator="dreg", posterior=posterior)
    worlds.check_that_extreme_scales_stay_finite(model, 8)
