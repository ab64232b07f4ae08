"""MMVAE+ (Palumbo, Daunhawer & Vogt, ICLR 2023).

    python -m mmvae_jax.main --config=configs/mmvae_plus.py

trains on the embedded `polydigits`, sized for two CPU cores.

    python -m mmvae_jax.main --config=configs/mmvae_plus.py:dataset=polymnist \
        --config.data.dir=MNIST_FOLDER

is the paper's setting: ResNets, 32 + 32 latent dimensions, K = 10, beta = 2.5, 50 epochs (meant for
an accelerator); with `networks=small` the convolutional pair takes the ResNets' place, and K = 1,
for two CPU cores.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str | None = None) -> ConfigDict:
    """The config; ``arg``: ``dataset=polydigits|polymnist``, ``networks=paper|small``."""
    args = common.parse_arg(arg, dataset="polydigits", networks="paper")
    config = common.base()
    config.data = common.choose("dataset", args.dataset, common.DATASETS)
    config.model = ConfigDict(
        {
            "name": "mmvae_plus",
            "shared_dim": 32,
            "private_dim": 32,
            "latent": "laplace",  # laplace | normal: family of priors and posteriors
            "posterior_scale": "sum",  # sum | softplus
            "auxiliary_scale": "sum",  # sum | free | fixed
            "separate_encoders": True,
            "likelihood": "laplace",
            "likelihood_scale": 0.75,
            "learn_likelihood_scale": False,
            "network": "resnet",  # resnet | conv | mlp
            "network_options": ConfigDict(),
            "compute_dtype": "float32",  # bfloat16: inside networks only
            "remat": False,
        }
    )
    config.objective = ConfigDict(
        {
            "num_samples": 10,  # K
            "beta": 2.5,
            "estimator": "dreg",  # iwae | stl | dreg
            "bound": "looser",  # looser | tighter
            "posterior": "paper",  # paper | code
            "cross_private": "auxiliary",  # auxiliary | own (ablation)
        }
    )
    config.optimizer.name = "amsgrad"
    config.num_epochs = 50
    adapt = common.choose("networks", args.networks, {"paper": _as_published, "small": _small})
    if args.dataset == "polydigits":
        adapt = _for_two_cores
    adapt(config)
    return config


def _as_published(config: ConfigDict) -> None:
    """Nothing to change."""


def _for_two_cores(config: ConfigDict) -> None:
    config.num_epochs = 12
    config.batch_size = 64
    config.model.update(
        {
            "network": "conv",
            "network_options": ConfigDict({"width": 16, "hidden": 256}),
            "shared_dim": 16,
            "private_dim": 4,
            "posterior_scale": "softplus",
            "auxiliary_scale": "free",
            "likelihood_scale": 0.2,
        }
    )
    config.objective.update({"num_samples": 1, "beta": 1.0, "estimator": "iwae"})
    config.optimizer.learning_rate = 2e-3


def _small(config: ConfigDict) -> None:
    config.model.network = "conv"
    config.model.network_options = ConfigDict({"width": 32, "hidden": 256})
    config.objective.num_samples = 1
