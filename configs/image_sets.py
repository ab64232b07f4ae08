"""How configs are adapted to the papers' image data sets: networks, weights and sizes by modality.

What no paper says of a model is taken from the model that has the set in its paper.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from ml_collections import ConfigDict

from mmvae_jax.data.celeba import ATTRIBUTES

Adapt = Callable[[ConfigDict], None]

_PAIRS = {
    "mnist_svhn": ("mnist", "svhn"),
    "mnist_svhn_text": ("mnist", "svhn", "text"),
    "mnist_fashion": ("mnist", "fashion"),
}
_NETWORKS = {
    "mnist": {"network": "mlp", "network_options": {"hidden": (400,)}},
    "svhn": {"network": "conv", "network_options": {"width": 32, "hidden": 512}},
    "fashion": {"network": "conv", "network_options": {"width": 32, "hidden": 512}},
    "text": {"network": "text", "network_options": {"width": 128, "hidden": 0}},
}
# The largest modality's size over each one's own: 3072 / 784, and 3072 / 8.
_BY_SIZE = {
    "mnist_svhn": {"mnist": 3072 / 784},
    "mnist_svhn_text": {"mnist": 3072 / 784, "text": 3072 / 8},
    "mnist_fashion": {},
}
_NOTHING: Mapping[str, object] = MappingProxyType({})


def settings(
    *, pairs: Adapt, digits: Adapt, faces: Adapt, views: Adapt, birds: Adapt, flowers: Adapt
) -> dict[str, Adapt]:
    """Arguments of `common.adapt` for all image sets: what changes the config for which of them.

    Args:
      pairs: MNIST with SVHN, with its names too, or with FashionMNIST.
      digits: MultiMNIST.
      faces: CelebA and its attributes.
      views: six views of CelebA's faces.
      birds: CUB, images or their features with captions.
      flowers: Oxford's 102 flowers, features of images and of captions.
    """
    return {
        **dict.fromkeys(_PAIRS, pairs),
        "multimnist": digits,
        "celeba": faces,
        "celeba_vision": views,
        "cub": birds,
        "flowers": flowers,
    }


def class_pairs(
    config: ConfigDict,
    *,
    dm: int,
    by_size: bool = True,
    own: Mapping[str, Mapping[str, object]] = _NOTHING,
    **model: object,
) -> None:
    """Images paired by class: MMVAE's networks, Laplace likelihoods of scale 0.75.

    Args:
      config: what is changed.
      dm: in how many pairs each image of MNIST and SVHN is.
      by_size: whether likelihoods have weights by size, as in MoPoE-VAE; false where the model
        weighs them itself, or not at all.
      own: settings by modality, in place of these or beside them.
      **model: values of the section ``model``.
    """
    name = config.data.name
    if name != "mnist_fashion":
        config.data.dm = dm
    weights = _BY_SIZE[name] if by_size else {}
    config.model.update({"likelihood": "", "likelihood_scale": 0.75, "network": "conv", **model})
    config.model.modalities = ConfigDict(
        {
            part: {
                **_NETWORKS[part],
                **({"weight": weights[part]} if part in weights else {}),
                **own.get(part, {}),
            }
            for part in _PAIRS[name]
        }
    )


def several_digits(config: ConfigDict, **model: object) -> None:
    """MultiMNIST: 100 dimensions, recurrent texts, and their likelihood times 10, as in MVAE."""
    config.num_epochs = 100
    config.batch_size = 100
    config.optimizer.learning_rate = 1e-3
    config.model.update({"likelihood": "", "network": "conv", "shared_dim": 100, **model})
    config.model.network_options.conv.update({"width": 32, "hidden": 512})
    config.model.modalities = ConfigDict({"text": {"network": "recurrent", "weight": 10.0}})


def faces_and_attributes(
    config: ConfigDict, *, attribute: Mapping[str, object] = _NOTHING, **model: object
) -> None:
    """CelebA: 100 dimensions, 1e-4, batches of 100, 100 epochs, attributes times 10, as in MVAE.

    Args:
      config: what is changed.
      attribute: further settings of attributes.
      **model: values of the section ``model``.
    """
    config.num_epochs = 100
    config.batch_size = 100
    config.optimizer.learning_rate = 1e-4
    config.model.update({"likelihood": "", "network": "conv", "shared_dim": 100, **model})
    config.model.network_options.conv.update({"width": 32, "hidden": 512})
    config.model.network_options.mlp.hidden = (512, 512)
    names = ATTRIBUTES if config.data.attributes == "each" else ("attributes",)
    config.model.modalities = ConfigDict({name: {"weight": 10.0, **attribute} for name in names})


def six_views(config: ConfigDict, **model: object) -> None:
    """Six views of CelebA's faces: 250 dimensions, 1e-4, batches of 50, 100 epochs, as in MVAE."""
    config.num_epochs = 100
    config.batch_size = 50
    config.optimizer.learning_rate = 1e-4
    config.model.update({"likelihood": "", "network": "conv", "shared_dim": 250, **model})
    config.model.network_options.conv.update({"width": 32, "hidden": 512})


def birds_and_captions(
    config: ConfigDict, *, own: Mapping[str, Mapping[str, object]] = _NOTHING, **model: object
) -> None:
    """CUB: 64 dimensions, 1e-3, batches of 64, 50 epochs, Laplace of scale 0.01, as in MMVAE.

    The image's likelihood has the weight of that code's recipe: 32 / (64 * 64 * 3) for pixels,
    0.002 for features. The networks have its widths, with ReLU for features too.

    Args:
      config: what is changed.
      own: settings by modality, beside these.
      **model: values of the section ``model``.
    """
    config.num_epochs = 50
    config.batch_size = 64
    config.optimizer.learning_rate = 1e-3
    general = {"likelihood": "laplace", "likelihood_scale": 0.01, "network": "conv"}
    config.model.update({**general, "shared_dim": 64, **model})
    config.model.network_options.conv.update({"width": 64, "hidden": 512})
    config.model.network_options.mlp.hidden = (1024, 512, 256)
    config.model.network_options.text.update({"embedding": 128, "width": 128, "hidden": 0})
    weight = 0.002 if config.data.images == "features" else 32 / (64 * 64 * 3)
    image = {"weight": weight, **own.get("image", {})}
    config.model.modalities = ConfigDict({"image": image, "caption": dict(own.get("caption", {}))})


def flowers_and_captions(config: ConfigDict, **model: object) -> None:
    """Oxford's flowers: 64 dimensions, batches of 64, 30 epochs, weights of 1, as in DMVAE.

    The paper's learning rate is 2e-4 for ten epochs and a tenth of it for twenty; here it falls
    along a cosine. One hidden layer of 512: the size of its recurrent network of captions, whose
    place frozen embeddings take.
    """
    config.num_epochs = 30
    config.batch_size = 64
    config.optimizer.update({"learning_rate": 2e-4, "schedule": "cosine"})
    config.model.update({"likelihood": "", "network": "conv", "shared_dim": 64, **model})
    config.model.network_options.conv.update({"width": 64, "hidden": 512})
    config.model.network_options.mlp.hidden = (512,)
