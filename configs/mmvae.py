"""MMVAE (Shi, Siddharth, Paige & Torr, NeurIPS 2019).

    python -m mmvae_jax.main --config=configs/mmvae.py

trains on the embedded `polydigits`, sized for two CPU cores: conditional coherence 0.926, variance
between draws 0.0001, bound 773 nats (one seed).

    python -m mmvae_jax.main --config=configs/mmvae.py:dataset=polymnist \
        --config.data.dir=MNIST_FOLDER

has the setting of the comparison in the MMVAE+ paper: 64 latent dimensions, K = 10, DReG, beta 2.5,
50 epochs. That paper does not state the networks; they are MMVAE+'s ResNets here.
`dataset=mnist_labels` takes what the model's own paper has for MNIST beside SVHN: one hidden layer
of 400, 20 dimensions, K = 30, a learned prior; the weight of the label, 50, is MVAE's. After 3 of
its epochs (`--config.num_epochs=3`) 0.931 of the labels of test images are right (one seed).

    python -m mmvae_jax.main --config=configs/mmvae.py:dataset=mnist_svhn \
        --config.data.dir=FOLDER

is that paper's own setting (dm = 30 needs 7 GB on the device; 20 has a third fewer pairs). So are

    python -m mmvae_jax.main --config=configs/mmvae.py:dataset=cub --config.data.dir=FOLDER
    python -m mmvae_jax.main --config=configs/mmvae.py:dataset=cub,images=features \
        --config.data.dir=FOLDER --config.data.normalise=false --config.data.unscored=unknown

birds and their captions as pixels, and as features that are computed and scored as in the published
code (see ``docs/data.md``).
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import common, image_sets


def get_config(arg: str | None = None) -> ConfigDict:
    """The config; ``arg``: ``dataset=`` one of the data sets of ``configs/common.py``."""
    config, _ = common.start(arg)
    config.model = common.model(
        "mmvae",
        shared_dim=64,
        latent="laplace",
        posterior_scale="sum",
        prior_scale="fixed",  # fixed | sum | softplus: the last two are learned
        rescale_likelihoods=False,  # by the largest modality's size over each one's own
        likelihood="laplace",
        network="resnet",
    )
    config.objective = ConfigDict(
        {
            "num_samples": 10,  # K
            "beta": 2.5,
            "estimator": "dreg",  # iwae | stl | dreg | elbo
            "bound": "looser",  # looser | tighter
        }
    )
    config.optimizer.name = "amsgrad"
    config.num_epochs = 50
    common.adapt(
        config,
        polydigits=_for_two_cores,
        mnist_labels=_image_and_label,
        fashion_mnist_labels=_image_and_label,
        **image_sets.settings(
            pairs=_class_pairs,
            digits=_several_digits,
            faces=_faces,
            views=_six_views,
            birds=_birds,
            flowers=_flowers,
        ),
    )
    return config


def _for_two_cores(config: ConfigDict) -> None:
    """polydigits in minutes: small networks, free scales, one sample."""
    common.for_two_cores(config, posterior_scale="softplus")
    config.objective.update({"num_samples": 1, "estimator": "iwae"})


def _image_and_label(config: ConfigDict) -> None:
    """MNIST and its labels with the paper's sizes for MNIST beside SVHN; the label counts 50."""
    config.num_epochs = 30
    common.image_and_label(config, hidden=(400,), shared_dim=20, prior_scale="sum")
    config.objective.update({"num_samples": 30, "beta": 1.0})


def _class_pairs(config: ConfigDict) -> None:
    """MNIST beside SVHN as in the paper; the model weighs likelihoods by size itself."""
    config.num_epochs = 30
    image_sets.class_pairs(
        config,
        dm=30,
        by_size=False,
        rescale_likelihoods=True,
        shared_dim=20,
        prior_scale="sum",
    )
    config.objective.update({"num_samples": 30, "beta": 1.0})


def _several_digits(config: ConfigDict) -> None:
    """MultiMNIST with the sizes of MVAE."""
    image_sets.several_digits(config)
    config.objective.beta = 1.0


def _faces(config: ConfigDict) -> None:
    """CelebA with the sizes of MVAE; one sample where 19 experts make them many."""
    image_sets.faces_and_attributes(config)
    config.objective.beta = 1.0
    config.objective.num_samples = 1 if config.data.attributes == "each" else 10


def _six_views(config: ConfigDict) -> None:
    """Six views of a face with the sizes of MVAE, one sample of each expert."""
    image_sets.six_views(config)
    config.objective.update({"num_samples": 1, "beta": 1.0})


def _birds(config: ConfigDict) -> None:
    """CUB as in the published recipe: K = 50; of features all latents are normal."""
    latents = {"prior_scale": "sum"}
    if config.data.images == "features":
        latents = {"latent": "normal", "posterior_scale": "softplus", "prior_scale": "softplus"}
    image_sets.birds_and_captions(config, **latents)
    config.objective.update({"num_samples": 50, "beta": 1.0})


def _flowers(config: ConfigDict) -> None:
    """Flowers, which are not in the paper, with the sizes of DMVAE."""
    image_sets.flowers_and_captions(config)
    config.objective.beta = 1.0
