"""MEME: what its gradient reaches, its answers, pseudo-samples, configs and runs."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from configs import common
from configs import meme as config_file
from mmvae_jax import inference, models, runner
from mmvae_jax.models import pseudo_samples
from mmvae_jax.models.latents import LatentSpace
from mmvae_jax.models.meme import MEME
from mmvae_jax.types import ModalitySpec, UserError
from tests.models import worlds
from tests.models.meme_cases import (
    NOISE,
    PAIRS,
    SIZES,
    TRIPLES,
    build,
    data,
    dense,
    encoder,
    parameters,
    present_of,
    setting,
    spec,
)


@pytest.fixture
def model() -> MEME:
    return setting("paper")[0]


@pytest.fixture
def call():
    return setting("paper")[1]


@pytest.fixture
def params():
    return parameters(2)


# --- gradients ----------------------------------------------------------------------------------


def any_gradient(tree) -> bool:
    return any(np.any(leaf) for leaf in jax.tree.leaves(tree))


def test_a_row_of_one_modality_trains_all_but_the_decoder_of_the_other(params, call):
    """Sec. 3.3; the pseudo-samples of s itself have no part in it."""
    x = data(6)
    only_s = np.array([[1, 0]] * 6, bool)
    _, _, gradient = call(params, x, present_of(only_s))
    for trained in (
        gradient["encoder"]["m0"],
        gradient["encoder"]["m1"],
        gradient["decoder"]["m0"],
        gradient["pseudo"]["m1"],
    ):
        assert all(np.any(leaf) for leaf in jax.tree.leaves(trained))
    assert not any_gradient(gradient["decoder"]["m1"])
    assert not any_gradient(gradient["pseudo"]["m0"])


def test_complete_rows_train_every_network_and_no_pseudo_sample(params, call):
    _, _, gradient = call(params, data(6), present_of(np.ones((6, 2), bool)))
    assert not any_gradient(gradient["pseudo"])
    for part in ("encoder", "decoder"):
        assert all(np.any(leaf) for leaf in jax.tree.leaves(gradient[part]))


def test_missing_is_absent_bit_for_bit(params, call):
    x, present = data(6), present_of(PAIRS)
    changed = {k: np.where(present[k][:, None], v, np.float32(-1e6)) for k, v in x.items()}
    first, second = call(params, x, present), call(params, changed, present)
    jax.tree.map(np.testing.assert_array_equal, first, second)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(first))


@pytest.mark.parametrize("combination", ["product", "mixture"])
def test_missing_is_absent_with_three_modalities(combination):
    params, x, present = parameters(3), data(8, 3), present_of(TRIPLES)
    call = setting(combination)[1]
    changed = {k: np.where(present[k][:, None], v, np.float32(-1e6)) for k, v in x.items()}
    first, second = call(params, x, present), call(params, changed, present)
    jax.tree.map(np.testing.assert_array_equal, first, second)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(first))
    assert first[0][-1] == 0.0  # nothing present
    # A row that lacks m2 has no use for anything of it; a row that has m0 alone, for its decoder.
    _, _, gradient = call(params, x, present_of(np.array([[1, 1, 0]] * 8, bool)))
    for part in ("encoder", "decoder", "pseudo"):
        assert not any_gradient(gradient[part]["m2"])
    _, _, gradient = call(params, x, present_of(np.array([[1, 0, 0]] * 8, bool)))
    assert any_gradient(gradient["encoder"]["m2"]) and any_gradient(gradient["pseudo"]["m2"])
    assert not any_gradient(gradient["decoder"]["m2"])
    assert call._cache_size() == 1


def test_rows_of_all_kinds_share_one_program(params, call):
    for patterns in (PAIRS, PAIRS[::-1]):
        call(params, data(6), present_of(patterns))
    assert call._cache_size() == 1  # every other test's calls counted too


def test_finite_at_extreme_posteriors_and_decoders(params, call):
    """Scales near 1e-4 and near 1e3, decoder biases of +-50."""
    for raw in (-9.2, 1e3):
        wide = jax.tree.map(lambda p: p, params)
        for i in range(2):
            layer = wide["encoder"][f"m{i}"]["shared"]["Dense_0"]
            layer["bias"] = layer["bias"].at[2:].set(raw)
            layer = wide["decoder"][f"m{i}"]["Dense_0"]
            layer["bias"] = layer["bias"] + 50.0 * (-1) ** i
        found = call(wide, data(6), present_of(PAIRS))
        assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(found))


# --- answers ------------------------------------------------------------------------------------


def test_each_modality_is_embedded_by_its_own_encoder(model, params):
    x = data(6)

    @jax.jit
    def answers(params):
        variables, batch = (
            {"params": params},
            models.prepare({"x": x, "present": present_of(PAIRS)}),
        )
        alone = model.embed(variables, batch, ("m0",))["shared"]
        return alone, model.embed(variables, batch)["shared"], model.encode(variables, batch).strata

    alone, both, strata = answers(params)
    loc = [encoder(params, i, x[f"m{i}"])[0] for i in range(2)]
    np.testing.assert_allclose(alone[0], loc[0][0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(both[0], (loc[0][0] + loc[1][0]) / 2, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(strata[:, :5], PAIRS[:5].T)


def test_generation_draws_from_the_mixture_over_all_pseudo_samples(model, params):
    """Linear decoders: mean and covariance of what they give follow from the mixture's."""
    draws = jax.jit(lambda p: model.generate({"params": p}, jax.random.key(0), 20_000))(params)
    parts = [encoder(params, i, np.asarray(params["pseudo"][f"m{i}"])) for i in range(2)]
    loc, scale = (np.concatenate(rows) for rows in zip(*parts, strict=True))
    covariance = np.cov(loc.T, bias=True) + np.diag((scale**2).mean(0))
    for i in range(2):
        layer = params["decoder"][f"m{i}"]["Dense_0"]
        a = np.asarray(layer["kernel"]).T
        mean = a @ loc.mean(0) + np.asarray(layer["bias"])
        found = np.asarray(draws[f"m{i}"], np.float64)
        expected = a @ covariance @ a.T
        error = np.sqrt(np.diag(expected) / 20_000)
        np.testing.assert_array_less(np.abs(found.mean(0) - mean), 4 * error)
        np.testing.assert_allclose(np.cov(found.T), expected, atol=0.06 * expected.max())


