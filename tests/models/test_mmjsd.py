"""mmJSD against a second evaluation in float64, row by row and component by component."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import mmjsd as mmjsd_config
from mmvae_jax import models
from mmvae_jax.models.latents import LatentSpace
from mmvae_jax.models.mmjsd import MMJSD, stand_ins
from mmvae_jax.types import UserError
from tests.models import worlds

M, D, ROWS, BETA, BETA_STYLE = 3, 2, 16, 1.7, 0.6
WEIGHTS, PRIVATE = (1.0, 0.5, 2.0), (2, 0, 1)
PRESENT = worlds.patterns(M, ROWS)

both_ways = pytest.mark.parametrize("sampling", ["stratified", "chunks"])


@functools.cache
def build(sampling: str) -> MMJSD:
    return MMJSD(
        specs=worlds.specs(M, private=PRIVATE, weights=WEIGHTS, scales=(0.5, 0.75, 1.25)),
        shared=LatentSpace(D),
        sampling=sampling,
        beta=BETA,
        beta_style=BETA_STYLE,
    )


# --- the objective once more, in NumPy ------------------------------------------------------------


def dynamic_prior(components: list) -> tuple[np.ndarray, np.ndarray]:
    """Evenly weighted geometric mean of normals (loc, scale) [D]."""
    weight = 1.0 / len(components)
    precision = sum(weight * scale**-2.0 for _, scale in components)
    weighted = sum(weight * loc * scale**-2.0 for loc, scale in components)
    return weighted / precision, precision**-0.5


def jensen_shannon(components: list) -> float:
    f = dynamic_prior(components)
    return float(np.mean([worlds.normal_kl(*q, *f) for q in components]))


def objective(model: MMJSD, params: Any, x: Any) -> tuple[np.ndarray, np.ndarray]:
    """(objective, divergence), each [B]."""
    shared = worlds.posteriors(model, params, x)
    private = worlds.private_draws(model, params, x)
    noise = worlds.noise(0, (M + 1 if model.sampling == "stratified" else 1, ROWS, D))
    values, divergences = np.zeros(ROWS), np.zeros(ROWS)
    standard = (np.zeros(D), np.ones(D))
    for b in range(ROWS):
        here = list(np.flatnonzero(PRESENT[:, b]))
        of = {m: tuple(a[b] for a in shared[m]) for m in here} | {M: standard}
        divergences[b] = jensen_shannon(list(of.values()))
        if model.sampling == "stratified":
            chosen = [(of[k], noise[k, b]) for k in of]
        else:
            # 16 rows, 4 components: four rows each. The next present modality stands in.
            dealt = b // 4
            if dealt < M and here:
                dealt = next(m for m in (*range(dealt, M), *range(dealt)) if m in here)
            chosen = [(of.get(dealt, standard), noise[0, b])]
        for m in here:
            spec, row = model.specs[m], {name: value[b] for name, value in x.items()}
            own = np.zeros(0)
            if PRIVATE[m]:
                loc, scale, own = (a[b] for a in private[m])
                values[b] -= BETA * BETA_STYLE * worlds.normal_kl(loc, scale)
            for (loc, scale), epsilon in chosen:
                code = np.concatenate([own, loc + scale * epsilon])
                values[b] += WEIGHTS[m] * worlds.log_px(params, spec, code, row) / len(chosen)
        values[b] -= BETA * divergences[b]
    return values, divergences


@both_ways
def test_value(sampling):
    model = build(sampling)
    params, x, (loss, terms, _) = worlds.answers(model, ROWS)
    expected, divergence = objective(model, worlds.as_float64(params), worlds.as_float64(x))
    np.testing.assert_allclose(-loss, expected, rtol=2e-5, atol=1e-4)
    np.testing.assert_allclose(terms["kl/shared"], divergence, rtol=2e-5, atol=1e-5)
    np.testing.assert_array_equal(terms["objective"], -loss)
    assert "elbo" not in terms  # it is none


@both_ways
def test_gradient(sampling):
    model = build(sampling)
    params, x, (_, _, gradient) = worlds.answers(model, ROWS)
    x = worlds.as_float64(x)
    worlds.check_directional_derivatives(
        gradient, lambda p: -objective(model, p, x)[0].sum(), params, ("encoder", "decoder")
    )


@both_ways
def test_missing_is_absent_bit_for_bit_and_compiles_once(sampling):
    worlds.check_that_absent_content_never_matters(build(sampling), ROWS)


@both_ways
def test_extreme_scales_stay_finite(sampling):
    worlds.check_that_extreme_scales_stay_finite(build(sampling), ROWS)


# --- the divergence -------------------------------------------------------------------------------


def test_the_divergence_is_not_negative_and_zero_where_all_experts_are_the_prior():
    model, present = build("stratified"), jnp.asarray(worlds.patterns(M, 8))
    rng = np.random.default_rng(0)
    shared = {
        "loc": jnp.asarray(rng.normal(size=(M, 8, D)), jnp.float32),
        "scale": jnp.asarray(np.exp(rng.normal(size=(M, 8, D))), jnp.float32),
    }
    found = np.asarray(model.mixture(shared, present).divergence)
    assert np.all(found[:-1] > 0.01)
    assert found[-1] == 0.0  # nothing present: the prior alone
    same = {"loc": jnp.zeros((M, 8, D)), "scale": jnp.ones((M, 8, D))}
    np.testing.assert_allclose(model.mixture(same, present).divergence, np.zeros(8), atol=1e-6)


def test_the_dynamic_prior_is_the_normalised_geometric_mean_of_densities():
    """By integration on a grid: f is proportional to the product of q_k ** w_k."""
    model = MMJSD(specs=worlds.specs(2), shared=LatentSpace(1))
    q = [(0.7, 0.5), (-1.2, 2.0), (0.0, 1.0)]
    arrays = {name: jnp.asarray([[[v[i]]] for v in q]) for i, name in enumerate(("loc", "scale"))}
    f = model.dynamic_prior(arrays, jnp.ones((3, 1), bool))
    grid = np.linspace(-12, 12, 20_001)
    log_q = [worlds.DENSITIES["normal"].logpdf(grid, *v) for v in q]
    density = np.exp(np.mean(log_q, 0))
    density /= density.sum()
    loc = (density * grid).sum()
    assert float(f["loc"].item()) == pytest.approx(loc, rel=1e-4)
    scale = np.sqrt((density * (grid - loc) ** 2).sum())
    assert float(f["scale"].item()) == pytest.approx(scale, rel=1e-4)


def test_the_objective_can_exceed_the_likelihood():
    """Not a lower bound: f moves with the experts, so that they pay less than KL(q || p)."""
    specs = worlds.specs(3)
    model = MMJSD(specs=specs, shared=LatentSpace(1))
    a = np.zeros((1, worlds.SIZE), np.float32)
    a[0, 0] = 0.3
    shift = 4 * 3 * 0.3 / 1.5**2  # 4 a g, for x = 1 in all three modalities
    raw = np.log(np.expm1(1.0))
    encoder = {"kernel": np.zeros((worlds.SIZE, 2), "f4"), "bias": np.float32([shift, raw])}
    params = {
        "encoder": {s.name: {"shared": {"Dense_0": encoder}} for s in specs},
        "decoder": {
            s.name: {"Dense_0": {"kernel": a, "bias": np.zeros(worlds.SIZE, "f4")}} for s in specs
        },
        "likelihood": {s.name: {} for s in specs},
    }
    x = {s.name: np.zeros((1, worlds.SIZE), np.float32) for s in specs}
    for value in x.values():
        value[0, 0] = 1.0
    value, error = worlds.mean_and_error(model, params, models.prepare({"x": x}), 10_000)
    exact = worlds.exact_log_likelihood(model, params, x)
    assert value[0] > exact[0] + 10 * error[0]


def test_importance_weights_bound_the_likelihood_and_tighten_in_k():
    """What `bound/test` averages is a bound, whatever the objective is: in every pattern."""
    model = MMJSD(specs=worlds.specs(2, private=(1, 1)), shared=LatentSpace(D))
    params, present = worlds.random_params(model, size=0.3), worlds.patterns(2, 3)
    for name in model.names:  # wide proposals: weights of small variance
        for part, size in (("shared", D), ("private", 1)):
            layer = params["encoder"][name][part]["Dense_0"]
            layer["bias"] = layer["bias"].at[size:].add(1.5)
    rows, variables = worlds.batch(model, 3, present=present), {"params": params}
    weigh = jax.jit(lambda key: model.log_weights(variables, key, rows, model.names, (), 32_000))
    exact = []
    for b in range(3):
        row = {name: x[b : b + 1] for name, x in rows["x"].items()}
        exact.append(worlds.exact_log_likelihood(model, params, row, present[:, b])[0])
    worlds.check_that_weights_bound_the_likelihood(weigh(jax.random.key(4)), np.array(exact))


# --- chunks and strata ----------------------------------------------------------------------------


def test_stand_ins_are_the_next_modality_that_is_there():
    for here in itertools.product([False, True], repeat=3):
        alive = jnp.asarray([*here, True])[:, None]
        expected = []
        for k in range(3):
            order = [m for m in (*range(k, 3), *range(k)) if here[m]]
            expected.append(order[0] if order else 3)
        assert stand_ins(alive)[:, 0].tolist() == [*expected, 3]


def test_the_last_chunk_is_decoded_from_the_prior():
    """One row in M + 1 says nothing of what was encoded, as published."""
    model = MMJSD(specs=worlds.specs(2), shared=LatentSpace(D), sampling="chunks", beta=0.0)
    params, x = worlds.random_params(model), worlds.arrays(model, 9)
    moved = {**params, "encoder": jax.tree.map(lambda leaf: leaf + 0.5, params["encoder"])}
    present = np.ones((2, 9), bool)
    first, second = (
        np.asarray(worlds.compiled(model)(p, x, present, jax.random.key(0))[0])
        for p in (params, moved)
    )
    np.testing.assert_array_equal(first[6:], second[6:])
    assert np.all(np.abs(first[:6] - second[:6]) > 1e-4)


def test_the_posterior_for_use_is_the_mixture_of_present_experts_alone():
    model, present = build("stratified"), worlds.patterns(M, 8)
    params, rows = worlds.random_params(model), worlds.batch(model, 8, present=present)
    posterior = model.encode({"params": params}, rows)
    alive = present.copy()
    alive[:, -1] = True  # nothing present: every stratum is the prior
    np.testing.assert_array_equal(posterior.strata, alive)
    x, p = worlds.as_float64(rows["x"]), worlds.as_float64(params)
    for m, name in enumerate(model.names):
        loc, scale = worlds.posterior(p, name, "shared", x)
        np.testing.assert_allclose(posterior.shared["loc"][m, :-1], loc[:-1], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(posterior.shared["scale"][m, :-1], scale[:-1], rtol=1e-4)


# --- options, configs, training -------------------------------------------------------------------


def test_codes_without_a_product_are_refused():
    with pytest.raises(UserError, match=r"config\.model\.latent = 'laplace'.*needs 'normal'"):
        MMJSD(specs=worlds.specs(2), shared=LatentSpace(D, "laplace"))


def test_the_config_builds_the_model():
    values = mmjsd_config.get_config().to_dict()
    values["objective"].update(sampling="chunks", beta_style=2.0)
    values["model"].update(private_dim=3)
    model = worlds.from_config(values)
    assert isinstance(model, MMJSD)
    assert (model.sampling, model.beta, model.beta_style) == ("chunks", 2.5, 2.0)
    assert (model.shared.dim, model.specs[0].private_dim) == (8, 3)


def test_it_learns_what_views_and_a_label_share():
    """Two vectors and a class, a fixed seed: the loss falls from above 30 to below 15.

    A quarter of the rows is decoded from the prior: the loss stays above that of other models.
    """
    specs, x = worlds.views_and_label()
    model = MMJSD(specs=specs, shared=LatentSpace(4), sampling="chunks")
    variables, losses = worlds.train(model, {"x": x}, 200)
    assert losses[-20:].mean() < 15.0 < 30.0 < losses[0]
    assert worlds.label_accuracy(model, variables, x) > 0.9
