"""Products, quotients and mixtures against float64 NumPy, with masks and M from 1 to 6."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from mmvae_jax import experts
from mmvae_jax.distributions import Concrete

MODALITIES = [1, 2, 3, 4, 5, 6]

# One compiled program for each call: much quicker than operation by operation.
product_of_gaussians = jax.jit(experts.product_of_gaussians, static_argnames="prior")
quotient_of_gaussians = jax.jit(experts.quotient_of_gaussians)
product_of_concretes = jax.jit(experts.product_of_concretes)
mixture_log_prob = jax.jit(experts.mixture_log_prob)


def gaussians(generator, num_modalities, batch=(4,), dims=3):
    shape = (num_modalities, *batch, dims)
    return generator.normal(size=shape) * 2, np.exp(generator.normal(size=shape))


def precision_sum(loc, scale, present, prior):
    """The product in the textbook form, float64, one batch member and dimension at a time."""
    out_loc, out_scale = np.zeros(loc.shape[1:]), np.ones(loc.shape[1:])
    for index in np.ndindex(*loc.shape[1:-1]):
        total = np.full(loc.shape[-1], float(prior))
        weighted = np.zeros(loc.shape[-1])
        for m in range(len(loc)):
            if present[(m, *index)]:
                total += scale[(m, *index)] ** -2.0
                weighted += loc[(m, *index)] * scale[(m, *index)] ** -2.0
        if np.all(total > 0):
            out_loc[index], out_scale[index] = weighted / total, total**-0.5
    return out_loc, out_scale


# --- product of Gaussians ----------------------------------------------------------------------


@pytest.mark.parametrize("prior", [True, False])
@pytest.mark.parametrize("num_modalities", MODALITIES)
def test_product_of_gaussians_adds_precisions(generator, num_modalities, prior):
    loc, scale = gaussians(generator, num_modalities, batch=(8, 2))
    present = generator.random((num_modalities, 8, 2)) < 0.6
    present[:, 0, 0] = False
    expected = precision_sum(loc, scale, present, prior)
    for actual, wanted in zip(
        product_of_gaussians(loc, scale, present, prior=prior), expected, strict=True
    ):
        np.testing.assert_allclose(actual, wanted, rtol=1e-5, atol=1e-6)


def test_product_of_gaussians_is_the_normalised_product_of_densities():
    """Moments of prior times experts, multiplied and normalised on a grid."""
    loc, scale = np.array([[1.5], [-0.4]]), np.array([[0.5], [0.8]])
    z = np.linspace(-8, 8, 8001)
    density = scipy.stats.norm.pdf(z) * np.prod(scipy.stats.norm.pdf(z, loc, scale), axis=0)
    density /= density.sum()
    mean = density @ z
    std = np.sqrt(density @ (z - mean) ** 2)
    actual = product_of_gaussians(loc, scale)
    np.testing.assert_allclose(actual, [[mean], [std]], rtol=1e-4)


@pytest.mark.parametrize("num_modalities", MODALITIES)
def test_product_of_gaussians_ignores_the_order(generator, num_modalities):
    loc, scale = gaussians(generator, num_modalities)
    present = generator.random((num_modalities, 4)) < 0.7
    order = generator.permutation(num_modalities)
    for one, other in zip(
        product_of_gaussians(loc, scale, present),
        product_of_gaussians(loc[order], scale[order], present[order]),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_one_present_expert_gives_that_expert_times_the_prior(generator):
    loc, scale = gaussians(generator, 5)
    present = np.arange(5) == 3
    got_loc, got_scale = product_of_gaussians(loc, scale, present)
    variance = scale[3] ** 2
    np.testing.assert_allclose(got_loc, loc[3] / (1 + variance), rtol=1e-5)
    np.testing.assert_allclose(got_scale, np.sqrt(variance / (1 + variance)), rtol=1e-5)
    bare_loc, bare_scale = product_of_gaussians(loc, scale, present, prior=False)
    np.testing.assert_allclose(bare_loc, loc[3], rtol=1e-6)
    np.testing.assert_allclose(bare_scale, scale[3], rtol=1e-6)


@pytest.mark.parametrize("prior", [True, False])
def test_nothing_present_gives_the_standard_normal(debug_nans, generator, prior):
    loc, scale = gaussians(generator, 3)
    loc, scale = jnp.asarray(loc, jnp.float32), jnp.asarray(scale, jnp.float32)
    absent = np.zeros((3, 4), bool)

    def product(loc, scale):
        return product_of_gaussians(loc, scale, absent, prior=prior)

    got_loc, got_scale = product(loc, scale)
    np.testing.assert_array_equal(got_loc, np.zeros((4, 3)))
    np.testing.assert_array_equal(got_scale, np.ones((4, 3)))
    gradient = jax.jit(jax.grad(lambda *a: sum(jnp.sum(x) for x in product(*a)), (0, 1)))(
        loc, scale
    )
    np.testing.assert_array_equal(gradient, np.zeros((2, 3, 4, 3)))


@pytest.mark.parametrize("prior", [True, False])
def test_absent_experts_reach_neither_value_nor_gradient(generator, prior):
    """Bit for bit what the content 1 gives; the gradient of absent entries is 0."""
    loc, scale = (jnp.asarray(a, jnp.float32) for a in gaussians(generator, 3))
    present = np.array([[1, 1, 0, 0], [0, 1, 1, 0], [1, 0, 0, 0]], bool)

    @jax.jit
    def value_and_gradient(content):
        mask = present[:, :, None]
        held = jnp.where(mask, loc, content), jnp.where(mask, scale, content)

        def total(loc, scale):
            out = product_of_gaussians(loc, scale, present, prior=prior)
            return jnp.sum(jnp.sin(out[0]) + jnp.log(out[1])), out

        (_, out), gradient = jax.value_and_grad(total, (0, 1), has_aux=True)(*held)
        return *out, *gradient

    wanted = value_and_gradient(1.0)
    for content in (0.0, 1e30, -1.0, np.nan, np.inf, -np.inf):
        jax.tree.map(np.testing.assert_array_equal, value_and_gradient(content), wanted)
    for gradient in wanted[2:]:
        np.testing.assert_array_equal(gradient[~present], 0.0)
        assert np.all(gradient[present] != 0.0)


@pytest.mark.parametrize("scales", [(1e-4, 1e3), (1e-4, 1e-4), (1e3, 1e3), (1e-4, 2e-4)])
def test_gradients_are_right_at_extreme_scales(debug_nans, scales):
    """By log s_m: d loc = -2 w_m (loc_m - loc), d log s = w_m, with w_m the precision shares."""
    loc, scale = np.array([[0.3], [-0.2]]), np.array(scales)[:, None]
    weight = scale**-2.0 / (1 + np.sum(scale**-2.0, 0))
    joint = np.sum(weight * loc, 0)

    def product(loc, log_scale):
        out_loc, out_scale = product_of_gaussians(loc, jnp.exp(log_scale))
        return jnp.concatenate([out_loc, jnp.log(out_scale)])

    by_loc, by_scale = jax.jit(jax.jacobian(product, (0, 1)))(
        jnp.asarray(loc, jnp.float32), jnp.asarray(np.log(scale), jnp.float32)
    )
    np.testing.assert_allclose(by_loc[0, :, 0], weight[:, 0], rtol=1e-4, atol=1e-12)
    np.testing.assert_allclose(by_loc[1], np.zeros((2, 1)))
    expected = -2 * (weight * (loc - joint))[:, 0]
    np.testing.assert_allclose(by_scale[0, :, 0], expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(by_scale[1, :, 0], weight[:, 0], rtol=1e-4, atol=1e-12)


def test_product_of_gaussians_says_what_does_not_fit():
    with pytest.raises(ValueError, match=r"\[M, ..., D\]"):
        product_of_gaussians(np.zeros((2, 3)), np.ones((2, 4)))
    with pytest.raises(ValueError, match="present must have shape"):
        product_of_gaussians(np.zeros((2, 5, 3)), np.ones((2, 5, 3)), np.ones((3, 5), bool))
    with pytest.raises(ValueError, match="present must have shape"):
        product_of_gaussians(np.zeros((2, 6, 5, 3)), np.ones((2, 6, 5, 3)), np.ones((2, 5), bool))
    with pytest.raises(TypeError, match="boolean"):
        product_of_gaussians(np.zeros((2, 3)), np.ones((2, 3)), np.ones(2))


# --- quotient of Gaussians ---------------------------------------------------------------------


@pytest.mark.parametrize("num_modalities", MODALITIES)
def test_quotient_undoes_the_product(generator, num_modalities):
    """Dividing the product of all by the product of all but the first leaves the first."""
    loc, scale = gaussians(generator, num_modalities)
    whole = product_of_gaussians(loc, scale)
    rest = product_of_gaussians(loc, scale, np.arange(num_modalities) > 0)
    got_loc, got_scale = quotient_of_gaussians(*whole, *rest)
    # A share of 1e-3 of the precision leaves three digits less of float32 after the subtraction.
    share = scale[0] ** -2.0 * np.asarray(whole[1], np.float64) ** 2
    assert np.all(np.abs(got_scale / scale[0] - 1) < 2e-6 / share)
    assert np.all(np.abs(got_loc - loc[0]) < 1e-5 / share)


def test_quotient_is_nan_exactly_where_it_is_not_a_density():
    scale_p, scale_q = np.array([0.5, 1.0, 2.0, 0.999]), np.ones(4)
    loc, scale = quotient_of_gaussians(np.zeros(4), scale_p, np.zeros(4), scale_q)
    np.testing.assert_array_equal(np.isnan(loc), [False, True, True, False])
    np.testing.assert_array_equal(np.isnan(scale), [False, True, True, False])
    # precision 1/0.25 - 1 = 3
    np.testing.assert_allclose(scale[0], 3**-0.5, rtol=1e-6)


def test_quotient_gradient_is_zero_where_it_is_not_a_density():
    def total(scale_p):
        loc, scale = quotient_of_gaussians(jnp.ones(3), scale_p, jnp.zeros(3), jnp.ones(3))
        return jnp.sum(jnp.where(scale_p < 1, loc + scale, 0.0))

    gradient = jax.jit(jax.grad(total))(jnp.array([0.5, 1.0, 3.0]))
    assert gradient[0] != 0 and np.all(np.isfinite(gradient))
    np.testing.assert_array_equal(gradient[1:], 0.0)


def test_quotient_names_shapes_of_unequal_rank():
    with pytest.raises(ValueError, match=r"loc_p \(2, 3\).*loc_q \(3,\)"):
        quotient_of_gaussians(np.zeros((2, 3)), np.ones((2, 3)), np.zeros(3), np.ones(3))


# --- product of concretes ----------------------------------------------------------------------


@pytest.mark.parametrize("num_modalities", MODALITIES)
def test_product_of_concretes_multiplies_class_probabilities(generator, num_modalities):
    logits = generator.normal(size=(num_modalities, 7, 4)) * 3
    present = generator.random((num_modalities, 7)) < 0.6
    present[:, 0] = False
    probabilities = np.where(present[..., None], scipy.special.softmax(logits, -1), 1.0)
    product = np.prod(probabilities, axis=0)
    expected = np.log(product / product.sum(-1, keepdims=True))
    actual = product_of_concretes(logits, present)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(actual[0], np.log(np.full(4, 0.25)), rtol=1e-6)
    order = generator.permutation(num_modalities)
    np.testing.assert_allclose(
        product_of_concretes(logits[order], present[order]), actual, rtol=1e-4, atol=1e-5
    )


def test_argmax_of_samples_of_a_product_of_concretes_is_the_categorical_product():
    """Expected: pi_1 pi_2, normalised, by NumPy; four standard errors of a proportion."""
    one, two = np.array([0.5, 0.3, 0.2]), np.array([0.1, 0.6, 0.3])
    expected = one * two / np.sum(one * two)
    joint = product_of_concretes(np.log([one, two]))
    count = 40_000
    z = Concrete(0.66, joint).sample_log(seed=jax.random.key(0), sample_shape=(count,))
    frequency = np.bincount(np.argmax(np.asarray(z), -1), minlength=3) / count
    assert np.all(np.abs(frequency - expected) < 4 * np.sqrt(expected * (1 - expected) / count))


def test_absent_concretes_reach_neither_value_nor_gradient(generator):
    logits = jnp.asarray(generator.normal(size=(2, 3, 4)) * 50, jnp.float32)
    present = np.array([[True, True, False], [True, False, False]])

    @jax.jit
    def value_and_gradient(content):
        def total(logits):
            out = product_of_concretes(logits, present)
            return jnp.sum(out[:, 0]), out

        held = jnp.where(present[..., None], logits, content)
        return jax.value_and_grad(total, has_aux=True)(held)

    wanted = value_and_gradient(0.0)
    for content in (np.nan, np.inf, -np.inf, 1e30):
        jax.tree.map(np.testing.assert_array_equal, value_and_gradient(content), wanted)
    np.testing.assert_array_equal(wanted[1][~present], 0.0)
    assert np.any(wanted[1][present] != 0.0)


# --- mixtures ----------------------------------------------------------------------------------


@pytest.mark.parametrize("num_modalities", MODALITIES)
def test_mixture_is_the_mean_density_of_the_present(generator, num_modalities):
    log_probs = generator.normal(size=(num_modalities, 5, 8)) * 40 - 500
    present = generator.random((num_modalities, 5, 8)) < 0.6
    present[0, 0] = True
    present[:, 1] = False
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = scipy.special.logsumexp(log_probs, axis=0, b=present) - np.log(present.sum(0))
    expected = np.where(present.any(0), expected, 0.0)
    actual = mixture_log_prob(log_probs, present)
    np.testing.assert_allclose(actual, expected, rtol=1e-5)
    order = generator.permutation(num_modalities)
    np.testing.assert_allclose(
        mixture_log_prob(log_probs[order], present[order]), actual, rtol=1e-6
    )


def test_mixture_of_gaussians_integrates_to_one():
    """Three of four components over a fine grid."""
    z = np.linspace(-12, 12, 6001)
    log_probs = scipy.stats.norm.logpdf(
        z, np.array([[0.0], [1.0], [-3.0], [5.0]]), np.array([[1.0], [0.2], [2.0], [1.0]])
    )
    log_mixture = mixture_log_prob(log_probs, np.array([True, True, False, True]))
    np.testing.assert_allclose(np.exp(np.float64(log_mixture)).sum() * (z[1] - z[0]), 1, rtol=1e-4)


def test_absent_components_reach_neither_value_nor_gradient():
    log_probs = jnp.array([[0.5, -1.0, 2.0], [0.1, 0.2, 0.3]])
    present = np.array([[True, False, False], [True, True, False]])

    @jax.jit
    def value_and_gradient(content):
        held = jnp.where(present, log_probs, content)
        return jax.value_and_grad(lambda x: jnp.sum(mixture_log_prob(x, present)))(held)

    wanted = value_and_gradient(0.0)
    for content in (np.nan, np.inf, -np.inf, -1e30):
        jax.tree.map(np.testing.assert_array_equal, value_and_gradient(content), wanted)
    np.testing.assert_array_equal(wanted[1][~present], 0.0)
    assert np.all(wanted[1][present] != 0.0)


def test_present_components_of_density_zero_are_counted(debug_nans):
    log_probs = jnp.array([[-jnp.inf, -jnp.inf], [0.0, -jnp.inf]])
    np.testing.assert_allclose(mixture_log_prob(log_probs), [np.log(0.5), -np.inf])
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(mixture_log_prob(x)[:1])))(log_probs)
    np.testing.assert_array_equal(gradient, [[0.0, 0.0], [1.0, 0.0]])


# --- subsets -----------------------------------------------------------------------------------


def test_subsets_of_three_are_ordered_by_size():
    expected = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1], [1, 1, 1]]
    table = experts.subsets(3)
    assert table.dtype == bool
    np.testing.assert_array_equal(table, np.array(expected, bool))
    np.testing.assert_array_equal(
        experts.subsets(3, include_empty=True), np.array([[0, 0, 0], *expected], bool)
    )


@pytest.mark.parametrize("num_modalities", MODALITIES)
def test_subsets_are_all_different_singletons_first(num_modalities):
    table = experts.subsets(num_modalities)
    assert table.shape == (2**num_modalities - 1, num_modalities)
    assert len({tuple(row) for row in table}) == len(table)
    np.testing.assert_array_equal(table[:num_modalities], np.eye(num_modalities, dtype=bool))
    assert np.all(np.diff(table.sum(1)) >= 0)


@pytest.mark.parametrize("num_modalities", [0, -1, 21])
def test_subsets_of_an_impossible_number_are_refused(num_modalities):
    with pytest.raises(ValueError, match="num_modalities"):
        experts.subsets(num_modalities)