def test_there_is_no_likelihood_and_the_reason_is_said(model, params):
    batch = models.prepare({"x": data(2)})
    with pytest.raises(NotImplementedError, match=r"defines no prior p\(z\)"):
        model.log_weights({"params": params}, jax.random.key(0), batch, model.names, (), 2)
    sides = np.array([True, False]), np.array([False, True])
    with pytest.raises(NotImplementedError, match=r"defines no prior p\(z\)"):
        model.marginal_and_conditional_log_weights(
            {"params": params}, jax.random.key(0), batch, *sides, 2
        )


def test_what_it_cannot_be_is_said():
    specs = tuple(spec(i) for i in range(3))
    space = LatentSpace(2)
    with pytest.raises(UserError, match=r"data have 3; set config.data.num_modalities = 2, or"):
        MEME(specs=specs, shared=space)
    with pytest.raises(UserError, match="needs two modalities"):
        MEME(specs=specs[:1], shared=space)
    with pytest.raises(UserError, match="no private spaces, but 'a' asks for one"):
        MEME(specs=(ModalitySpec(name="a", shape=(4,), private_dim=2), specs[0]), shared=space)
    with pytest.raises(UserError, match="'analytic': there is none to a mixture"):
        MEME(specs=specs, shared=space, combination="mixture", divergence="analytic")
    with pytest.raises(UserError, match="'laplace': a product of experts needs 'normal'"):
        MEME(specs=specs[:2], shared=LatentSpace(2, "laplace"))


