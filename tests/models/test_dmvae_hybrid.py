"""What the hybrid DMVAE adds: temperatures, label encoders that start apart, few labels."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats
from scipy.special import expit, logsumexp

from configs import dmvae_hybrid as config
from mmvae_jax import configuration, models
from mmvae_jax.models.dmvae_hybrid import HybridDMVAE
from mmvae_jax.models.hybrid_latents import HybridLatents
from mmvae_jax.types import UserError
from tests.models import worlds
from tests.models.dmvae_numbers import (
    CLASSES,
    NOISE,
    ROWS,
    THREE,
    TWO,
    VARIANTS,
    WITH_LABEL,
    Numbers,
    label,
    random_params,
    raw_batch,
    vector,
)


def test_temperature_follows_its_schedule():
    model = VARIANTS["hybrid"]
    for schedule, expected in (
        ("constant", [0.66, 0.66, 0.66]),
        ("linear", [2 - 1.34 * 0.1, 2 - 1.34 * 0.4, 0.66]),
        ("exponential", [2 * 0.33**0.1, 2 * 0.33**0.4, 0.66]),
    ):
        model = dataclasses.replace(model, temperature_schedule=schedule)
        found = [model.shared_at(jnp.int32(step)).temperature for step in (0, 3, 50)]
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert model.shared.temperature == 0.66  # what evaluation uses


@pytest.mark.parametrize("hidden", [(), (16,)])
def test_label_encoders_start_apart(hidden):
    """A label takes the first categorical of its size; other outputs stay as random as before."""
    space = HybridLatents((2, 3, 3), 1)
    specs = (vector("a"), label(hidden=hidden), label(hidden=hidden, classes=4))
    specs = (*specs[:2], dataclasses.replace(specs[2], name="other"))
    model = HybridDMVAE(specs=specs, shared=space, label_init=4.0)

    @jax.jit
    def logits(raw):
        found = {}
        for size in (0.0, 4.0):
            start = dataclasses.replace(model, label_init=size)
            variables = start.init(jax.random.key(0), models.prepare(raw))
            found[size] = start.experts(variables, models.prepare(raw)).shared["logits"]
        return found

    classes = np.arange(3, dtype=np.int32)
    raw = {"x": {"a": np.zeros((3, 3), np.float32), "label": classes, "other": classes}}
    found = jax.device_get(logits(raw))
    np.testing.assert_allclose(found[4.0][1][:, 2:5], 4 * np.eye(3), atol=1e-4)
    np.testing.assert_array_equal(found[4.0][1][:, :2], found[0.0][1][:, :2])
    np.testing.assert_array_equal(found[4.0][1][:, 5:], found[0.0][1][:, 5:])
    np.testing.assert_array_equal(found[4.0][[0, 2]], found[0.0][[0, 2]])


def test_few_labels_suffice_where_classes_are_apart():
    """Two classes of vectors, 8 pairs among 400 vectors and 400 labels: a label is predicted."""
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 2, 1000).astype(np.int32)
    x = (2.0 * truth[:, None] - 1) * np.array([1.0, -1.0, 1.0, 0.0])
    x = (x + 0.5 * generator.normal(size=x.shape)).astype(np.float32)
    image = vector("image", size=4)
    image = dataclasses.replace(image, network_options=(("hidden", (16,)),), likelihood_scale=0.5)
    specs = (image, label(weight=200.0, hidden=(16,), classes=2))
    model = HybridDMVAE(
        specs=specs,
        shared=HybridLatents((2,)),
        private_kl_weight=6.0,
        pair_weight=0.05,
        balance_patterns=True,
        label_init=4.0,
    )
    optimizer = optax.adam(1e-2)
    here = {
        "image": np.repeat([True, True, False], [4, 16, 16]),
        "label": np.repeat([True, False, True], [4, 16, 16]),
    }

    @jax.jit
    def train(rng):
        def batch(rng):
            pairs, images, labels = jax.random.split(rng, 3)
            rows = jnp.concatenate(
                [
                    jax.random.randint(pairs, (4,), 0, 8),
                    jax.random.randint(images, (16,), 8, 408),
                    jax.random.randint(labels, (16,), 408, 808),
                ]
            )
            x_of = {"image": jnp.asarray(x)[rows], "label": jnp.asarray(truth)[rows]}
            return models.prepare({"x": x_of, "present": here})

        def update(carry, step):
            params, state = carry
            key = jax.random.fold_in(rng, step)

            def mean_loss(params):
                loss, terms = model.loss({"params": params}, key, batch(key), step)
                return loss.mean(), terms["entropy/label"][0]

            (loss, entropy), gradients = jax.value_and_grad(mean_loss, has_aux=True)(params)
            with jax.numpy_dtype_promotion("standard"):  # optax raises a float to an integer count
                updates, state = optimizer.update(gradients, state, params)
            return (optax.apply_updates(params, updates), state), (loss, entropy)

        params = model.init(jax.random.key(1), batch(rng))["params"]
        (params, _), history = jax.lax.scan(
            update, (params, optimizer.init(params)), jnp.arange(200)
        )
        test = models.prepare(
            {
                "x": {"image": x[808:], "label": np.zeros(192, np.int32)},
                "present": {"image": np.ones(192, bool), "label": np.zeros(192, bool)},
            }
        )
        posterior = model.encode({"params": params}, test, ("image",))
        code = model.shared.mean_code(posterior.shared)[0]
        decoded = model.decode({"params": params}, code, model.sample_private_prior(rng, (192,)))
        return model.mean(decoded)["label"].argmax(-1), history

    found, (loss, entropy) = jax.device_get(train(jax.random.key(0)))
    assert np.mean(found == truth[808:]) > 0.95
    assert loss[-20:].mean() < 0.2 * loss[:20].mean()
    assert entropy[-20:].min() > np.log(2) - 0.2


# --- likelihood -----------------------------------------------------------------------------------


class Quadrature:
    """A world of one binary Concrete z, integrated over u = log z_0 - log z_1 in float64.

    Under logits l, u = (l_0 - l_1 + a standard Logistic variable) / T.
    """

    u, step = np.linspace(-60.0, 60.0, 12_001, retstep=True)

    def __init__(self, model, params, raw):
        self.numbers, self.temperature = Numbers(model, params, raw), model.shared.temperature
        self.model, self.raw, z = model, raw, np.stack([expit(self.u), expit(-self.u)], 1)
        self.layers = {
            spec.name: self.numbers.params["decoder"][spec.name]["Dense_0"] for spec in model.specs
        }
        self.shown = {  # what a decoder gives for a private code of 0, [U, N]
            spec.name: z @ self.layers[spec.name]["kernel"][spec.private_dim :]
            + self.layers[spec.name]["bias"]
            for spec in model.specs
        }

    def log_density(self, logits=(0.0, 0.0)):
        """log q(u), [U]; with equal logits log p(u)."""
        t = self.temperature
        return stats.logistic((logits[0] - logits[1]) / t, 1 / t).logpdf(self.u)

    def of_label(self, row):
        """log p(label | u), [U]: independent Bernoullis of a one-hot vector."""
        classes = np.eye(CLASSES)[self.raw["x"]["label"][row]]
        return stats.bernoulli.logpmf(classes, expit(self.shown["label"])).sum(-1)

    def of_vector(self, row):
        """log p(a | u), [U], without its private code."""
        kernel = self.layers["a"]["kernel"][:1]
        covariance = kernel.T @ kernel + NOISE**2 * np.eye(3)
        difference = self.raw["x"]["a"][row] - self.shown["a"]
        return stats.multivariate_normal(np.zeros(3), covariance).logpdf(difference)

    def expected_of_vector(self, row):
        """E log p(a | u, w) over q(w | a), [U]."""
        loc, scale = (part[row] for part in self.numbers.private[0][:2])
        kernel = self.layers["a"]["kernel"][:1]
        at_loc = stats.norm(self.shown["a"] + loc @ kernel, NOISE).logpdf(self.raw["x"]["a"][row])
        return at_loc.sum(-1) - 0.5 * (scale**2 @ kernel**2).sum() / NOISE**2

    def log_likelihood(self, row):
        have = self.numbers.present[:, row]
        log_px = have[0] * self.of_vector(row) + have[1] * self.of_label(row)
        return logsumexp(self.log_density() + log_px + np.log(self.step))

    def elbo(self, row):
        """Mean of the ELBOs of the sources that a row has."""
        have, found = self.numbers.present[:, row], []
        log_px = have[0] * self.expected_of_vector(row) + have[1] * self.of_label(row)
        for source in [*([0] if have.all() else []), *(1 + np.flatnonzero(have))]:
            log_q = self.log_density(self.numbers.sources[source]["logits"][row])
            value = log_px + self.log_density() - log_q
            found.append((np.exp(log_q) * value).sum() * self.step)
        return np.mean(found) - have[0] * self.numbers.kl_private(0, row)


def test_bounds_lie_below_the_likelihood():
    """For every pattern of presence: importance weights, and the `elbo` of training."""
    model = HybridDMVAE(specs=WITH_LABEL, shared=HybridLatents((2,)), separate_encoders=False)
    params, raw = random_params(model), raw_batch(model)
    raw["weight"] = np.ones(ROWS, np.float32)
    params = jax.tree.map(lambda x: 3 * x, params)
    params["encoder"]["a"]["both"]["Dense_0"]["bias"][-1] += 2.0  # a wide proposal of w
    batch, variables = models.prepare(raw), {"params": params}

    @jax.jit
    def estimates(keys):
        log_w = model.log_weights(variables, keys[0], batch, model.names, (), 32_000)
        terms = jax.vmap(lambda key: model.loss(variables, key, batch, jnp.int32(0))[1])(keys)
        return log_w, terms["elbo"]

    log_w, elbo = jax.device_get(estimates(jax.random.split(jax.random.key(3), 2000)))
    world = Quadrature(model, params, raw)
    rows = [row for row in range(ROWS) if world.numbers.present[:, row].any()]
    exact = np.array([world.log_likelihood(row) for row in rows])
    worlds.check_that_weights_bound_the_likelihood(log_w[:, rows], exact)
    elbo = np.asarray(elbo[:, rows], np.float64)
    error = elbo.std(0) / np.sqrt(len(elbo))
    expected = np.array([world.elbo(row) for row in rows])
    np.testing.assert_array_less(np.abs(elbo.mean(0) - expected), 4 * error)
    np.testing.assert_array_less(elbo.mean(0), exact + 4 * error)
    assert np.all(error < 0.2)


# --- options --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "key", "value", "said"),
    [
        ("model", "latent", "laplace", "a product of experts needs 'normal'"),
        ("objective", "beta_tc", (1.0, 2.0, 3.0, 4.0), "4 numbers for 3 modalities"),
        ("objective", "beta_tc", (2.0,), "which is not known for c"),
        ("objective", "beta_tc", 2.0, "one number for all modalities, or one for each"),
        ("model", "categories", (10, 1), "an integer of at least 2"),
        ("model", "categories", (), "no shared code"),
    ],
)
def test_values_that_do_not_fit_are_named(section, key, value, said):
    values = config.get_config().to_dict()
    values[section][key] = value
    values["model"]["shared_dim"] = 0
    specs = (*TWO, dataclasses.replace(THREE[2], num_examples=0))
    with pytest.raises(UserError, match=said):
        configuration.validate(values)
        models.build(values, specs)
