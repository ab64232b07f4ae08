"""MMVAE+ against what the paper says of it, and against a world whose likelihood is known."""

from __future__ import annotations

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg, stats

from mmvae_jax import models, objectives
from mmvae_jax.models.importance import BOUNDS
from mmvae_jax.models.latents import LatentSpace
from mmvae_jax.models.mmvae_plus import MMVAEPlus
from mmvae_jax.types import ModalitySpec, UserError
from tests.models import worlds

ROWS = 6
NOISE = 1.5


def spec(
    name: str, *, size: int = 5, private: int = 2, hidden: tuple[int, ...] = ()
) -> ModalitySpec:
    return ModalitySpec(
        name=name,
        shape=(size,),
        dtype="float32",
        likelihood="normal",
        likelihood_scale=NOISE,
        private_dim=private,
        network="mlp",
        network_options=(("hidden", hidden),),
    )


def build(
    count: int = 3, *, private: int = 2, hidden: tuple[int, ...] = (), **options
) -> MMVAEPlus:
    """A model with linear networks unless ``hidden`` says otherwise."""
    family = options.pop("family", "normal")
    specs = tuple(spec(f"m{i}", private=private, hidden=hidden) for i in range(count))
    return MMVAEPlus(specs=specs, shared=LatentSpace(3, family), **options)


def make_batch(model: MMVAEPlus, rows: int = ROWS, seed: int = 0):
    keys = jax.random.split(jax.random.key(seed), len(model.specs))
    x = {
        s.name: jax.random.normal(key, (rows, *s.shape))
        for s, key in zip(model.specs, keys, strict=True)
    }
    return models.prepare({"x": x})


def gradients(model: MMVAEPlus, variables, rng, batch):
    def mean_loss(params):
        return model.loss({"params": params}, rng, batch, jnp.int32(0))[0].sum()

    return jax.grad(mean_loss)(variables["params"])


def distance(a, b) -> float:
    differences = jax.tree.map(lambda x, y: jnp.abs(x - y).max(), a, b)
    return float(jnp.stack(jax.tree.leaves(differences)).max())


def exact_log_likelihood(model: MMVAEPlus, variables, x) -> np.ndarray:
    """log p(x_1..x_M) of linear decoders: a Gaussian whose covariance couples modalities by u."""
    params, blocks, means = variables["params"]["decoder"], [], []
    total_private = sum(s.private_dim for s in model.specs)
    place = 0
    for s in model.specs:
        kernel = np.asarray(params[s.name]["Dense_0"]["kernel"], np.float64)  # [W + D, size]
        row = np.zeros((s.shape[0], total_private + model.shared.dim))
        row[:, place : place + s.private_dim] = kernel[: s.private_dim].T
        row[:, total_private:] = kernel[s.private_dim :].T
        place += s.private_dim
        blocks.append(row)
        means.append(np.asarray(params[s.name]["Dense_0"]["bias"], np.float64))
    loadings = np.concatenate(blocks)
    noise = model.specs[0].likelihood_scale ** 2
    covariance = loadings @ loadings.T + noise * np.eye(len(loadings))
    data = np.concatenate([np.asarray(x[s.name], np.float64) for s in model.specs], 1)
    return stats.multivariate_normal(np.concatenate(means), covariance).logpdf(data)


def widened(variables):
    """Encoders whose scales exceed 1, so that importance weights have a small variance."""

    def widen(path, leaf):
        wide = jnp.arange(leaf.shape[-1]) >= leaf.shape[-1] // 2
        is_bias = path[-1].key == "bias"
        return jnp.where(wide, leaf + 1.0, leaf) if is_bias else leaf

    encoder = jax.tree_util.tree_map_with_path(widen, variables["params"]["encoder"])
    return {"params": {**variables["params"], "encoder": encoder}}


def test_importance_weights_recover_the_exact_likelihood():
    model = build(2, private=1)
    batch = make_batch(model)
    variables = widened(model.init(jax.random.key(1), batch))
    log_w = model.log_weights(variables, jax.random.key(2), batch, model.names, (), 40_000)
    estimate = np.asarray(objectives.iwae(log_w))
    weight = np.exp(np.asarray(log_w, np.float64) - estimate[None])
    error = weight.std(0) / np.sqrt(weight.shape[0])
    expected = exact_log_likelihood(model, variables, batch["x"])
    assert np.all(error < 0.1)
    np.testing.assert_array_less(np.abs(estimate - expected), 4 * error + 1e-3)