# --- pseudo-samples -----------------------------------------------------------------------------


def test_pseudo_samples_start_as_the_rows_that_are_there():
    generator = np.random.default_rng(0)
    specs = (
        ModalitySpec(name="image", shape=(2, 2, 1)),
        ModalitySpec(name="tokens", shape=(2,), dtype="int32", num_classes=3),
        spec(0),
    )
    rows = {
        "image": generator.random((3, 2, 2, 1)).astype(np.float32),
        "tokens": np.eye(3, dtype=np.float32)[[[0, 1], [2, 2], [1, 0]]],
        "m0": data(3)["m0"],
    }

    @jax.jit
    def start(rng):
        present = jnp.array([True, False, True])

        def make(s, count, how):
            free = pseudo_samples.initial(rng, s, rows[s.name], present, count, how)
            return pseudo_samples.inputs(s, free)

        return [(make(s, 5, "data"), make(s, 500, "noise")) for s in specs]

    greys = (0.5, 1 / 3, 0.0)
    for s, grey, (copies, noise) in zip(specs, greys, start(jax.random.key(0)), strict=True):
        x = rows[s.name]
        for n, row in enumerate((0, None, 2, 0, None)):
            expected = np.full(x.shape[1:], grey) if row is None else x[row]
            # A margin of 0.05 and noise of 0.1 before the sigmoid, softmax or nothing.
            np.testing.assert_allclose(copies[n], expected, atol=0.4 if s.name == "m0" else 0.13)
        assert float(noise.mean()) == pytest.approx(grey, abs=0.05)
        if s.num_classes:
            np.testing.assert_allclose(copies.sum(-1), np.ones(copies.shape[:-1]), rtol=1e-5)


def test_a_label_is_supervised_and_has_relaxed_pseudo_samples():
    """An image-like vector and a class: rows of the vector alone move the pseudo-classes."""
    label = ModalitySpec(
        name="y",
        shape=(),
        dtype="int32",
        likelihood="categorical",
        num_classes=3,
        network="mlp",
        network_options=(("hidden", ()),),
    )
    model = MEME(specs=(spec(0), label), shared=LatentSpace(2), num_pseudo=6, num_samples=2)
    x = {"m0": data(4)["m0"], "y": np.array([0, 1, 2, 1], np.int32)}
    present = {"m0": np.array([1, 1, 0, 0], bool), "y": np.array([1, 0, 1, 0], bool)}
    batch = models.prepare({"x": x, "present": present})
    params = jax.jit(model.init)(jax.random.key(0), batch)["params"]
    assert params["pseudo"]["y"].shape == (6, 3)

    @jax.jit
    def call(params):
        def total(params):
            loss, _ = model.loss({"params": params}, jax.random.key(2), batch, jnp.int32(0))
            return loss.sum(), loss

        return jax.grad(total, has_aux=True)(params)

    gradient, loss = call(params)
    assert np.all(np.isfinite(loss)) and loss[3] == 0.0
    assert np.any(gradient["pseudo"]["y"]) and np.any(gradient["pseudo"]["m0"])
    np.testing.assert_allclose(gradient["pseudo"]["y"].sum(-1), np.zeros(6), atol=1e-5)
    # Row 1 has the vector alone: Eq. 4 with the softmax of the free numbers as relaxed classes.
    noise = np.asarray(jax.random.normal(jax.random.key(2), (3, 2, 4, 2)), np.float64)[0, 0, 1]
    loc, scale = encoder(params, 0, x["m0"][1])
    z = loc + scale * noise
    u = special.softmax(np.asarray(params["pseudo"]["y"], np.float64), -1)
    raw = dense(params["encoder"]["y"]["shared"], u)
    prior = stats.norm(raw[:, :2], np.log1p(np.exp(raw[:, 2:])) + 1e-6).logpdf(z).sum(-1)
    expected = stats.norm(dense(params["decoder"]["m0"], z), NOISE).logpdf(x["m0"][1]).sum()
    expected += special.logsumexp(prior) - np.log(6) - stats.norm(loc, scale).logpdf(z).sum()
    np.testing.assert_allclose(-loss[1], expected, rtol=1e-4)


