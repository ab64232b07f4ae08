"""One direction of MEME on given numbers: value, bounds of the weight, and what takes gradient."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from mmvae_jax.objectives import mutual_supervision

K = 4


@pytest.fixture(scope="module")
def numbers():
    generator = np.random.default_rng(0)
    return (
        generator.normal(size=3).astype(np.float32),
        2.0 * generator.normal(size=(K + 1, 3)).astype(np.float32),
        generator.normal(size=3).astype(np.float32),
    )


@pytest.mark.parametrize("coefficient", [1.0, 10.0])
def test_value_and_gradient_against_the_formula(numbers, coefficient):
    """d/d log q(t|z_k) = c softmax_k - w [k = 0], which holds only if w is a constant."""
    source, target, ratio = (np.asarray(x, np.float64) for x in numbers)
    log_label = special.logsumexp(target, 0) - np.log(K + 1)
    weight = np.exp(target[0] - log_label)
    bound = weight * (source + ratio - target[0]) + coefficient * log_label

    def total(*args):
        found = mutual_supervision(*args, label_coefficient=coefficient)
        return found[0].sum(), found

    gradient, found = jax.grad(total, argnums=(0, 1, 2), has_aux=True)(*map(jnp.asarray, numbers))
    np.testing.assert_allclose(found[0], bound, rtol=1e-5)
    np.testing.assert_allclose(found[1], weight, rtol=1e-5)
    np.testing.assert_allclose(gradient[0], weight, rtol=1e-5)
    np.testing.assert_allclose(gradient[2], weight, rtol=1e-5)
    for_target = coefficient * special.softmax(target, 0)
    for_target[0] -= weight
    np.testing.assert_allclose(gradient[1], for_target, rtol=1e-4, atol=1e-5)


def test_the_weight_takes_no_gradient(numbers):
    gradient = jax.grad(lambda *args: mutual_supervision(*args)[1].sum(), argnums=(0, 1, 2))
    for found in gradient(*map(jnp.asarray, numbers)):
        np.testing.assert_array_equal(found, np.zeros_like(found))


def test_with_its_own_sample_the_weight_is_at_most_k_plus_one(generator):
    """However far apart the likelihoods are; and on the average over equal draws it is 1."""
    target = jnp.asarray(generator.normal(size=(K + 1, 1000)) * 1e4, jnp.float32)
    zeros = jnp.zeros(1000)
    bound, weight = mutual_supervision(zeros, target, zeros)
    assert weight.max() == pytest.approx(K + 1, rel=1e-6)
    assert np.all(np.isfinite(bound)) and np.all(weight >= 0)
    each = [mutual_supervision(zeros, jnp.roll(target, k, 0), zeros)[1] for k in range(K + 1)]
    np.testing.assert_allclose(sum(each) / (K + 1), np.ones(1000), rtol=1e-5)


def test_with_nothing_to_supervise_it_is_the_bound_of_the_source(numbers):
    source, target, ratio = map(jnp.asarray, numbers)
    bound, weight = mutual_supervision(source, 0.0 * target, ratio, label_coefficient=10.0)
    np.testing.assert_array_equal(weight, np.ones(3))
    np.testing.assert_allclose(bound, source + ratio, rtol=1e-6)


def test_shapes_that_do_not_fit_are_refused(numbers):
    source, target, ratio = numbers
    with pytest.raises(ValueError, match=r"\[K \+ 1, \.\.\.\]"):
        mutual_supervision(source, target[:, :2], ratio)
    with pytest.raises(ValueError, match=r"\[K \+ 1, \.\.\.\]"):
        mutual_supervision(source, target, ratio[None])
