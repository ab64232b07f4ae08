"""What every pure function of the package promises, checked with chex for all of them alike.

Their values are compared with closed forms elsewhere. Here: the same numbers traced and untraced,
mapped over one more axis or looped over it; float32 of the documented shape; the gradient that
finite differences show; and one trace for every pattern of presence.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmvae_jax import distributions, experts, objectives

K, S, M, B, D = 3, 2, 4, 5, 2
COPIES = 3  # along the axis that is mapped over


class Case(NamedTuple):
    """A function of float arrays, the shapes of these, and that of each of its results."""

    fn: Callable[..., Any]
    arguments: tuple[tuple[int, ...], ...]
    results: tuple[tuple[int, ...], ...]


def present(shape):
    """Some are absent, no column is empty."""
    return np.arange(np.prod(shape)).reshape(shape) % 3 != 1


def scales(raw):
    return 0.5 + jnp.square(raw)


def product(loc, raw):
    return experts.product_of_gaussians(loc, scales(raw), present((M, B)))


def quotient(loc_p, loc_q, raw):
    scale = scales(raw)
    return experts.quotient_of_gaussians(loc_p, scale, loc_q, scale + 0.5)


def relaxed_log_prob(logits, raw):
    return distributions.Concrete(0.66, logits).log_prob(jax.nn.softmax(raw))


def reparameterised(loc, noise):
    def log_weight(params, z):
        log_q = distributions.normal_log_prob(z, jax.lax.stop_gradient(params)[None], 0.8)
        return distributions.normal_log_prob(z, 0.3, 0.5) - log_q

    return objectives.doubly_reparameterized(log_weight)(loc, loc[None] + 0.8 * noise)


def decomposition(log_q, log_p):
    return objectives.minibatch_kl_decomposition(log_q, log_p, 100, present=present((B,)))


CASES = {
    "product_of_gaussians": Case(product, ((M, B, D),) * 2, ((B, D),) * 2),
    "quotient_of_gaussians": Case(quotient, ((B, D),) * 3, ((B, D),) * 2),
    "product_of_concretes": Case(
        lambda logits: experts.product_of_concretes(logits, present((M, B))),
        ((M, B, D),),
        ((B, D),),
    ),
    "mixture_log_prob": Case(
        lambda log_probs: experts.mixture_log_prob(log_probs, present((M, 1, B))),
        ((M, K, B),),
        ((K, B),),
    ),
    "normal_log_prob": Case(
        lambda x, loc, raw: distributions.normal_log_prob(x, loc, scales(raw)),
        ((B, D),) * 3,
        ((B, D),),
    ),
    "laplace_log_prob": Case(
        lambda x, raw: distributions.laplace_log_prob(x, x - 1.0, scales(raw)),
        ((B, D),) * 2,
        ((B, D),),
    ),
    "poisson_log_prob": Case(
        lambda log_rate: distributions.poisson_log_prob(jnp.full((B, D), 3.0), log_rate),
        ((B, D),),
        ((B, D),),
    ),
    "negative_binomial_log_prob": Case(
        lambda log_mean, raw: distributions.negative_binomial_log_prob(
            jnp.full((B, D), 3.0), log_mean, scales(raw)
        ),
        ((B, D),) * 2,
        ((B, D),),
    ),
    "normal_kl": Case(
        lambda loc, raw: distributions.normal_kl(loc, scales(raw), -loc, 0.7),
        ((B, D),) * 2,
        ((B, D),),
    ),
    "laplace_kl": Case(
        lambda loc, raw: distributions.laplace_kl(loc, scales(raw), loc + 1.0, 0.7),
        ((B, D),) * 2,
        ((B, D),),
    ),
    "positive_scale": Case(distributions.positive_scale, ((B, D),), ((B, D),)),
    "sum_constrained_scale": Case(distributions.sum_constrained_scale, ((B, D),), ((B, D),)),
    "log_mean_exp": Case(lambda x: distributions.log_mean_exp(x, 0), ((K, B),), ((B,),)),
    "Concrete.log_prob": Case(relaxed_log_prob, ((B, D),) * 2, ((B,),)),
    "elbo": Case(
        lambda log_px, kl: objectives.elbo(log_px, kl, beta=2.0), ((K, M, B), (K, B)), ((K, B),)
    ),
    "iwae": Case(objectives.iwae, ((K, B),), ((B,),)),
    "strata_mean": Case(
        lambda values: objectives.strata_mean(values, present((S, B))), ((S, K, B),), ((K, B),)
    ),
    "stratified_bound": Case(
        lambda log_w: objectives.stratified_bound(log_w, present((S, B))), ((K, S, B),), ((B,),)
    ),
    "stratified_bound, tighter": Case(
        lambda log_w: objectives.stratified_bound(log_w, present((S, B)), tighter=True),
        ((K, S, B),),
        ((B,),),
    ),
    "minibatch_kl_decomposition": Case(decomposition, ((B, B, D), (B, D)), ((B,),) * 3),
    # These two hold weights fixed on purpose: their gradients are compared with formulas elsewhere.
    "doubly_reparameterized": Case(reparameterised, ((B,), (K, B)), ((B,),)),
    "mutual_supervision": Case(
        objectives.mutual_supervision, ((B,), (K + 1, B), (B,)), ((B,),) * 2
    ),
}
FIXED_WEIGHTS = ("doubly_reparameterized", "mutual_supervision")


def inputs(case, copies=None):
    generator = np.random.default_rng(7)
    leading = () if copies is None else (copies,)
    return [
        jnp.asarray(generator.normal(size=leading + shape), jnp.float32) for shape in case.arguments
    ]


def as_tuple(result):
    return result if isinstance(result, tuple) else (result,)


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def case(request):
    return request.param


class EveryVariant(chex.TestCase):
    """Compiled and with arrays of the host alone: the values and shapes of a plain call."""

    @chex.variants(with_jit=True, without_device=True)
    def test_values_do_not_depend_on_how_a_function_is_called(self):
        for name, case in CASES.items():
            with self.subTest(name):
                arguments = inputs(case)
                found = as_tuple(self.variant(case.fn)(*arguments))
                chex.assert_shape(found, case.results)
                chex.assert_type(found, jnp.float32)
                chex.assert_tree_all_finite(found)
                chex.assert_trees_all_close(
                    found, as_tuple(case.fn(*arguments)), rtol=1e-5, atol=1e-5
                )


def test_mapped_over_an_axis_is_looped_over_it(case):
    arguments = inputs(case, COPIES)
    mapped = as_tuple(jax.jit(jax.vmap(case.fn))(*arguments))
    looped = [as_tuple(case.fn(*(x[i] for x in arguments))) for i in range(COPIES)]
    chex.assert_shape(mapped, [(COPIES, *shape) for shape in case.results])
    expected = jax.tree.map(lambda *parts: jnp.stack(parts), *looped)
    chex.assert_trees_all_close(mapped, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in CASES if name not in FIXED_WEIGHTS])
def test_gradient_is_that_of_finite_differences(name):
    case = CASES[name]

    def total(*arguments):
        return sum(jnp.sum(jnp.sin(x)) for x in as_tuple(case.fn(*arguments)))

    chex.assert_numerical_grads(jax.jit(total), inputs(case), order=1, atol=2e-2, rtol=2e-2)


MASKED = {
    "product_of_gaussians": (
        lambda x, present: experts.product_of_gaussians(x, scales(x), present),
        (M, B, D),
        (M, B),
    ),
    "product_of_concretes": (experts.product_of_concretes, (M, B, D), (M, B)),
    "mixture_log_prob": (experts.mixture_log_prob, (M, B), (M, B)),
    "iwae": (lambda x, where: objectives.iwae(x, where=where), (K, B), (K, B)),
    "stratified_bound": (objectives.stratified_bound, (K, S, B), (S, B)),
}


@pytest.mark.parametrize("name", MASKED)
def test_every_pattern_of_presence_is_one_program(name):
    fn, shape, mask_shape = MASKED[name]
    once = jax.jit(chex.assert_max_traces(fn, n=1))
    x = jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)
    for pattern in range(2 ** mask_shape[0]):
        column = np.array([bool(pattern >> m & 1) for m in range(mask_shape[0])])
        mask = jnp.asarray(np.broadcast_to(column[:, None], mask_shape))
        found = once(x, mask)
        chex.assert_tree_all_finite(found)
        # What is absent may hold anything.
        hidden = jnp.expand_dims(mask, tuple(range(mask.ndim, x.ndim)))
        if name == "stratified_bound":
            hidden = mask[None]
        spoilt = jnp.where(hidden, x, jnp.nan)
        chex.assert_trees_all_equal(once(spoilt, mask), found)


def test_draws_of_concretes_lie_on_the_simplex_and_pass_gradients():
    def draw(key, logits):
        return distributions.Concrete(0.66, logits).sample(seed=key, sample_shape=(K,))

    logits = jnp.asarray(np.random.default_rng(1).normal(size=(B, D)), jnp.float32)
    drawn = jax.jit(draw)(jax.random.key(0), logits)
    chex.assert_shape(drawn, (K, B, D))
    chex.assert_trees_all_close(drawn.sum(-1), jnp.ones((K, B)), rtol=1e-5)
    gradient = jax.grad(lambda logits: draw(jax.random.key(0), logits)[..., 0].sum())(logits)
    chex.assert_tree_all_finite(gradient)
    assert np.all(np.abs(gradient) > 0)
