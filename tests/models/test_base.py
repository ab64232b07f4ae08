"""What all models share, on the model that there is: codes, strata, conditional generation."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from mmvae_jax import models
from mmvae_jax.models.latents import LatentSpace
from mmvae_jax.models.mmvae_plus import MMVAEPlus
from mmvae_jax.types import ModalitySpec, UserError

ROWS = 4


@pytest.fixture(scope="module")
def model():
    specs = tuple(
        ModalitySpec(
            name=name,
            shape=(size,),
            dtype="float32",
            likelihood="normal",
            private_dim=2,
            network="mlp",
            network_options=(("hidden", (8,)),),
        )
        for name, size in (("a", 3), ("b", 5))
    )
    return MMVAEPlus(specs=specs, shared=LatentSpace(3))


@pytest.fixture(scope="module")
def batch(model):
    keys = jax.random.split(jax.random.key(0), 2)
    x = {
        s.name: jax.random.normal(k, (ROWS, *s.shape))
        for s, k in zip(model.specs, keys, strict=True)
    }
    present = {"a": np.array([True, True, False, False]), "b": np.array([True, False, True, False])}
    return models.prepare({"x": x, "present": present})


@pytest.fixture(scope="module")
def variables(model, batch):
    return model.init(jax.random.key(1), batch)


def test_large_items_are_decoded_a_few_at_a_time(model):
    picture = ModalitySpec(name="a", shape=(28, 28, 3))
    text = ModalitySpec(name="t", shape=(32,), dtype="int32", num_classes=1590)
    assert models.codes_at_once(model.specs) == 4096
    assert models.codes_at_once([picture] * 5) == 10_000_000 // (5 * 28 * 28 * 3)
    assert models.codes_at_once([picture, text]) == 10_000_000 // (28 * 28 * 3 + 32 * 1590)
    assert models.codes_at_once([ModalitySpec(name="b", shape=(4000, 4000, 3))]) == 1


def test_prepare_scales_masks_and_weighs():
    pixels = np.full((3, 2, 2, 1), 255, np.uint8)
    tokens = np.array([[1], [2], [3]], np.int32)
    present = {"image": np.array([True, False, False]), "text": np.array([True, True, False])}
    out = models.prepare({"x": {"image": pixels, "text": tokens}, "present": present})
    np.testing.assert_array_equal(out["x"]["image"][:, 0, 0, 0], [1.0, 0.0, 0.0])
    assert out["x"]["image"].dtype == jnp.float32
    np.testing.assert_array_equal(out["x"]["text"][:, 0], [1, 2, 0])
    assert out["x"]["text"].dtype == jnp.int32
    np.testing.assert_array_equal(out["weight"], [1.0, 1.0, 0.0])  # nothing present: weight 0
    assert "label" not in out


def test_prepare_takes_everything_as_present_where_nothing_is_said():
    out = models.prepare({"x": {"image": np.zeros((2, 3), np.float32)}, "label": np.zeros(2, int)})
    np.testing.assert_array_equal(out["present"]["image"], [True, True])
    assert "label" in out


def test_encode_gives_strata_of_what_is_present_and_asked_for(model, variables, batch):
    every = model.encode(variables, batch)
    # In the last row nothing is present: all strata are the prior.
    np.testing.assert_array_equal(every.strata, [[1, 1, 0, 1], [1, 0, 1, 1]])
    np.testing.assert_array_equal(every.shared["loc"][:, 3], np.zeros((2, 3)))
    np.testing.assert_array_equal(every.shared["scale"][:, 3], np.ones((2, 3)))
    only_b = model.encode(variables, batch, ("b",))
    np.testing.assert_array_equal(only_b.strata, [[0, 1, 0, 1], [1, 1, 1, 1]])


def test_embed_is_the_mean_over_present_experts(model, variables, batch):
    means = model.embed(variables, batch)
    posterior = model.encode(variables, batch)
    loc = posterior.shared["loc"]
    expected = np.stack([(loc[0, 0] + loc[1, 0]) / 2, loc[0, 1], loc[1, 2], np.zeros(3)])
    np.testing.assert_allclose(means["shared"], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(means["private/a"][2:], np.zeros((2, 2)))


def test_draws_come_from_the_mixture_of_present_experts(model, variables, batch):
    """The first coordinate of the first row against the mixture's own distribution function."""
    posterior = model.encode(variables, batch)
    draws = np.asarray(model.sample_shared(posterior, jax.random.key(2), 20_000))
    for row, alive in ((0, [0, 1]), (1, [0]), (2, [1])):
        parts = [
            stats.norm(posterior.shared["loc"][s, row, 0], posterior.shared["scale"][s, row, 0])
            for s in alive
        ]
        found = stats.kstest(
            draws[:, row, 0], lambda v, parts=parts: np.mean([p.cdf(v) for p in parts], 0)
        )
        assert found.pvalue > 1e-3


