"""Decoders are most of a step: each is called once, and no encoder that nobody asks for."""

from __future__ import annotations

import collections
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmvae_jax import models
from mmvae_jax.models.modalities import Modalities
from tests.models import worlds
from tests.models.every_model import MODELS

ROWS = 8


def test_no_model_is_left_out():
    assert set(MODELS) == set(models.MODELS)


def counted(monkeypatch, name):
    """How often the networks of this name are called, by modality, from now on."""
    original, calls = getattr(Modalities, name), collections.Counter()

    def call(self, variables, spec, *args):
        calls[spec.name] += 1
        return original(self, variables, spec, *args)

    monkeypatch.setattr(Modalities, name, call)
    return calls


@pytest.mark.parametrize("name", MODELS)
def test_one_call_of_each_decoder(name, monkeypatch):
    """On rows of every pattern of presence."""
    model = MODELS[name]
    calls = counted(monkeypatch, "decode_one")
    rows = worlds.batch(model, ROWS, present=worlds.patterns(3, ROWS))

    variables = {"params": worlds.random_params(model)}
    jax.eval_shape(lambda: model.loss(variables, jax.random.key(0), rows, jnp.int32(0)))
    assert calls == dict.fromkeys(model.names, 1)


@pytest.mark.parametrize("name", [name for name in MODELS if name != "meme"])
def test_marginal_and_conditional_log_weights_take_one_call_of_each_network(name, monkeypatch):
    model = MODELS[name]
    calls = [counted(monkeypatch, kind) for kind in ("encode_one", "decode_one")]
    rows = worlds.batch(model, ROWS, present=worlds.patterns(3, ROWS))
    variables = {"params": worlds.random_params(model)}
    sides = np.array([True, False, False]), np.array([False, True, False])
    found = jax.eval_shape(
        lambda: model.marginal_and_conditional_log_weights(
            variables, jax.random.key(0), rows, *sides, 5
        )
    )
    assert [log_w.shape for log_w in found] == [(5, ROWS)] * 2
    assert calls == [dict.fromkeys(model.names, 1)] * 2


def test_the_weights_of_dreg_cost_no_second_pass():
    """Its trace holds the forward pass twice, at the same codes: compiled, it is there once."""
    traced, compiled = {}, {}
    for estimator in ("stl", "dreg"):
        specs = worlds.specs(hidden=(256,))
        model = dataclasses.replace(MODELS["mmvae"], specs=specs, estimator=estimator)
        rows = worlds.batch(model, ROWS)

        def total(params, model=model, rows=rows):
            return model.loss({"params": params}, jax.random.key(0), rows, jnp.int32(0))[0].sum()

        lowered = jax.jit(jax.value_and_grad(total)).lower(worlds.random_params(model))
        traced[estimator] = lowered.cost_analysis()["flops"]
        compiled[estimator] = lowered.compile().cost_analysis()["flops"]
    assert traced["dreg"] > 1.2 * traced["stl"]  # else the next line would say nothing
    assert compiled["dreg"] < 1.05 * compiled["stl"]  # measured: 1.0002


@pytest.mark.parametrize("name", [name for name in MODELS if name != "jmvae"])
def test_encoders_of_what_is_not_given_are_left_out(name):
    """Unless their private codes are asked for. JMVAE's joint encoder sees every modality."""
    model = MODELS[name]
    specs = tuple(
        dataclasses.replace(spec, network_options=wide.network_options)
        for spec, wide in zip(model.specs, worlds.specs(hidden=(256,)), strict=True)
    )
    model = dataclasses.replace(model, specs=specs)
    rows = worlds.batch(model, ROWS)
    variables = {"params": worlds.random_params(model)}
    flops, found = {}, {}
    for given in (None, model.names[:1]):
        posterior = jax.jit(lambda v, given=given: model.encode(v, rows, given))
        shared = jax.jit(lambda v, posterior=posterior: posterior(v).shared)
        flops[given] = shared.lower(variables).compile().cost_analysis()["flops"]
        found[given] = posterior(variables)
    assert flops[model.names[:1]] < 0.5 * flops[None]  # a third of three encoders
    for one, every in zip(*(jax.tree.leaves(found[g].private) for g in flops), strict=True):
        assert jnp.array_equal(one, every)