def test_likelihood_with_private_codes_of_a_modality_that_is_not_given():
    """log p(x_1, x_2) does not depend on which of the two proposes the codes."""
    model = build(2, private=1)
    batch = make_batch(model)
    variables = widened(model.init(jax.random.key(1), batch))
    log_w = model.log_weights(variables, jax.random.key(2), batch, ("m0",), ("m1",), 40_000)
    estimate = np.asarray(objectives.iwae(log_w))
    weight = np.exp(np.asarray(log_w, np.float64) - estimate[None])
    error = weight.std(0) / np.sqrt(weight.shape[0])
    expected = exact_log_likelihood(model, variables, batch["x"])
    assert np.all(error < 0.15)
    np.testing.assert_array_less(np.abs(estimate - expected), 4 * error + 1e-3)


def predictive(variables, names, x, loc, scale) -> np.ndarray:
    """log of the integral of p(x_names | u, w) p(w) over N(u; loc, scale) of each row, [B]."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables["params"]["decoder"])
    layers = [params[name]["Dense_0"] for name in names]
    shared = np.concatenate([layer["kernel"][1:] for layer in layers], 1)  # [D, sizes]
    own = [np.outer(layer["kernel"][0], layer["kernel"][0]) for layer in layers]
    fixed = linalg.block_diag(*own) + NOISE**2 * np.eye(shared.shape[1])
    bias = np.concatenate([layer["bias"] for layer in layers])
    data = np.concatenate([np.asarray(x[name], np.float64) for name in names], 1)
    return np.array(
        [
            stats.multivariate_normal(
                m @ shared + bias, shared.T @ np.diag(s**2) @ shared + fixed
            ).logpdf(row)
            for m, s, row in zip(loc, scale, data, strict=True)
        ]
    )


def test_weights_of_draws_from_all_recover_marginals_and_what_one_posterior_predicts():
    """m0 and m2 with private codes; draws of u are from the mixture of all three encoders."""
    model = build(3, private=1)
    batch = make_batch(model)
    variables = widened(model.init(jax.random.key(1), batch))
    expert = jax.tree.map(
        lambda p: np.asarray(p[1], np.float64), model.encode(variables, batch, ("m1",)).shared
    )
    # p(u), and q(u | x_1).
    densities = (np.zeros((ROWS, 3)), np.ones((ROWS, 3))), (expert["loc"], expert["scale"])
    sides = (np.array([name in side for name in model.names]) for side in (("m0", "m2"), ("m1",)))
    found = model.marginal_and_conditional_log_weights(
        variables, jax.random.key(2), batch, *sides, 40_000
    )
    for log_w, (loc, scale) in zip(found, densities, strict=True):
        estimate = np.asarray(objectives.iwae(log_w))
        weight = np.exp(np.asarray(log_w, np.float64) - estimate[None])
        error = weight.std(0) / np.sqrt(weight.shape[0])
        assert np.all(error < 0.1)
        expected = predictive(variables, ("m0", "m2"), batch["x"], loc, scale)
        np.testing.assert_array_less(np.abs(estimate - expected), 4 * error + 1e-3)


def test_given_nothing_marginal_and_conditional_log_weights_are_those_of_what_is_there():
    """One row lacks m1."""
    model = build(3, private=1)
    batch = make_batch(model)
    gap = {**batch["present"], "m1": batch["present"]["m1"].at[0].set(False)}
    batch = {**batch, "present": gap}
    variables, rng = model.init(jax.random.key(1), batch), jax.random.key(2)
    every, nothing = np.ones(3, bool), np.zeros(3, bool)
    expected = model.log_weights(variables, rng, batch, model.names, (), 5)
    for log_w in model.marginal_and_conditional_log_weights(
        variables, rng, batch, every, nothing, 5
    ):
        np.testing.assert_allclose(log_w, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("posterior", ["paper", "code"])
@pytest.mark.parametrize("bound", ["looser", "tighter"])
def test_training_bound_is_below_the_likelihood_and_tightens_in_k(posterior, bound):
    """With the prior as auxiliary prior and beta 1 the objective bounds log p(X) (Lemma 1)."""
    values = {}
    for samples in (1, 20):
        model = build(
            2,
            num_samples=samples,
            auxiliary_scale="fixed",
            posterior=posterior,
            bound=bound,
        )
        batch = make_batch(model)
        variables = model.init(jax.random.key(1), batch)
        keys = jax.random.split(jax.random.key(3), 1000)
        loss = jax.jit(
            jax.vmap(lambda key, m=model, v=variables, b=batch: m.loss(v, key, b, jnp.int32(0))[0])
        )(keys)
        bounds = -np.asarray(loss).mean(1)
        values[samples] = (bounds.mean(), bounds.std() / np.sqrt(len(keys)))
    exact = exact_log_likelihood(model, variables, batch["x"]).mean()
    assert values[1][0] < exact + 4 * values[1][1]
    assert values[20][0] < exact + 4 * values[20][1]
    assert values[20][0] - values[1][0] > 4 * (values[1][1] + values[20][1])


@pytest.mark.parametrize("family", ["normal", "laplace"])
def test_estimators_share_their_value(family):
    batch = make_batch(build())
    losses = []
    for estimator in ("iwae", "stl", "dreg"):
        model = build(family=family, estimator=estimator, num_samples=4)
        variables = model.init(jax.random.key(1), batch)
        losses.append(model.loss(variables, jax.random.key(2), batch, jnp.int32(0))[0])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-6)
    np.testing.assert_allclose(losses[0], losses[2], rtol=1e-6)


def test_stl_and_dreg_agree_at_one_sample_and_differ_at_more():
    """With K = 1 the weight is 1 and so is its square."""
    batch = make_batch(build())
    for samples, same in ((1, True), (5, False)):
        pair = [build(estimator=e, num_samples=samples) for e in ("stl", "dreg")]
        variables = pair[0].init(jax.random.key(1), batch)
        stl, dreg = (gradients(m, variables, jax.random.key(2), batch) for m in pair)
        assert (distance(stl["encoder"], dreg["encoder"]) < 1e-5) == same
        assert distance(stl["decoder"], dreg["decoder"]) < 1e-4


def exact_single_expert(estimator: str, samples: int):
    """One modality, no private code: linear encoder and decoder with the exact posterior."""
    model = MMVAEPlus(
        specs=(spec("m0", size=2, private=0),),
        shared=LatentSpace(1),
        num_samples=samples,
        estimator=estimator,
    )
    a, noise = np.array([0.8, -0.5]), NOISE**2
    variance = 1 / (1 + a @ a / noise)
    raw = np.log(np.expm1(np.sqrt(variance) - 1e-6))
    encoder = {
        "kernel": jnp.asarray(np.stack([variance * a / noise, np.zeros(2)], 1), jnp.float32),
        "bias": jnp.asarray([0.0, raw], jnp.float32),
    }
    decoder = {"kernel": jnp.asarray(a[None], jnp.float32), "bias": jnp.zeros(2)}
    params = {
        "encoder": {"m0": {"shared": {"Dense_0": encoder}}},
        "decoder": {"m0": {"Dense_0": decoder}},
        "likelihood": {"m0": {}},
        "auxiliary": {},
    }
    return model, {"params": params}


@pytest.mark.parametrize("estimator", ["iwae", "stl", "dreg"])
@pytest.mark.parametrize("samples", [1, 10])
def test_at_the_exact_posterior_the_bound_is_the_likelihood_without_variance(estimator, samples):
    model, variables = exact_single_expert(estimator, samples)
    batch = make_batch(model)
    exact = exact_log_likelihood(model, variables, batch["x"])
    for seed in range(3):
        loss, _ = model.loss(variables, jax.random.key(seed), batch, jnp.int32(0))
        np.testing.assert_allclose(-np.asarray(loss), exact, atol=2e-4)


@pytest.mark.parametrize("estimator", ["stl", "dreg"])
@pytest.mark.parametrize("samples", [1, 10])
def test_at_the_exact_posterior_the_encoder_gradient_is_zero(estimator, samples):
    model, variables = exact_single_expert(estimator, samples)
    grads = gradients(model, variables, jax.random.key(0), make_batch(model))
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(grads["encoder"]))
    assert largest < 2e-4
    iwae, _ = exact_single_expert("iwae", samples)
    noisy = gradients(iwae, variables, jax.random.key(0), make_batch(iwae))
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(noisy["encoder"])) > 0.05


def test_dreg_with_one_expert_has_the_iwae_gradient_in_the_mean_and_less_variance():
    """Tucker et al. 2019: unbiased for one reparameterised posterior, here near the exact one."""
    keys = jax.random.split(jax.random.key(5), 4000)
    found = {}
    for estimator in ("iwae", "dreg"):
        model, variables = exact_single_expert(estimator, 10)
        params = variables["params"]
        moved = jax.tree.map(lambda x: x + 0.4, params["encoder"])
        variables = {"params": {**params, "encoder": moved}}
        batch = make_batch(model)

        @jax.jit
        @jax.vmap
        def sampled(key, model=model, variables=variables, batch=batch):
            return gradients(model, variables, key, batch)["encoder"]

        leaves = jax.tree.leaves(sampled(keys))
        flat = np.concatenate([np.asarray(g).reshape(len(keys), -1) for g in leaves], 1)
        found[estimator] = (flat.mean(0), flat.var(0))
    error = np.sqrt((found["iwae"][1] + found["dreg"][1]) / len(keys))
    gap = np.abs(found["iwae"][0] - found["dreg"][0])
    assert np.all(gap < 4 * error)
    assert np.any(np.abs(found["iwae"][0]) > 8 * error)  # there is a gradient to agree on
    assert found["dreg"][1].sum() < 0.5 * found["iwae"][1].sum()


@pytest.mark.parametrize("posterior", ["paper", "code"])
def test_lemma_2_private_encoders_see_no_cross_modal_likelihood(posterior):
    """With K = 1, what another modality's decoder does cannot reach a private encoder."""
    batch = make_batch(build())
    for cross, blind in (("auxiliary", True), ("own", False)):
        model = build(posterior=posterior, cross_private=cross, hidden=(8,))
        variables = model.init(jax.random.key(1), batch)
        changed = jax.tree.map(lambda x: x, variables)
        changed["params"]["decoder"]["m1"] = jax.tree.map(
            lambda x: x + 0.3, variables["params"]["decoder"]["m1"]
        )
        before = gradients(model, variables, jax.random.key(2), batch)["encoder"]
        after = gradients(model, changed, jax.random.key(2), batch)["encoder"]
        assert distance(before["m1"]["private"], after["m1"]["private"]) > 1e-3
        assert (distance(before["m0"]["private"], after["m0"]["private"]) < 1e-6) or not blind
        assert (distance(before["m2"]["private"], after["m2"]["private"]) < 1e-6) or not blind
        # The shared encoders hear of every modality.
        assert distance(before["m0"]["shared"], after["m0"]["shared"]) > 1e-3


