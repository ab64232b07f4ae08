"""MEME (Joy, Shi, Torr, Rainforth, Schmon & Siddharth, ICLR 2022): two modalities.

    python -m mmvae_jax.main --config=configs/meme.py

trains on the first two modalities of the embedded `polydigits`, sized for two CPU cores: coherence
0.932 conditional and 0.856 unconditional, probe of shared codes 0.965, variance between draws 0.034
(one seed).

    python -m mmvae_jax.main --config=configs/meme.py:dataset=polymnist \
        --config.data.dir=MNIST_FOLDER

has the sizes of the paper's MNIST-SVHN experiment on the first two modalities of PolyMNIST, which
the paper does not use: 64 latent dimensions, K = 10, learning rate 5e-4, 100 epochs. Meant for an
accelerator.

    python -m mmvae_jax.main --config=configs/meme.py:dataset=mnist_labels \
        --config.data.dir=MNIST_FOLDER

is MNIST with its labels, whose pseudo-samples are relaxed one-hot vectors. After 3 epochs
(`--config.num_epochs=3`) 0.967 of the labels of test images are right (one seed).

    python -m mmvae_jax.main --config=configs/meme.py:dataset=mnist_svhn --config.data.dir=FOLDER

is the paper's MNIST-SVHN: every image is in one pair, in the order of the files.

`dataset=cub,images=features` has the learning rate and the epochs of the paper's birds; of its text
networks, whose printed sizes do not fit together, and its dimensions it takes MMVAE's.

The objective is that of the published code (`variant=code`): log q(t|s) times 10, the sum of the
directions, the divergence in closed form. `variant=paper` is Eq. 6 to the letter. With a factor of
1 its terms in log q(t|z) cancel in the mean, and it learns slowly: after 500 steps on polydigits
(8,000 tuples, one seed) conditional coherence is 0.13; with a factor of 10 alone it is 0.44, and
0.41 as in the code. For more than two modalities, which the paper sketches, set
`--config.data.num_modalities=3 --config.model.combination=product`, or `mixture` with
`--config.objective.divergence=sampled`; data sets that always have more take `product`.

There is no p(z): `bound/test` and likelihoods are skipped, and the best checkpoint is the latest.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import common, image_sets

_VARIANTS = {
    "paper": {"label_coefficient": 1.0, "directions": "mean", "divergence": "sampled"},
    "code": {"label_coefficient": 10.0, "directions": "sum", "divergence": "analytic"},
}


def get_config(arg: str | None = None) -> ConfigDict:
    """The config; ``arg``: ``dataset=NAME``, ``variant=code|paper``."""
    config, args = common.start(arg, variant="code")
    if "num_modalities" in config.data:
        config.data.num_modalities = 2
    config.model = common.model(
        "meme",
        shared_dim=64,
        combination="none",  # none (two modalities) | product | mixture
        num_pseudo=128,  # of each modality
        pseudo_start="data",  # data | noise
    )
    config.objective = ConfigDict(
        {
            "num_samples": 10,  # K, beside the draw of the bound
            **common.choose("variant", args.variant, _VARIANTS),
        }
    )
    config.num_epochs = 100
    config.optimizer.learning_rate = 5e-4
    common.adapt(
        config,
        polydigits=_for_two_cores,
        polymnist=_images,
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
    # Arrays may be more than two.
    combination = "product" if config.data.name == "arrays" else "none"
    common.for_two_cores(config, num_pseudo=64, combination=combination)
    config.objective.num_samples = 4


def _images(config: ConfigDict) -> None:
    """polymnist, with the residual networks of MMVAE+; the published code's Laplace scale is 1."""
    config.model.update({"likelihood": "laplace", "likelihood_scale": 1.0, "network": "resnet"})


def _image_and_label(config: ConfigDict) -> None:
    """MNIST and its labels: two hidden layers, as in the published code."""
    config.model.network = "mlp"


def _class_pairs(config: ConfigDict) -> None:
    """MNIST beside SVHN as in the published code: one pair an image, Laplace of scale 1."""
    image_sets.class_pairs(config, dm=1, by_size=False, likelihood_scale=1.0)
    config.data.order = "index"
    if config.data.name == "mnist_svhn_text":
        config.model.combination = "product"


def _several_digits(config: ConfigDict) -> None:
    """MultiMNIST with the sizes of MVAE."""
    image_sets.several_digits(config)


def _faces(config: ConfigDict) -> None:
    """CelebA with the sizes of MVAE."""
    image_sets.faces_and_attributes(config)
    if config.data.attributes == "each":
        config.model.combination = "product"


def _six_views(config: ConfigDict) -> None:
    """Six views of a face with the sizes of MVAE."""
    image_sets.six_views(config, combination="product")


def _birds(config: ConfigDict) -> None:
    """CUB as in the paper, but for its text networks: 1e-4, 300 epochs; likelihoods as in MMVAE."""
    image_sets.birds_and_captions(config)
    config.num_epochs = 300
    config.optimizer.learning_rate = 1e-4


def _flowers(config: ConfigDict) -> None:
    """Flowers, which are not in the paper, with the sizes of DMVAE."""
    image_sets.flowers_and_captions(config)
