"""Every config takes the papers' image data sets: models are built and traced, nothing compiled."""

from __future__ import annotations

import dataclasses
import importlib

import jax
import numpy as np
import pytest

from configs import mvae
from mmvae_jax import configuration, models
from mmvae_jax.data import celeba, celeba_views, class_pairs, cub, flowers, multimnist
from mmvae_jax.types import ModalitySpec, UserError

CELEBA = ModalitySpec(name="image", shape=(64, 64, 3), likelihood="bernoulli")
SPECS = {
    "mnist_svhn": tuple(source.spec for source in class_pairs._MNIST_AND_SVHN),
    "mnist_svhn_text": (
        *(source.spec for source in class_pairs._MNIST_AND_SVHN),
        class_pairs.TEXT,
    ),
    "mnist_fashion": tuple(source.spec for source in class_pairs._MNIST_AND_FASHION),
    "multimnist": multimnist.SPECS,
    "celeba": (
        CELEBA,
        ModalitySpec(name="attributes", shape=(18,), dtype="bool", likelihood="bernoulli"),
    ),
    "celeba,attributes=each": (
        CELEBA,
        *(
            ModalitySpec(name=name, shape=(), dtype="bool", likelihood="bernoulli")
            for name in celeba.ATTRIBUTES
        ),
    ),
    "celeba_vision": tuple(
        ModalitySpec(name=name, shape=(64, 64, channels), likelihood="bernoulli")
        for name, channels in celeba_views.CHANNELS.items()
    ),
    "cub": (cub.image_spec((64, 64, 3), "uint8"), cub.caption_spec(1590, "padding")),
    "cub,images=features": (
        cub.image_spec((2048,), "float32"),
        cub.caption_spec(1590, "unknown"),
    ),
    "flowers": (
        flowers.image_spec((2048,), "float32"),
        flowers.vector_spec("caption", (768,)),
    ),
    "flowers,images=raw": (
        flowers.image_spec((64, 64, 3), "uint8"),
        flowers.vector_spec("caption", (30, 768)),
    ),
}


def built(name: str, dataset: str):
    """The model of a config for specs as the data set has them, with 1,000 training rows."""
    config = importlib.import_module(f"configs.{name}").get_config(f"dataset={dataset}").to_dict()
    configuration.validate(config)
    specs = models.specs_from_config(config["model"], SPECS[dataset])
    specs = tuple(dataclasses.replace(spec, num_examples=1000) for spec in specs)
    model = models.build(config, specs)
    model.check()
    return config, model


def batch(specs, size: int = 2):
    x = {spec.name: np.zeros((size, *spec.shape), spec.dtype) for spec in specs}
    return models.prepare({"x": x, "present": {name: np.ones(size, bool) for name in x}})


@pytest.mark.parametrize("dataset", SPECS)
@pytest.mark.parametrize("name", sorted(models.MODELS))
def test_every_config_builds_a_model(name, dataset):
    config, model = built(name, dataset)
    assert config["data"]["name"] == dataset.partition(",")[0]
    # No convolutions over pixels for what is no image.
    texts = {spec.network for spec in model.specs if spec.is_tokens}
    others = {spec.network for spec in model.specs if not spec.is_image and not spec.is_tokens}
    assert texts <= {"text", "recurrent"} and others <= {"mlp"}


def trace(name: str, dataset: str) -> dict[str, tuple[int, ...]]:
    """Shapes of the loss of two rows and of its terms; nothing is computed."""
    _, model = built(name, dataset)
    rows = batch(model.specs)

    def loss(rng):
        variables = model.init(rng, rows)
        return model.loss(variables, rng, rows, jax.numpy.zeros([], jax.numpy.int32))

    value, terms = jax.eval_shape(loss, jax.random.key(0))
    return {"loss": value.shape, **{key: term.shape for key, term in terms.items()}}