@pytest.mark.parametrize(
    ("estimator", "bound", "posterior", "cross"),
    [
        *itertools.product(("iwae", "stl", "dreg"), BOUNDS, ("paper",), ("auxiliary",)),
        ("dreg", "looser", "code", "own"),
    ],
)
def test_missing_is_absent_bit_for_bit(estimator, bound, posterior, cross):
    """What an absent modality's array holds reaches neither the loss nor a gradient."""
    choices = {"posterior": posterior, "cross_private": cross}
    model = build(estimator=estimator, bound=bound, num_samples=2, hidden=(4,), **choices)
    patterns = np.array(list(itertools.product([False, True], repeat=3)))  # every one, none too
    raw = {s.name: np.random.default_rng(0).normal(size=(8, 5)) for s in model.specs}
    present = {s.name: patterns[:, i] for i, s in enumerate(model.specs)}
    variables = model.init(jax.random.key(1), models.prepare({"x": _float32(raw)}))

    @jax.jit
    def both(x, present):
        batch = models.prepare({"x": x, "present": present})
        loss, _ = model.loss(variables, jax.random.key(2), batch, jnp.int32(0))
        return loss, gradients(model, variables, jax.random.key(2), batch)

    changed = {k: np.where(present[k][:, None], v, -1e6) for k, v in raw.items()}
    first, second = both(_float32(raw), present), both(_float32(changed), present)
    jax.tree.map(np.testing.assert_array_equal, first, second)
    assert np.all(np.isfinite(first[0]))
    assert first[0][0] == 0.0  # nothing present
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(first[1]))
    assert both._cache_size() == 1


