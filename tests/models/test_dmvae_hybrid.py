"""What the hybrid DMVAE adds: temperatures, label encoders that start apart, few labels."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import dmvae_hybrid as config
from mmvae_jax import configuration, models
from mmvae_jax.models.dmvae_hybrid import HybridDMVAE
from mmvae_jax.models.hybrid_latents import HybridLatents
from mmvae_jax.types import UserError
from tests.models.dmvae_numbers import THREE, TWO, VARIANTS, label, vector


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