@pytest.mark.parametrize(
    ("name", "dataset"),
    [
        ("dmvae", "mnist_svhn"),
        ("dmvae", "flowers,images=raw"),
        ("dmvae_hybrid", "celeba"),
        ("meme", "mnist_svhn_text"),
        ("mmvae", "mnist_svhn"),
        ("mmvae_plus", "mnist_svhn_text"),
        ("mopoe", "cub,images=features"),
        ("mvae", "celeba,attributes=each"),
    ],
)
def test_a_loss_per_row(name, dataset):
    shapes = trace(name, dataset)
    assert set(shapes.values()) == {(2,)}
    if name == "mvae":  # a bound of every single modality
        assert len([key for key in shapes if key.startswith("elbo/")]) == 19


def test_likelihood_weights_of_the_papers():
    """By size: 3072 / 784 and 3072 / 8; attributes 10 and strings 10; DMVAE's MNIST 50."""
    for name, dataset, weights in (
        ("mmvae", "mnist_svhn", [3072 / 784, 1]),
        ("mopoe", "mnist_svhn_text", [3072 / 784, 1, 384]),
        ("dmvae", "mnist_svhn", [50, 1]),
        ("dmvae", "mnist_fashion", [1, 1]),
        ("mvae", "multimnist", [1, 10]),
        ("mvae", "celeba", [1, 10]),
        ("mvae", "celeba,attributes=each", [1, *[10] * 18]),
        ("mvae", "celeba_vision", [1] * 6),
        ("mmvae", "cub", [32 / (64 * 64 * 3), 1]),
        ("mmvae", "cub,images=features", [0.002, 1]),
        ("dmvae", "flowers", [1, 1]),
    ):
        np.testing.assert_allclose(built(name, dataset)[1].weights, weights, rtol=1e-6)


def test_settings_of_the_papers():
    config, model = built("mmvae", "mnist_svhn")
    assert (config["data"]["dm"], config["objective"]["num_samples"], model.shared.dim) == (
        30,
        30,
        20,
    )
    assert {spec.likelihood_scale for spec in model.specs} == {0.75}
    config, model = built("dmvae", "mnist_svhn")
    assert [spec.private_dim for spec in model.specs] == [1, 4]
    assert {spec.likelihood for spec in model.specs} == {"bernoulli"}
    config, model = built("meme", "mnist_svhn")
    assert (config["data"]["dm"], config["data"]["order"], model.shared.dim) == (1, "index", 64)
    config, model = built("mvae", "celeba,attributes=each")
    assert (config["objective"]["num_subsets"], model.shared.dim) == (1, 100)
    assert len(model.sees) == 1 + 1 + 19
    _, model = built("dmvae_hybrid", "celeba")
    assert model.shared.categories == (2,) * 18
    for images, latent in (("raw", "laplace"), ("features", "normal")):
        config, model = built("mmvae", "cub" if images == "raw" else f"cub,images={images}")
        assert (config["objective"]["num_samples"], config["batch_size"]) == (50, 64)
        assert (model.shared.dim, model.shared.family) == (64, latent)
        assert model.specs[0].likelihood_scale == 0.01
    _, model = built("dmvae", "flowers")
    assert (model.shared.dim, [spec.private_dim for spec in model.specs]) == (64, [3, 3])


def test_published_codes_weights_of_nineteen_terms():
    config = mvae.get_config("dataset=celeba,attributes=each").to_dict()
    config["objective"]["weights"] = "code"
    specs = models.specs_from_config(config["model"], SPECS["celeba,attributes=each"])
    table = models.build(config, specs).term_weights[..., 0]
    assert (table[0, 1:] == 10).all() and (table[1:] == 1).all()


def test_forms_belong_to_their_data_sets():
    for argument, said in (
        ("dataset=mnist_svhn,attributes=each", "attributes=each is for dataset=celeba"),
        ("dataset=celeba,attributes=all", "unknown attributes 'all'"),
        ("dataset=celeba,images=raw", "images=raw is for dataset=cub and flowers, not for celeba"),
        ("dataset=cub,images=pixels", "unknown images 'pixels'"),
    ):
        with pytest.raises(UserError, match=said):
            mvae.get_config(argument)