# --- configs and runs ---------------------------------------------------------------------------


@pytest.mark.parametrize("dataset", sorted(common.DATASETS))
@pytest.mark.parametrize("variant", ["paper", "code"])
def test_its_config_builds(dataset, variant):
    values = config_file.get_config(f"dataset={dataset},variant={variant}").to_dict()
    assert values["data"].get("num_modalities", 2) == 2
    assert common.DATASETS["polymnist"].num_modalities == 5  # the shared section stays as it is
    specs = (ModalitySpec(name="a", shape=(28, 28, 3)), spec(0))
    values["model"]["modalities"] = {}  # these are not the data set's
    model = worlds.from_config(values, specs)
    assert isinstance(model, MEME)
    assert (model.label_coefficient, model.directions) == {
        "paper": (1, "mean"),
        "code": (10, "sum"),
    }[variant]


def test_a_run_without_a_likelihood_is_evaluated_loaded_and_used(tmp_path):
    """One command on partial data: no validation bound, so that the latest step is the best."""
    values = config_file.get_config().to_dict()
    values.update(num_epochs=2, batch_size=16)
    values["evaluation"]["metrics"] = "bound/test"
    values["data"].update(
        num_train=64, num_validation=16, num_test=24, partial="independent", observed=0.6
    )
    values["model"].update(network="mlp", shared_dim=2, num_pseudo=4)
    values["model"]["network_options"]["mlp"] = {"hidden": [8]}
    values["objective"]["num_samples"] = 1
    values["training"]["log_every"] = 3
    values["evaluation"].update(batch_size=16, figures=False)
    runner.train(values, tmp_path / "run", command="a test")
    stored = json.loads((tmp_path / "run" / "results.json").read_text())
    assert "defines no prior p(z)" in stored["skipped"]["bound/test"]
    trained = inference.load(tmp_path / "run", step="best")
    assert trained.step == 8
    assert trained.generate(3)["m1"].shape == (3, 16, 16, 3)
    given = {"m0": np.zeros((2, 16, 16, 3), np.uint8)}
    assert trained.impute(given, 2)["m1"].shape == (2, 16, 16, 3)
    assert trained.encode(given)["shared"].shape == (2, 2)
    with pytest.raises(NotImplementedError, match=r"defines no prior p\(z\)"):
        trained.log_likelihood(given)


# --- training -----------------------------------------------------------------------------------


def test_training_makes_one_modality_find_the_other():
    """Two views of one number, some missing: the loss falls, and one view predicts the other."""
    generator = np.random.default_rng(0)
    z, directions = generator.normal(size=(256, 1)), generator.normal(size=(2, 5))
    x = {
        f"m{i}": np.float32(2 * z * directions[i, :size] + 0.1 * generator.normal(size=(256, size)))
        for i, size in enumerate(SIZES[:2])
    }
    present = {name: generator.random(256) < 0.8 for name in x}
    model = build(hidden=(16,), weight=1.0, num_pseudo=16, label_coefficient=2.0)
    raw = {"x": x, "present": present}
    start = jax.jit(model.init)(jax.random.key(0), models.prepare(raw))["params"]
    variables, losses = worlds.train(model, raw, 200, params=start, rate=1e-2)
    assert losses[0] - losses[-10:].mean() > 20.0  # measured: 33.3 to 7.0
    made = worlds.drawn(model, variables, x, "m1")
    error = np.square(made - x["m1"]).mean() / np.square(x["m1"]).mean()
    assert error < 0.1  # measured: 0.03
