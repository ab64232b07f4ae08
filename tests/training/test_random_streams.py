from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from mmvae_jax.training import random_streams


def _draw(key):
    return np.asarray(jax.random.normal(key, (4,)))


def test_stream_is_a_function_of_seed_name_and_step():
    def draw(seed, name, step):
        return _draw(random_streams.at_step(random_streams.stream(seed, name), step))

    first = draw(0, "training", 5)
    np.testing.assert_array_equal(first, draw(0, "training", 5))
    for other in (draw(1, "training", 5), draw(0, "init", 5), draw(0, "training", 6)):
        assert not np.any(first == other)


def test_stream_is_the_same_for_traced_seeds_and_steps():
    def traced(seed, step):
        return random_streams.at_step(random_streams.stream(seed, "training"), step)

    plain = _draw(random_streams.at_step(random_streams.stream(7, "training"), 3))
    np.testing.assert_array_equal(plain, _draw(jax.jit(traced)(np.uint32(7), jnp.int32(3))))
