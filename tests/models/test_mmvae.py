"""MMVAE in worlds whose likelihood is known; its options, config and training."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from configs import mmvae as mmvae_config
from mmvae_jax import models, objectives
from mmvae_jax.models.latents import LatentSpace
from mmvae_jax.models.mmvae import MMVAE
from mmvae_jax.types import ModalitySpec, UserError
from tests.models import worlds

D, ROWS = 2, 8

# --- worlds whose likelihood is known -------------------------------------------------------------


def exact_single_expert(estimator: str, samples: int) -> tuple[MMVAE, Any]:
    """One modality whose encoder is the exact posterior under a prior of scale 1.6."""
    prior = 1.6
    model = MMVAE(
        specs=worlds.specs(1),
        shared=LatentSpace(1),
        num_samples=samples,
        estimator=estimator,
        prior_scale="softplus",
    )
    a, noise = np.array([0.8, -0.5, 0.3, 0.0]), model.specs[0].likelihood_scale ** 2
    variance = 1 / (1 / prior**2 + a @ a / noise)
    raw = np.log(np.expm1(np.sqrt(variance)))
    kernel = np.stack([variance * a / noise, np.zeros(4)], 1)
    params = {
        "encoder": {"m0": {"shared": dense(kernel, [0.0, raw])}},
        "decoder": {"m0": dense(a[None], np.zeros(4))},
        "likelihood": {"m0": {}},
        "prior": jnp.asarray([np.log(np.expm1(prior))], jnp.float32),
    }
    return model, params


def dense(kernel, bias) -> Any:
    return {
        "Dense_0": {"kernel": jnp.asarray(kernel, jnp.float32), "bias": jnp.asarray(bias, "f4")}
    }


def run(model: MMVAE, params: Any, x: Any, key: int = 2) -> Any:
    present = np.ones((len(model.specs), ROWS), bool)
    return worlds.compiled(model)(params, x, present, jax.random.key(key))


@pytest.mark.parametrize("estimator", ["iwae", "stl", "dreg"])
def test_at_the_exact_posterior_the_bound_is_the_likelihood_and_its_gradient_known(estimator):
    """No variance; `stl` and `dreg` give the encoder exactly nothing, `iwae` a zero mean."""
    model, params = exact_single_expert(estimator, 10)
    x = worlds.arrays(model, ROWS)
    exact = worlds.exact_log_likelihood(model, params, x, prior_scale=1.6)
    gradients = []
    for key in range(3):
        loss, _, gradient = run(model, params, x, key)
        np.testing.assert_allclose(-loss, exact, atol=2e-4)
        gradients.append(max(np.abs(g).max() for g in jax.tree.leaves(gradient["encoder"])))
    assert (max(gradients) < 5e-4) == (estimator != "iwae")
    assert max(gradients) > 0.05 or estimator != "iwae"


def beside_the_exact_posterior(estimator: str, samples: int) -> tuple[MMVAE, Any, Any]:
    """The posterior moved and widened: log-weights have a small variance."""
    model, params = exact_single_expert(estimator, samples)
    layer = params["encoder"]["m0"]["shared"]["Dense_0"]
    params["encoder"] = {"m0": {"shared": dense(layer["kernel"], layer["bias"] + 0.4)}}
    return model, params, worlds.arrays(model, ROWS)


def test_dreg_has_the_iwae_gradient_in_the_mean_and_less_variance():
    """Tucker et al. 2019: unbiased for one reparameterised posterior."""
    keys = jax.random.split(jax.random.key(5), 4000)
    mean, variance = {}, {}
    for estimator in ("iwae", "dreg"):
        model, params, x = beside_the_exact_posterior(estimator, 10)
        rows = models.prepare({"x": x})

        @jax.jit
        @jax.vmap
        def sampled(key, model=model, params=params, rows=rows):
            def total(encoder):
                variables = {"params": {**params, "encoder": encoder}}
                return model.loss(variables, key, rows, jnp.int32(0))[0].sum()

            return jax.grad(total)(params["encoder"])

        leaves = jax.tree.leaves(sampled(keys))
        flat = np.concatenate([np.asarray(leaf).reshape(len(keys), -1) for leaf in leaves], 1)
        mean[estimator], variance[estimator] = flat.mean(0), flat.var(0)
    error = np.sqrt((variance["iwae"] + variance["dreg"]) / len(keys))
    assert np.all(np.abs(mean["iwae"] - mean["dreg"]) < 4 * error)
    assert np.any(np.abs(mean["iwae"]) > 8 * error)  # there is a gradient to agree on
    assert variance["dreg"].sum() < 0.5 * variance["iwae"].sum()


def bounds(log_w: Any, samples: int, tighter: bool = False) -> np.ndarray:
    """The bound of every group of K draws, [N / K, B], from log-weights [N, S, B]."""
    groups = log_w.reshape(-1, samples, *log_w.shape[1:])
    alive = np.ones(log_w.shape[1:], bool)
    bound = functools.partial(objectives.stratified_bound, alive=alive, tighter=tighter)
    return np.asarray(jax.jit(jax.vmap(bound))(groups), np.float64)


def many_log_weights(model: MMVAE, params: Any, x: Any) -> Any:
    """log-weights [num_samples, S, B] that `loss` makes its bound of."""
    variables, rows = {"params": params}, models.prepare({"x": x})

    @jax.jit
    def weigh(key):
        found = model.experts(variables, rows)
        drawn = model.draw(variables, key, found)
        return model.weigh(variables, rows, found, drawn, model.present(rows))[0]

    return weigh(jax.random.key(3))


def test_the_gap_to_the_likelihood_falls_as_one_over_k():
    """Burda et al. 2016: the leading term is var(w) / 2K."""
    model, params, x = beside_the_exact_posterior("iwae", 400_000)
    log_w = many_log_weights(model, params, x)
    exact, gaps = worlds.exact_log_likelihood(model, params, x, prior_scale=1.6), []
    for samples in (4, 16):
        gap = exact[None] - bounds(log_w, samples)
        gaps.append(gap.mean())
        assert gaps[-1] > 10 * gap.std() / np.sqrt(gap.size)
    assert gaps[0] / gaps[1] == pytest.approx(4.0, rel=0.25)


def pair(size: float = 0.4, **options: Any) -> tuple[MMVAE, Any, Any]:
    """Two modalities and normal codes, with wide posteriors: weights have a small variance."""
    model = MMVAE(specs=worlds.specs(2), shared=LatentSpace(D), **options)
    params = worlds.random_params(model, size=size)

    def widen(path, leaf):
        wide = jnp.arange(leaf.shape[-1]) >= D
        return jnp.where(wide, leaf + 1.0, leaf) if path[-1].key == "bias" else leaf

    encoder = jax.tree_util.tree_map_with_path(widen, params["encoder"])
    return model, {**params, "encoder": encoder}, worlds.arrays(model, ROWS)


def test_both_bounds_lie_below_the_likelihood_and_the_tighter_one_above_the_looser():
    model, params, x = pair(num_samples=16_000)
    exact, values = worlds.exact_log_likelihood(model, params, x), {}
    log_w = many_log_weights(model, params, x)
    for tighter in (False, True):
        for samples in (1, 8):
            value = bounds(log_w, samples, tighter)
            error = value.std(0) / np.sqrt(len(value))
            assert np.all(value.mean(0) < exact + 4 * error)
            values[tighter, samples] = value.mean(0)
    for tighter in (False, True):
        assert np.all(values[tighter, 8] > values[tighter, 1])
    assert np.all(values[True, 1] > values[False, 1])  # the same draws: Jensen
    assert np.all(values[True, 8] > values[False, 8])


def test_importance_sampled_elbo_is_the_mean_of_the_experts_elbos():
    """Its expectation in closed form: E under q_r of log p(x_d | z) for a linear decoder."""
    model, params, x = pair(0.2, estimator="elbo")
    value, error = worlds.mean_and_error(model, params, models.prepare({"x": x}), 20_000)
    exact = worlds.exact_log_likelihood(model, params, x)
    p, x = worlds.as_float64(params), worlds.as_float64(x)
    expected = np.zeros(ROWS)
    for name in model.names:
        loc, scale = worlds.posterior(p, name, "shared", x)
        expected -= worlds.normal_kl(loc, scale) / 2
        for spec in model.specs:
            expected += worlds.expected_log_px(p, spec, loc, scale, x) / 2
    assert np.all(error < 0.2)
    assert np.all(np.abs(value - expected) < 4 * error)
    assert np.all(value < exact + 4 * error)


def test_log_weights_and_generation_use_the_learned_prior():
    model, params, x = pair(prior_scale="softplus")
    scale = 1.5
    params["prior"] = jnp.full(D, np.log(np.expm1(scale)), jnp.float32)
    variables, rows = {"params": params}, models.prepare({"x": x})
    exact = worlds.exact_log_likelihood(model, params, x, prior_scale=scale)

    @functools.partial(jax.jit, static_argnums=0)
    def weigh(given):
        of = tuple(name for name in model.names if name not in given)
        return model.log_weights(variables, jax.random.key(4), rows, given, of, 20_000)

    for given in (("m0", "m1"), ()):  # with nothing given, draws come from that prior
        log_w = np.asarray(weigh(given), np.float64)
        estimate = special.logsumexp(log_w, axis=0) - np.log(len(log_w))
        error = np.exp(log_w - estimate).std(0) / np.sqrt(len(log_w))
        assert np.all(error < 0.1)
        np.testing.assert_array_less(np.abs(estimate - exact), 4 * error + 1e-3)
    prior = model.shared_prior(variables, (5,))
    np.testing.assert_allclose(prior["scale"], np.full((5, D), scale), rtol=1e-5)
    flat = jax.tree.map(jnp.zeros_like, params["decoder"])
    kernel = flat["m0"]["Dense_0"]["kernel"].at[0, 0].set(1.0)
    flat["m0"]["Dense_0"]["kernel"] = kernel  # m0 shows the first coordinate of its code
    shown = model.generate({"params": {**params, "decoder": flat}}, jax.random.key(0), 4000)
    assert float(shown["m0"][:, 0].std()) == pytest.approx(scale, rel=0.05)


# --- options, configs, training -------------------------------------------------------------------


def test_a_learned_prior_starts_as_published():
    for kind, start in (("sum", 1.0), ("softplus", np.log(2.0))):
        model = MMVAE(specs=worlds.specs(2), shared=LatentSpace(D), prior_scale=kind)
        extra = model.init_extra(jax.random.key(0))
        prior = model.shared_prior({"params": extra})
        np.testing.assert_allclose(prior["scale"], np.full(D, start), rtol=1e-5)
        np.testing.assert_array_equal(prior["loc"], np.zeros(D))
    model = MMVAE(specs=worlds.specs(2), shared=LatentSpace(D))
    assert model.init_extra(jax.random.key(0)) == {}


def test_likelihoods_are_rescaled_to_the_largest_modality():
    """MNIST beside SVHN: 3072 / 784 = 3.918 for MNIST, 1 for SVHN."""
    specs = (
        ModalitySpec(name="mnist", shape=(28, 28, 1)),
        ModalitySpec(name="svhn", shape=(32, 32, 3), weight=0.5),
        ModalitySpec(name="label", shape=(), dtype="int32", num_classes=10),
    )
    for rescale, expected in ((True, [3072 / 784, 0.5, 3072.0]), (False, [1.0, 0.5, 1.0])):
        model = MMVAE(specs=specs, shared=LatentSpace(D), rescale_likelihoods=rescale)
        np.testing.assert_allclose(model.weights, expected, rtol=1e-6)


def test_private_codes_are_refused():
    with pytest.raises(UserError, match=r"'m1' has private_dim = 2.*use mmvae_plus"):
        MMVAE(specs=worlds.specs(2, private=(0, 2)), shared=LatentSpace(D))


def test_the_config_builds_the_model():
    values = mmvae_config.get_config().to_dict()
    values["objective"].update(estimator="elbo", beta=2.0)
    values["model"].update(prior_scale="sum", rescale_likelihoods=True)
    model = worlds.from_config(values)
    assert isinstance(model, MMVAE)
    assert (model.estimator, model.prior_scale, model.rescale_likelihoods) == ("elbo", "sum", True)
    assert (model.beta, model.shared.dim, model.shared.family) == (2.0, 8, "laplace")


def test_it_learns_what_views_and_a_label_share():
    """DReG, two vectors and a class, a fixed seed: the loss falls from above 30 to below 9."""
    specs, x = worlds.views_and_label()
    model = MMVAE(
        specs=specs,
        shared=LatentSpace(4, "laplace"),
        num_samples=4,
        estimator="dreg",
        prior_scale="sum",
    )
    variables, losses = worlds.train(model, {"x": x}, 200)
    assert losses[-20:].mean() < 9.0 < 30.0 < losses[0]
    assert worlds.label_accuracy(model, variables, x) > 0.9
