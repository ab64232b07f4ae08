"""MoPoE-VAE (Sutter, Daunhawer & Vogt, ICLR 2021).

    python -m mmvae_jax.main --config=configs/mopoe.py

trains on the embedded `polydigits`, sized for two CPU cores, with one draw of every subset.

    python -m mmvae_jax.main --config=configs/mopoe.py:dataset=polymnist \
        --config.data.dir=MNIST_FOLDER

has the setting of the published code: 512 latent dimensions, beta 2.5, the batch cut into chunks,
300 epochs.
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
    if args.dataset == "polydigits":
        _for_two_cores(config)
    return config


def _for_two_cores(config: ConfigDict) -> None:
    """polydigits in minutes: small networks, and a draw of every subset."""
    config.num_epochs = 14
    config.batch_size = 64
    config.model.update({"shared_dim": 8, "likelihood_scale": 0.2})
    config.model.network_options.conv.width = 16
    config.objective.sampling = "stratified"
    config.optimizer.update({"learning_rate": 2e-3, "schedule": "cosine"})
