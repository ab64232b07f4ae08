"""MoPoE-VAE against a second evaluation in float64, row by row and subset by subset."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from configs import mopoe as mopoe_config
from mmvae_jax import experts
from mmvae_jax.models.latents import LatentSpace
from mmvae_jax.models.mixtures import chunk_of_rows
from mmvae_jax.models.mopoe import MoPoE, subset_table
from mmvae_jax.types import ModalitySpec, UserError
from tests.models import worlds

M, D, ROWS, BETA, BETA_STYLE = 3, 2, 16, 1.7, 0.6
WEIGHTS, PRIVATE = (1.0, 0.5, 2.0), (2, 0, 1)
PRESENT = worlds.patterns(M, ROWS)
SUBSETS = [s for size in (1, 2, 3) for s in itertools.combinations(range(M), size)]

# (sampling, prior expert)
CHOICES = {
    "stratified": ("stratified", "full"),
    "stratified-none": ("stratified", "none"),
    "chunks": ("chunks", "full"),
    "chunks-every": ("chunks", "every"),
}
every_choice = pytest.mark.parametrize("choice", CHOICES)


@functools.cache
def build(choice: str) -> MoPoE:
    sampling, prior_expert = CHOICES[choice]
    return MoPoE(
        specs=worlds.specs(M, private=PRIVATE, weights=WEIGHTS, scales=(0.5, 0.75, 1.25)),
        shared=LatentSpace(D),
        sampling=sampling,
        prior_expert=prior_expert,
        beta=BETA,
        beta_style=BETA_STYLE,
    )


# --- the objective once more, in NumPy ------------------------------------------------------------


def product(members: Any, found: list, row: int, prior: bool) -> tuple[np.ndarray, np.ndarray]:
    """(loc, scale) [D] of a product of experts: precisions add up."""
    precision, weighted = np.full(D, float(prior)), np.zeros(D)
    for m in members:
        loc, scale = (a[row] for a in found[m])
        precision = precision + scale**-2.0
        weighted = weighted + loc * scale**-2.0
    return weighted / precision, precision**-0.5


def subset_posterior(model: MoPoE, members: Any, here: Any, found: list, row: int) -> Any:
    prior = {"full": set(members) == set(here), "every": True, "none": False}
    return product(members, found, row, prior[model.prior_expert])


def objective(model: MoPoE, params: Any, x: Any) -> tuple[np.ndarray, np.ndarray]:
    """(objective, shared KL), each [B]."""
    shared = worlds.posteriors(model, params, x)
    private = worlds.private_draws(model, params, x)
    noise = worlds.noise(0, (len(SUBSETS) if model.sampling == "stratified" else 1, ROWS, D))
    values, kls = np.zeros(ROWS), np.zeros(ROWS)
    for b in range(ROWS):
        here = tuple(np.flatnonzero(PRESENT[:, b]))
        if not here:
            continue
        alive = [s for s in SUBSETS if set(s) <= set(here)]
        kls[b] = np.mean(
            [worlds.normal_kl(*subset_posterior(model, s, here, shared, b)) for s in alive]
        )
        if model.sampling == "stratified":
            chosen = [(s, noise[SUBSETS.index(s), b]) for s in alive]
        else:
            # 16 rows, 7 subsets: two rows each, and what remains for the full set.
            dealt = SUBSETS[min(b // 2, 6)]
            chosen = [(tuple(sorted(set(dealt) & set(here))) or here, noise[0, b])]
        for members, epsilon in chosen:
            loc, scale = subset_posterior(model, members, here, shared, b)
            for m in here:
                code = loc + scale * epsilon
                if PRIVATE[m]:
                    code = np.concatenate([private[m][2][b], code])
                row = {name: value[b] for name, value in x.items()}
                log_px = worlds.log_px(params, model.specs[m], code, row)
                values[b] += WEIGHTS[m] * log_px / len(chosen)
        values[b] -= BETA * kls[b]
        for m in here:
            if PRIVATE[m]:
                loc, scale, _ = (a[b] for a in private[m])
                values[b] -= BETA * BETA_STYLE * worlds.normal_kl(loc, scale)
    return values, kls


@every_choice
def test_value(choice):
    model = build(choice)
    params, x, (loss, terms, _) = worlds.answers(model, ROWS)
    expected, kl = objective(model, worlds.as_float64(params), worlds.as_float64(x))
    np.testing.assert_allclose(-loss, expected, rtol=2e-5, atol=1e-4)
    np.testing.assert_allclose(terms["elbo"], -loss)
    np.testing.assert_allclose(terms["kl/shared"], kl, rtol=2e-5, atol=1e-5)
    log_px = sum(w * terms[f"log_px/m{m}"] for m, w in enumerate(WEIGHTS))
    private = terms["kl/private/m0"] + terms["kl/private/m2"]
    total = log_px - BETA * (terms["kl/shared"] + BETA_STYLE * private)
    np.testing.assert_allclose(total, -loss, rtol=1e-4, atol=1e-4)


@every_choice
def test_gradient(choice):
    model = build(choice)
    params, x, (_, _, gradient) = worlds.answers(model, ROWS)
    x = worlds.as_float64(x)
    worlds.check_directional_derivatives(
        gradient, lambda p: -objective(model, p, x)[0].sum(), params, ("encoder", "decoder")
    )


@every_choice
def test_missing_is_absent_bit_for_bit_and_compiles_once(choice):
    worlds.check_that_absent_content_never_matters(build(choice), ROWS)


@every_choice
def test_extreme_scales_stay_finite(choice):
    worlds.check_that_extreme_scales_stay_finite(build(choice), ROWS)


# --- strata ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("prior_expert", ["full", "every", "none"])
def test_two_modalities_are_mixed_with_their_product(prior_expert):
    """Both experts and their product; of a single modality, its expert alone."""
    model = MoPoE(specs=worlds.specs(2), shared=LatentSpace(D), prior_expert=prior_expert)
    params, present = worlds.random_params(model), worlds.patterns(2, 4)
    rows = worlds.batch(model, 4, present=present)
    posterior = model.encode({"params": params}, rows)
    # Rows: both, m0, m1, nothing (then every stratum is the prior).
    np.testing.assert_array_equal(posterior.strata, [[1, 1, 0, 1], [1, 0, 1, 1], [1, 0, 0, 1]])
    x, p = worlds.as_float64(rows["x"]), worlds.as_float64(params)
    q = worlds.posteriors(model, p, x)
    some, every = prior_expert != "none", prior_expert == "every"
    expected = {
        (0, 0): product((0,), q, 0, every),
        (1, 0): product((1,), q, 0, every),
        (2, 0): product((0, 1), q, 0, some),
        (0, 1): product((0,), q, 1, some),
        (1, 2): product((1,), q, 2, some),
        (2, 3): (np.zeros(D), np.ones(D)),
    }
    for (stratum, row), (loc, scale) in expected.items():
        np.testing.assert_allclose(posterior.shared["loc"][stratum, row], loc, rtol=1e-4)
        np.testing.assert_allclose(posterior.shared["scale"][stratum, row], scale, rtol=1e-4)


def test_up_to_six_modalities_all_subsets_are_there_and_above_a_stated_number():
    np.testing.assert_array_equal(subset_table(6, 10), experts.subsets(6))
    table = subset_table(9, 20)
    assert table.shape == (20, 9)
    assert len({tuple(row) for row in table.tolist()}) == 20
    np.testing.assert_array_equal(table[:9], np.eye(9, dtype=bool))
    assert table[-1].all()
    assert set(table[9:-1].sum(1)) <= set(range(2, 9))
    np.testing.assert_array_equal(subset_table.__wrapped__(9, 20), table)  # every time the same
    assert subset_table(7, 126).shape == (126, 7)
    np.testing.assert_array_equal(subset_table(7, 127), experts.subsets(7))
    with pytest.raises(UserError, match="num_subsets = 9: must be at least 10"):
        subset_table(9, 9)


def test_the_full_set_stands_for_all_present_where_no_other_subset_is_these():
    specs = tuple(
        ModalitySpec(
            name=f"m{i}", shape=(2,), dtype="float32", likelihood="normal", network="mlp",
            network_options=(("hidden", ()),),
        )
        for i in range(8)
    )  # fmt: skip
    model = MoPoE(specs=specs, shared=LatentSpace(D), num_subsets=12)
    table = model.subsets
    sixes = experts.subsets(8)[np.where(experts.subsets(8).sum(1) == 6)]
    unseen = next(s for s in sixes if not (table == s).all(1).any())
    rows = [np.ones(8, bool), unseen, table[9], np.eye(8, dtype=bool)[3], np.zeros(8, bool)]
    present = np.stack(rows, 1)
    alive = np.asarray(jax.jit(model.alive)(present))
    for b, here in enumerate(rows):
        inside = (table[:-1] <= here).all(1)
        np.testing.assert_array_equal(alive[:-1, b], inside)
    np.testing.assert_array_equal(alive[-1], [True, True, False, False, False])
    shared = {
        "loc": jax.random.normal(jax.random.key(0), (8, 5, D)),
        "scale": jnp.exp(jax.random.normal(jax.random.key(1), (8, 5, D))),
    }
    found = jax.jit(model.products)(shared, jnp.asarray(present))
    experts_of = [(shared["loc"][m], shared["scale"][m]) for m in range(8)]
    loc, scale = product(np.flatnonzero(unseen), worlds.as_float64(experts_of), 1, True)
    np.testing.assert_allclose(found["loc"][-1, 1], loc, rtol=1e-4)
    np.testing.assert_allclose(found["scale"][-1, 1], scale, rtol=1e-4)
    loc, scale = product(np.flatnonzero(table[9]), worlds.as_float64(experts_of), 0, False)
    np.testing.assert_allclose(found["loc"][9, 0], loc, rtol=1e-4)
    np.testing.assert_allclose(found["scale"][9, 0], scale, rtol=1e-4)


def test_chunks_are_contiguous_and_the_rest_goes_to_the_last():
    published = chunk_of_rows(256, 31)  # "8 each, last 16"
    np.testing.assert_array_equal(np.bincount(published), [8] * 30 + [16])
    assert np.all(np.diff(published) >= 0)
    np.testing.assert_array_equal(chunk_of_rows(5, 7), [6] * 5)
    np.testing.assert_array_equal(chunk_of_rows(7, 3), [0, 0, 1, 1, 2, 2, 2])


# --- worlds whose likelihood is known -------------------------------------------------------------


def test_objective_is_the_mean_of_all_subsets_elbos_and_below_the_likelihood():
    """In expectation, in closed form: two single experts and their product, for two modalities."""
    model = MoPoE(specs=worlds.specs(2, private=(1, 1)), shared=LatentSpace(D))
    params, present = worlds.random_params(model, size=0.3), worlds.patterns(2, 3)
    rows = worlds.batch(model, 3, present=present)
    value, error = worlds.mean_and_error(model, params, rows, 4000)
    p, x = worlds.as_float64(params), worlds.as_float64(rows["x"])
    q = worlds.posteriors(model, p, x)
    w = [worlds.posterior(p, name, "private", x) for name in model.names]
    for b, here in enumerate([(0, 1), (0,), (1,)]):
        alive = [s for s in [(0,), (1,), (0, 1)] if set(s) <= set(here)]
        elbos = []
        for members in alive:
            loc, scale = product(members, q, b, members == here)
            elbo = -worlds.normal_kl(loc, scale)
            for m in here:
                both = [np.concatenate([w[m][i][b], (loc, scale)[i]]) for i in (0, 1)]
                row = {name: data[b] for name, data in x.items()}
                elbo += worlds.expected_log_px(p, model.specs[m], *both, row)
                elbo -= worlds.normal_kl(w[m][0][b], w[m][1][b])
            elbos.append(elbo)
        assert abs(value[b] - np.mean(elbos)) < 4 * error[b]
        one = {name: data[b : b + 1] for name, data in rows["x"].items()}
        exact = worlds.exact_log_likelihood(model, params, one, np.isin((0, 1), here))[0]
        assert value[b] < exact + 4 * error[b]


def test_with_the_exact_posterior_the_objective_is_the_likelihood_in_the_mean():
    """An expert that is the likelihood of its x as a function of z, times the prior expert."""
    model = MoPoE(specs=worlds.specs(2), shared=LatentSpace(1))
    a, noise = np.array([[0.8, -0.5, 0.3, 0.0]]), 1.5**2
    power = float((a @ a.T).item())
    raw = np.log(np.expm1(np.sqrt(noise / power)))
    params = jax.tree.map(jnp.asarray, worlds.random_params(model))
    layer = {"kernel": np.concatenate([a / power, 0 * a]).T, "bias": np.array([0.0, raw])}
    params["encoder"]["m0"]["shared"]["Dense_0"] = jax.tree.map(np.float32, layer)
    params["decoder"]["m0"]["Dense_0"] = {"kernel": np.float32(a), "bias": np.zeros(4, "f4")}
    present = np.array([[True], [False]])
    rows = worlds.batch(model, 1, present=present)
    value, error = worlds.mean_and_error(model, params, rows, 10_000)
    exact = worlds.exact_log_likelihood(model, params, rows["x"], present[:, 0])
    assert error[0] < 0.02
    assert abs(value[0] - exact[0]) < 4 * error[0]
    variables, key = {"params": params}, jax.random.key(0)
    log_w = jax.jit(lambda: model.log_weights(variables, key, rows, ("m0",), (), 5))()
    np.testing.assert_allclose(log_w, np.broadcast_to(exact, (5, 1)), atol=1e-3)  # no variance


def test_importance_weights_recover_the_exact_likelihood():
    model = MoPoE(specs=worlds.specs(2, private=(1, 1)), shared=LatentSpace(D), prior_expert="none")
    params = worlds.random_params(model, size=0.3)
    for name in model.names:
        for part, size in (("shared", D), ("private", 1)):
            layer = params["encoder"][name][part]["Dense_0"]
            layer["bias"] = layer["bias"].at[size:].add(1.5)
    rows, variables = worlds.batch(model, 4), {"params": params}
    weigh = jax.jit(lambda key: model.log_weights(variables, key, rows, model.names, (), 30_000))
    log_w = np.asarray(weigh(jax.random.key(4)), np.float64)
    estimate = special.logsumexp(log_w, axis=0) - np.log(len(log_w))
    error = np.exp(log_w - estimate).std(0) / np.sqrt(len(log_w))
    exact = worlds.exact_log_likelihood(model, params, rows["x"])
    assert np.all(error < 0.1)
    np.testing.assert_array_less(np.abs(estimate - exact), 4 * error + 1e-3)


# --- options, configs, training -------------------------------------------------------------------


def test_codes_that_cannot_be_multiplied_are_refused():
    with pytest.raises(UserError, match=r"config\.model\.latent = 'laplace'.*needs 'normal'"):
        MoPoE(specs=worlds.specs(2), shared=LatentSpace(D, "laplace"))


def test_the_config_builds_the_model():
    values = mopoe_config.get_config().to_dict()
    values["objective"].update(sampling="chunks", beta_style=2.0, num_subsets=40)
    values["model"].update(prior_expert="every", private_dim=3)
    model = worlds.from_config(values)
    assert isinstance(model, MoPoE)
    assert (model.sampling, model.prior_expert, model.num_subsets) == ("chunks", "every", 40)
    assert (model.beta, model.beta_style, model.shared.dim) == (2.5, 2.0, 8)


def test_it_learns_what_views_and_a_label_share():
    """Two vectors and a class, a fixed seed: the loss falls from above 30 to below 10."""
    specs, x = worlds.views_and_label()
    model = MoPoE(specs=specs, shared=LatentSpace(4))
    variables, losses = worlds.train(model, {"x": x}, 200)
    assert losses[-20:].mean() < 10.0 < 30.0 < losses[0]
    assert worlds.label_accuracy(model, variables, x) > 0.9
