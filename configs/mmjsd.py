"""mmJSD (Sutter, Daunhawer & Vogt, NeurIPS 2020).

    python -m mmvae_jax.main --config=configs/mmjsd.py

trains on the embedded `polydigits`, sized for two CPU cores, with one draw of every component and
no private codes: with enough of them, or a small beta, mmJSD sends everything through them, and
what modalities say of each other is lost (`--config.model.private_dim=4` shows it).

    python -m mmvae_jax.main --config=configs/mmjsd.py:dataset=polymnist \
        --config.data.dir=MNIST_FOLDER

has the setting of the comparison in the MMVAE+ paper: 32 shared dimensions, Laplace likelihoods, 50
epochs. That paper varies beta and the private size (32 here), and does not state the networks.
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
    if args.dataset == "polydigits":
        _for_two_cores(config)
    return config


def _for_two_cores(config: ConfigDict) -> None:
    """polydigits in minutes: small networks, and a draw of every component."""
    config.num_epochs = 14
    config.batch_size = 64
    config.model.update({"shared_dim": 8, "private_dim": 0, "likelihood_scale": 0.2})
    config.model.network_options.conv.width = 16
    config.objective.sampling = "stratified"
    config.optimizer.update({"learning_rate": 2e-3, "schedule": "cosine"})
