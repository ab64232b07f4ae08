"""MoPoE-VAE (Sutter, Daunhawer & Vogt, ICLR 2021).

    python -m mmvae_jax.main --config=configs/mopoe.py

trains on the embedded `polydigits`, sized for two CPU cores, with one draw of every subset:
conditional coherence 0.908, bound 1101 nats (one seed; twice as long as the other models).

    python -m mmvae_jax.main --config=configs/mopoe.py:dataset=polymnist \
        --config.data.dir=MNIST_FOLDER

has the setting of the published code: 512 latent dimensions, beta 2.5, the batch cut into chunks,
300 epochs. `dataset=mnist_labels` takes that code's sizes for MNIST beside SVHN and text: one
hidden layer of 400, 20 dimensions, 200 epochs; the weight of the label, 50, is MVAE's. After 3 of
them (`--config.num_epochs=3`) 0.953 of the labels of test images are right (one seed).
`dataset=mnist_svhn_text` is that set itself, with a hidden layer in place of convolutions for the
text. `dataset=cub` has beta, learning rate and epochs of the comparison in the MMVAE+ paper.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import common, image_sets


def get_config(arg: str | None = None) -> ConfigDict:
    """The config; ``arg``: ``dataset=`` one of the data sets of ``configs/common.py``."""
    config, _ = common.start(arg)
    config.model = common.model(
        "mopoe",
        shared_dim=512,
        prior_expert="full",  # full | every | none: products with the prior as a factor
        likelihood="laplace",
        network="conv",
    )
    config.objective = ConfigDict(
        {
            "beta": 2.5,
            "beta_style": 1.0,  # on private codes' KLs, beside beta
            "sampling": "chunks",  # stratified | chunks
            "num_subsets": 64,  # above 6 modalities; up to 6 there are all
        }
    )
    config.batch_size = 256
    config.num_epochs = 300
    config.optimizer.learning_rate = 5e-4
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
    """polydigits in minutes: small networks, and a draw of every subset."""
    common.for_two_cores(config)
    config.objective.sampling = "stratified"


def _image_and_label(config: ConfigDict) -> None:
    """MNIST and its labels with the published sizes for MNIST, SVHN and text; labels count 50."""
    config.num_epochs = 200
    common.image_and_label(config, hidden=(400,), shared_dim=20)
    config.optimizer.learning_rate = 1e-3


def _class_pairs(config: ConfigDict) -> None:
    """MNIST, SVHN and text as published: 20 dimensions, weights by size."""
    config.num_epochs = 200
    image_sets.class_pairs(config, dm=20, shared_dim=20)
    config.optimizer.learning_rate = 1e-3


def _several_digits(config: ConfigDict) -> None:
    """MultiMNIST with the sizes of MVAE."""
    image_sets.several_digits(config)
    config.objective.beta = 1.0


def _faces(config: ConfigDict) -> None:
    """CelebA with the published sizes: 20 dimensions, 32 of the image alone; its own crop."""
    image_sets.faces_and_attributes(config, shared_dim=20)
    config.model.modalities.image = ConfigDict({"private_dim": 32})
    config.data.crop = "mopoe"
    config.num_epochs = 250
    config.batch_size = 256
    config.optimizer.learning_rate = 5e-4
    config.objective.beta_style = 2.0


def _six_views(config: ConfigDict) -> None:
    """Six views of a face with the sizes of MVAE: all 63 subsets."""
    image_sets.six_views(config)
    config.objective.beta = 1.0


def _birds(config: ConfigDict) -> None:
    """CUB as in the comparison in the paper of MMVAE+: beta 9, 5e-4, 150 epochs."""
    image_sets.birds_and_captions(config)
    config.num_epochs = 150
    config.optimizer.learning_rate = 5e-4
    config.objective.beta = 9.0


def _flowers(config: ConfigDict) -> None:
    """Flowers, which are not in the paper, with the sizes of DMVAE."""
    image_sets.flowers_and_captions(config)
    config.objective.beta = 1.0