def test_log_density_of_the_posterior_is_that_of_the_mixture(model, variables, batch):
    posterior = model.encode(variables, batch)
    z = jax.random.normal(jax.random.key(5), (6, ROWS, 3))
    found = model.shared_log_prob(posterior, z)
    row = stats.norm(posterior.shared["loc"][:, 0], posterior.shared["scale"][:, 0])
    densities = row.pdf(np.asarray(z)[:, None, 0]).prod(-1)  # [K, S]
    np.testing.assert_allclose(found[:, 0], np.log(densities.mean(1)), rtol=1e-4, atol=1e-4)
    single = stats.norm(posterior.shared["loc"][0, 1], posterior.shared["scale"][0, 1])
    expected = single.logpdf(np.asarray(z)[:, 1]).sum(-1)
    np.testing.assert_allclose(found[:, 1], expected, rtol=1e-4, atol=1e-4)


def test_conditional_generation_looks_at_nothing_but_the_given(model, variables, batch):
    changed = dict(batch, x=dict(batch["x"], b=batch["x"]["b"] + 5.0))
    for private, sees in (("prior", False), ("own", True)):
        first, second = (
            model.conditional(variables, jax.random.key(0), b, ("a",), 2, private=private)
            for b in (batch, changed)
        )
        assert first["b"].shape == (2, ROWS, 5)
        same = np.array_equal(first["b"][:, 0], second["b"][:, 0])
        assert same != sees
        np.testing.assert_array_equal(first["a"], second["a"])


def test_private_codes_of_another_example(model, variables, batch):
    """``other`` decodes row i with row i + 1's own private code, in the same draw.

    That code is the one of row i + 1's posterior, whether it was given or not; the last row's next
    is the first.
    """
    key, draws = jax.random.key(0), 2
    shared, _ = model.sample_posterior(variables, key, batch, ("a",), draws)
    _, private = model.sample_posterior(variables, key, batch, None, draws)
    for kind, rows in (("own", [0, 1, 2, 3]), ("other", [1, 2, 3, 0])):
        found = model.conditional(variables, key, batch, ("a",), draws, private=kind)
        codes = {name: np.asarray(code)[:, rows] for name, code in private.items()}
        expected = model.mean(model.decode(variables, shared, codes))
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-6)
    assert np.ptp(np.asarray(private["a"]), axis=1).min() > 0.1  # rows differ in their codes
    with pytest.raises(ValueError, match="must be 'prior', 'own' or 'other'"):
        model.conditional(variables, jax.random.key(0), batch, ("a",), 1, private="mine")


def test_generate_draws_every_modality_from_one_shared_code(model, variables):
    found = model.generate(variables, jax.random.key(0), 7)
    assert {name: x.shape for name, x in found.items()} == {"a": (7, 3), "b": (7, 5)}
    still = model.generate(variables, jax.random.key(0), 7, private_scale=0.0)
    assert not np.allclose(found["a"], still["a"])


def test_an_unknown_modality_is_named(model):
    with pytest.raises(UserError, match="no modality 'c'; this model has a, b"):
        model.spec("c")


@pytest.mark.parametrize("family", ["normal", "laplace"])
def test_latent_spaces_sample_what_their_density_says(family):
    space = LatentSpace(2, family)
    parameters = {"loc": jnp.array([0.5, -1.0]), "scale": jnp.array([0.3, 2.0])}
    draws = np.asarray(space.sample(parameters, jax.random.key(0), (20_000,)))
    reference = {"normal": stats.norm, "laplace": stats.laplace}[family]
    for d, (loc, scale) in enumerate(((0.5, 0.3), (-1.0, 2.0))):
        assert stats.kstest(draws[:, d], reference(loc, scale).cdf).pvalue > 1e-3
    expected = reference([0.5, -1.0], [0.3, 2.0]).logpdf(draws[:5]).sum(-1)
    found = space.log_prob(parameters, jnp.asarray(draws[:5]))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_scales_follow_their_constraint():
    raw = jax.random.normal(jax.random.key(0), (5, 8))
    summed = LatentSpace(4, "laplace", "sum").posterior(raw)
    np.testing.assert_allclose(summed["scale"].sum(-1), np.full(5, 4.0), rtol=1e-5)
    free = LatentSpace(4, "laplace", "softplus").posterior(raw)
    np.testing.assert_allclose(free["scale"], np.log1p(np.exp(raw[:, 4:])), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(free["loc"], raw[:, :4])
