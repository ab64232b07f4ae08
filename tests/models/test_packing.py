"""Batches of known kinds: the same losses and gradients, from fewer codes."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmvae_jax import models
from mmvae_jax.models import packing
from tests.models import every_model, worlds
from tests.models.dmvae_numbers import VARIANTS

KINDS = (((True, True, True), 2), ((False, True, False), 3), ((True, False, True), 1))
PRESENT = np.array([has for has, count in KINDS for _ in range(count)]).T
MODELS = every_model.MODELS | {"dmvae": VARIANTS["weighted"]}
ORDERS = (PRESENT, PRESENT[:, [5, 3, 0, 2, 1, 4]], PRESENT & (np.arange(6) < 5))


def test_most_counts_what_lives():
    assert packing.most(KINDS, lambda present: present).tolist() == [3, 5, 3]
    pairs = packing.most(KINDS, lambda present: present.sum(0, keepdims=True) > 1)
    assert pairs.tolist() == [3]


def test_rows_return_to_their_places():
    living = jnp.array([False, True, False, True, False])
    x = jnp.arange(10.0).reshape(2, 5)
    index = packing.pack(living, 3)
    packed = packing.take(x, index, -1)
    np.testing.assert_array_equal(packed[:, :2], [[1, 3], [6, 8]])
    found = packing.put(jnp.full((2, 5), -1.0), index, packed, living, -1)
    np.testing.assert_array_equal(found, [[-1, 1, -1, 3, -1], [-1, 6, -1, 8, -1]])


@pytest.mark.parametrize("name", ["dmvae", "mvae"])
def test_known_kinds_change_no_number(name):
    """Losses, terms and gradients, of the models that say which strata live."""
    model = MODELS[name]
    told = dataclasses.replace(model, kinds=KINDS)
    params = worlds.random_params(model)
    x = worlds.arrays(model, PRESENT.shape[1])
    for present in ORDERS:
        expected = worlds.compiled(model)(params, x, present, jax.random.key(1))
        found = worlds.compiled(told)(params, x, present, jax.random.key(1))
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), found, expected
        )


@pytest.mark.parametrize(
    "name",
    [
        "jmvae",
        "mmvae",
        "mopoe",
        "mmjsd",
        "mmvae_plus",
        "meme",
        pytest.param("dmvae_hybrid", marks=pytest.mark.slow),  # to compile
    ],
)
def test_known_kinds_change_no_loss(name):
    model, rng = MODELS[name], jax.random.key(1)
    variables = {"params": worlds.random_params(model)}

    @jax.jit
    def losses(present):
        rows = models.prepare({"x": worlds.arrays(model, 6), "present": present})
        both = (model, dataclasses.replace(model, kinds=KINDS))
        return [one.loss(variables, rng, rows, jnp.int32(0)) for one in both]

    for present in ORDERS:
        expected, found = losses(dict(zip(model.names, present, strict=True)))
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), found, expected
        )
        assert np.any(found[0])


def test_other_kinds_are_noticed():
    told = dataclasses.replace(MODELS["mvae"], kinds=KINDS)
    params, x = worlds.random_params(told), worlds.arrays(told, 6)
    loss, _, _ = worlds.compiled(told)(params, x, np.ones((3, 6), bool), jax.random.key(1))
    assert np.isnan(loss).any()
