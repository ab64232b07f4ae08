"""MMVAE (Shi, Siddharth, Paige & Torr, NeurIPS 2019).

    python -m mmvae_jax.main --config=configs/mmvae.py

trains on the embedded `polydigits`, sized for two CPU cores.

    python -m mmvae_jax.main --config=configs/mmvae.py:dataset=polymnist \
        --config.data.dir=MNIST_FOLDER

has the setting of the comparison in the MMVAE+ paper: 64 latent dimensions, K = 10, DReG, beta 2.5,
50 epochs. That paper does not state the networks; they are MMVAE+'s ResNets here.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str | None = None) -> ConfigDict:
    """The config; ``arg``: ``dataset=`` one of the data sets of ``configs/common.py``."""
    args = common.parse_arg(arg, dataset="polydigits")
    config = common.base()
    config.data = common.choose("dataset", args.dataset, common.DATASETS)
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
    if args.dataset == "polydigits":
        _for_two_cores(config)
    return config


def _for_two_cores(config: ConfigDict) -> None:
    """polydigits in minutes: small networks, free scales, one sample."""
    config.num_epochs = 14
    config.batch_size = 64
    config.model.update(
        {
            "network": "conv",
            "shared_dim": 8,
            "posterior_scale": "softplus",
            "likelihood_scale": 0.2,
        }
    )
    config.model.network_options.conv.width = 16
    config.objective.update({"num_samples": 1, "estimator": "iwae"})
    config.optimizer.update({"learning_rate": 2e-3, "schedule": "cosine"})