def _float32(arrays):
    return {name: np.asarray(array, np.float32) for name, array in arrays.items()}


def test_a_missing_modality_changes_the_mixture_only():
    """A row that lacks m2 has the loss of a two-modality model with the same parameters."""
    three, two = build(3, num_samples=1), build(2, num_samples=1)
    batch = make_batch(three)
    variables = three.init(jax.random.key(1), batch)
    present = {"m0": np.ones(ROWS, bool), "m1": np.ones(ROWS, bool), "m2": np.zeros(ROWS, bool)}
    masked = models.prepare({"x": batch["x"], "present": present})
    keys = jax.random.split(jax.random.key(3), 3000)

    def mean_loss(model, batch):
        losses = jax.vmap(lambda key: model.loss(variables, key, batch, jnp.int32(0))[0])(keys)
        losses = np.asarray(losses).mean(1)
        return losses.mean(), losses.std() / np.sqrt(len(keys))

    pair = models.prepare({"x": {name: batch["x"][name] for name in two.names}})
    (a, error_a), (b, error_b) = mean_loss(three, masked), mean_loss(two, pair)
    assert abs(a - b) < 4 * np.hypot(error_a, error_b)


def test_beta_multiplies_the_densities_and_never_the_likelihood():
    batch = make_batch(build())
    losses = {}
    for beta in (0.0, 1.0, 2.0):
        model = build(beta=beta)
        variables = model.init(jax.random.key(1), batch)
        losses[beta], terms = model.loss(variables, jax.random.key(2), batch, jnp.int32(0))
    log_px = sum(terms[f"log_px/{name}"] for name in model.names)
    np.testing.assert_allclose(-losses[0.0], log_px, rtol=1e-5)
    np.testing.assert_allclose(
        losses[2.0] - losses[1.0], losses[1.0] - losses[0.0], rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("kind", ["sum", "free", "fixed"])
def test_auxiliary_prior_starts_as_the_prior(kind):
    model = build(auxiliary_scale=kind)
    variables = model.init(jax.random.key(1), make_batch(model))
    prior = model.auxiliary_prior(variables, model.specs[0])
    np.testing.assert_allclose(prior["scale"], np.ones(2), atol=1e-5)
    np.testing.assert_array_equal(prior["loc"], np.zeros(2))


def test_a_free_auxiliary_scale_can_shrink_and_a_constrained_one_cannot():
    raw = jnp.full(2, -5.0)
    for kind, total in (("free", 2 * np.log1p(np.exp(-5.0))), ("sum", 2.0)):
        model = build(auxiliary_scale=kind)
        prior = model.auxiliary_prior({"params": {"auxiliary": {"m0": raw}}}, model.specs[0])
        assert float(prior["scale"].sum()) == pytest.approx(total, rel=1e-4, abs=1e-4)


def test_alpha_scales_the_private_prior():
    model = build()
    for alpha in (0.1, 3.0):
        codes = model.sample_private_prior(jax.random.key(0), (5000,), alpha)
        assert float(codes["m1"].std()) == pytest.approx(alpha, rel=0.05)


def test_the_papers_posterior_needs_equal_private_sizes():
    specs = (spec("m0", private=1), spec("m1", private=2))
    with pytest.raises(UserError, match="one private_dim for all"):
        MMVAEPlus(specs=specs, shared=LatentSpace(3), posterior="paper")
    model = MMVAEPlus(specs=specs, shared=LatentSpace(3), posterior="code")
    batch = make_batch(model)
    variables = model.init(jax.random.key(0), batch)
    assert np.all(np.isfinite(model.loss(variables, jax.random.key(1), batch, jnp.int32(0))[0]))


def test_remat_changes_no_number():
    batch = make_batch(build(hidden=(8,)))
    plain = build(hidden=(8,), num_samples=3)
    saving = dataclasses.replace(plain, remat=True)
    variables = plain.init(jax.random.key(1), batch)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        gradients(plain, variables, jax.random.key(2), batch),
        gradients(saving, variables, jax.random.key(2), batch),
    )


def test_it_learns_what_views_and_a_label_share():
    """Two vectors and a class, a fixed seed: the loss falls from above 30 to below 9."""
    specs, x = worlds.views_and_label(private=2)
    model = MMVAEPlus(
        specs=specs,
        shared=LatentSpace(4),
        separate_encoders=False,
        num_samples=2,
        posterior="code",
    )
    variables, losses = worlds.train(model, {"x": x}, 200)
    assert losses[-20:].mean() < 9.0 < 30.0 < losses[0]
    assert worlds.label_accuracy(model, variables, x) > 0.9
