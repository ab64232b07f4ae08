from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mmvae_jax.training import optimizer
from mmvae_jax.types import UserError

OPTIONS = {
    "name": "adam",
    "learning_rate": 0.1,
    "schedule": "constant",
    "warmup_steps": 0,
    "clip_norm": 0.0,
    "weight_decay": 0.0,
}


def _update(options, gradient, params, total_steps=10):
    made = optimizer.make({**OPTIONS, **options}, total_steps)
    updates, _ = jax.jit(made.update)(gradient, made.init(params), params)
    return np.asarray(optax.apply_updates(params, updates) - params)


@pytest.mark.parametrize("name", ["adam", "amsgrad", "adamw"])
def test_first_step_has_the_size_of_the_learning_rate(name):
    # Bias-corrected moments of one gradient g: g / |g|.
    step = _update({"name": name}, jnp.array([3.0, -0.2]), jnp.zeros(2))
    np.testing.assert_allclose(step, [-0.1, 0.1], rtol=1e-5)


def test_sgd_with_clipping():
    step = _update({"name": "sgd", "clip_norm": 1.0}, jnp.array([3.0, 4.0]), jnp.zeros(2))
    np.testing.assert_allclose(step, [-0.06, -0.08], rtol=1e-6)


def test_weight_decay_is_added_to_the_gradient_or_decoupled():
    params, gradient = jnp.array([2.0]), jnp.array([1.0])
    sgd = _update({"name": "sgd", "weight_decay": 0.5}, gradient, params)
    np.testing.assert_allclose(sgd, [-0.1 * (1.0 + 0.5 * 2.0)], rtol=1e-6)
    adamw = _update({"name": "adamw", "weight_decay": 0.5}, gradient, params)
    np.testing.assert_allclose(adamw, [-0.1 * (1.0 + 0.5 * 2.0)], rtol=1e-5)
    adam = _update({"name": "adam", "weight_decay": 0.5}, gradient, params)
    np.testing.assert_allclose(adam, [-0.1], rtol=1e-5)


def test_amsgrad_remembers_the_largest_second_moment():
    # After a gradient of 10, many of 0.1: Adam's steps grow back to the learning rate, AMSGrad's
    # stay small.
    def last_step(name):
        made = optimizer.make({**OPTIONS, "name": name}, 10)
        params = jnp.zeros(1)
        state = made.init(params)

        def one(state, gradient):
            updates, state = made.update(gradient[None], state, params)
            return state, updates

        gradients = jnp.full(6000, 0.1).at[0].set(10.0)
        return abs(float(jax.lax.scan(one, state, gradients)[1][-1, 0]))

    assert last_step("adam") > 0.09
    assert last_step("amsgrad") < 0.05


def test_schedules():
    def rate(step, **options):
        return float(optimizer.learning_rate({**OPTIONS, **options}, 100)(jnp.int32(step)))

    assert rate(0) == rate(99) == pytest.approx(0.1)
    warm = {"warmup_steps": 20}
    assert rate(0, **warm) == pytest.approx(0.1 / 20)
    assert rate(9, **warm) == pytest.approx(0.05)
    assert rate(60, **warm) == pytest.approx(0.1)
    assert rate(60, schedule="linear", **warm) == pytest.approx(0.05)
    assert rate(60, schedule="cosine", **warm) == pytest.approx(0.05)
    assert rate(40, schedule="cosine", **warm) == pytest.approx(0.05 * (1 + np.cos(np.pi / 4)))
    for schedule in ("linear", "cosine"):
        assert rate(100, schedule=schedule) == pytest.approx(0.0, abs=1e-9)
        assert rate(150, schedule=schedule) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "adamm"}, "optimizer.name='adamm'.*did you mean 'adam'"),
        ({"schedule": "cosin"}, "optimizer.schedule='cosin'.*did you mean 'cosine'"),
        ({"learning_rate": 0.0}, "optimizer.learning_rate=0.0 must be positive"),
        ({"warmup_steps": 10}, "optimizer.warmup_steps=10"),
        ({"warmup_steps": -1}, "optimizer.warmup_steps=-1"),
        ({"clip_norm": -1.0}, "optimizer.clip_norm=-1.0"),
        ({"weight_decay": -1.0}, "optimizer.weight_decay=-1.0"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(UserError, match=message) as error:
        optimizer.make({**OPTIONS, **options}, 10)
    assert "\n" not in str(error.value)
