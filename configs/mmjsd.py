"""mmJSD (Sutter, Daunhawer & Vogt, NeurIPS 2020).

    python -m mmvae_jax.main --config=configs/mmjsd.py

trains on the embedded `polydigits`, sized for two CPU cores: conditional coherence 0.895, bound 717
nats (one seed). It takes one draw of every component and has no private codes: with enough of them,
or a small beta, everything can go through them and nothing that modalities share is learned (the
shortcut that MMVAE+ closes).

    python -m mmvae_jax.main --config=configs/mmjsd.py:dataset=polymnist \
        --config.data.dir=MNIST_FOLDER

has the setting of the comparison in the MMVAE+ paper: 32 shared dimensions, Laplace likelihoods, 50
epochs. That paper varies beta and the private size (32 here), and does not state the networks.
`dataset=mnist_labels` takes the sizes of MNIST in the published code; the weight of the label, 50,
is MVAE's. After 3 epochs (`--config.num_epochs=3`) 0.955 of the labels of test images are right
(one seed).
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import common, image_sets


def get_config(arg: str | None = None) -> ConfigDict:
    """The config; ``arg``: ``dataset=`` one of the data sets of ``configs/common.py``."""
    config, _ = common.start(arg)
    config.model = common.model(
        "mmjsd", shared_dim=32, private_dim=32, likelihood="laplace", network="conv"
    )
    config.objective = ConfigDict(
        {
            "beta": 2.5,
            "beta_style": 1.0,  # on private codes' KLs, beside beta
            "sampling": "chunks",  # stratified | chunks
        }
    )
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
    """polydigits in minutes: small networks, and a draw of every component."""
    common.for_two_cores(config, private_dim=0)
    config.objective.sampling = "stratified"


def _image_and_label(config: ConfigDict) -> None:
    """MNIST and its labels, sized as the MNIST of MNIST, SVHN and text; the label counts 50."""
    config.batch_size = 256
    common.image_and_label(config, hidden=(400,), shared_dim=20, private_dim=0)


def _class_pairs(config: ConfigDict) -> None:
    """MNIST, SVHN and text with the published sizes, without private codes."""
    config.num_epochs = 200
    config.batch_size = 256
    image_sets.class_pairs(config, dm=20, shared_dim=20, private_dim=0)


def _several_digits(config: ConfigDict) -> None:
    """MultiMNIST with the sizes of MVAE."""
    image_sets.several_digits(config, private_dim=0)
    config.objective.beta = 1.0


def _faces(config: ConfigDict) -> None:
    """CelebA with MoPoE-VAE's sizes: 20 dimensions, 32 of the image alone."""
    image_sets.faces_and_attributes(config, shared_dim=20, private_dim=0)
    config.model.modalities.image = ConfigDict({"private_dim": 32})
    config.data.crop = "mopoe"


def _six_views(config: ConfigDict) -> None:
    """Six views of a face with the sizes of MVAE."""
    image_sets.six_views(config, private_dim=0)
    config.objective.beta = 1.0


def _birds(config: ConfigDict) -> None:
    """CUB, which is not in the paper, with the sizes of MMVAE."""
    image_sets.birds_and_captions(config, private_dim=0)
    config.objective.beta = 1.0


def _flowers(config: ConfigDict) -> None:
    """Flowers, which are not in the paper, with the sizes of DMVAE."""
    image_sets.flowers_and_captions(config, private_dim=0)
    config.objective.beta = 1.0
