"""The warm-up's values at its ends and between them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from mmvae_jax.objectives import linear_warmup


def test_it_grows_from_one_share_to_one_and_stays():
    steps = jnp.arange(6)
    found = jax.vmap(lambda step: linear_warmup(step, 4))(steps)
    np.testing.assert_allclose(found, [0.25, 0.5, 0.75, 1.0, 1.0, 1.0])


def test_without_steps_it_is_one_from_the_start():
    assert float(linear_warmup(jnp.int32(0), 0)) == 1.0
