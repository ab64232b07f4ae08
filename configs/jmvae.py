"""JMVAE (Suzuki, Nakayama & Matsuo, 2016), the form with divergences to the single encoders.

    python -m mmvae_jax.main --config=configs/jmvae.py

trains on the embedded `polydigits`, sized for two CPU cores: conditional coherence 0.608, bound
1126 nats (one seed).

    python -m mmvae_jax.main --config=configs/jmvae.py:dataset=captioned_shapes

names the shape of an image rightly in 0.896 of the captions that it writes, and 0.999 of the images
that it draws show the shape of the caption (level 1, one seed). With recurrent networks of
captions, `"--config.model.modalities={'caption': {'network': 'recurrent', 'weight': 30.0}}"`, these
are 0.943 and 0.997.

    python -m mmvae_jax.main --config=configs/jmvae.py:dataset=polymnist \
        --config.data.dir=MNIST_FOLDER

has the sizes of MVAE and MoPoE on these data in the paper of MMVAE+ (512 latent dimensions,
learning rate 5e-4) with alpha = 0.1; there is no published run of JMVAE on them. Meant for an
accelerator.

    python -m mmvae_jax.main --config=configs/jmvae.py:dataset=mnist_labels \
        --config.data.dir=MNIST_FOLDER

is MNIST with its labels and alpha = 0.01, as in the comparison in the paper of MVAE; so are
`dataset=multimnist` and `dataset=celeba`. After 5 of its 100 epochs (`--config.num_epochs=5`) 0.973
of the labels of test images are right (one seed).
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import common, image_sets


def get_config(arg: str | None = None) -> ConfigDict:
    """The config; ``arg``: ``dataset=NAME``."""
    config, _ = common.start(arg)
    config.model = common.model(
        "jmvae",
        joint_features=128,  # what each modality's network gives the joint head
        joint_hidden=256,  # hidden units of that head; 0: linear
    )
    config.objective = ConfigDict(
        {
            "alpha": 0.1,  # on KL(joint || single), summed over modalities
            "beta": 1.0,
            "warmup_steps": 0,  # of all divergences, linear from 0
        }
    )
    common.adapt(
        config,
        polydigits=_for_two_cores,
        polymnist=_comparison,
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
    """polydigits in a few minutes."""
    common.for_two_cores(config, joint_features=64, joint_hidden=128)
    config.objective.warmup_steps = 1000
    if config.data.name == "captioned_shapes":
        # Joint codes that an image alone could have had, or its captions name another shape.
        config.objective.alpha = 1.0


def _comparison(config: ConfigDict) -> None:
    """polymnist with the sizes of the products and their mixtures in the paper of MMVAE+."""
    config.num_epochs = 300
    config.batch_size = 256
    config.model.update({"shared_dim": 512, "joint_features": 512, "joint_hidden": 1024})
    config.model.update({"likelihood": "laplace", "likelihood_scale": 0.75, "network": "resnet"})
    config.objective.warmup_steps = 2000
    config.optimizer.learning_rate = 5e-4


def _image_and_label(config: ConfigDict) -> None:
    """Bernoulli pixels, two hidden layers, and the label's likelihood times 50 as for MVAE."""
    config.num_epochs = 100
    config.batch_size = 100
    common.image_and_label(config, shared_dim=64)
    config.objective.update({"alpha": 0.01, "warmup_steps": 20_000})  # 40 epochs


def _class_pairs(config: ConfigDict) -> None:
    """MNIST beside SVHN: 20 dimensions, weights by size; no published setting is known."""
    config.num_epochs = 30
    image_sets.class_pairs(config, dm=20, shared_dim=20)


def _several_digits(config: ConfigDict) -> None:
    """MultiMNIST as for MVAE."""
    image_sets.several_digits(config)
    config.objective.update({"alpha": 0.01, "warmup_steps": 20_000})  # 40 epochs


def _faces(config: ConfigDict) -> None:
    """CelebA as for MVAE."""
    image_sets.faces_and_attributes(config, joint_hidden=512)
    config.objective.update({"alpha": 0.01, "warmup_steps": 32_540})  # 20 epochs


def _six_views(config: ConfigDict) -> None:
    """Six views of a face as for MVAE."""
    image_sets.six_views(config, joint_hidden=512)
    config.objective.update({"alpha": 0.01, "warmup_steps": 65_100})  # 20 epochs


def _birds(config: ConfigDict) -> None:
    """CUB, which is not in the paper, with the sizes of MMVAE."""
    image_sets.birds_and_captions(config, joint_hidden=512)
    config.objective.alpha = 0.01


def _flowers(config: ConfigDict) -> None:
    """Flowers, which are not in the paper, with the sizes of DMVAE."""
    image_sets.flowers_and_captions(config, joint_hidden=512)
    config.objective.alpha = 0.01
