"""The ELBO is a masked sum minus a weighted divergence."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmvae_jax import objectives


def test_elbo_sums_modalities_and_weighs_the_kl(generator):
    log_px, kl = generator.normal(size=(2, 3, 5)), generator.random((2, 5))
    expected = log_px[:, 0] + log_px[:, 1] + log_px[:, 2] - 2.5 * kl
    np.testing.assert_allclose(objectives.elbo(log_px, kl, beta=2.5), expected, rtol=1e-5)
    np.testing.assert_allclose(
        objectives.elbo(log_px, kl), log_px.sum(1) - kl, rtol=1e-5, atol=1e-6
    )


def test_elbo_takes_a_traced_beta_and_gives_float32():
    log_px, kl = jnp.ones((3, 4), jnp.bfloat16), jnp.ones(4, jnp.bfloat16)
    value = jax.jit(lambda beta: objectives.elbo(log_px, kl, beta=beta))(jnp.float32(0.5))
    assert value.dtype == jnp.float32
    np.testing.assert_array_equal(value, 2.5)


@pytest.mark.parametrize(
    "log_px, kl, beta, message",
    [
        ((3, 4), (3,), (), r"\(3, 4\) and \(3,\)"),
        ((4,), (4,), (), r"\[..., M, B\]"),
        ((2, 3, 4), (4,), (), r"\[..., M, B\]"),
        ((2, 3, 4), (2, 4), (4,), "beta"),
    ],
)
def test_elbo_names_shapes_that_do_not_fit(log_px, kl, beta, message):
    with pytest.raises(ValueError, match=message):
        objectives.elbo(np.zeros(log_px), np.zeros(kl), beta=np.ones(beta))
