"""DMVAE with Gaussian latents (Lee & Pavlovic 2021).

    python -m mmvae_jax.main --config=configs/dmvae.py

trains on the embedded `polydigits`, sized for two CPU cores: conditional coherence 0.844, variance
between draws 0.036, bound 1192 nats (one seed). The paper's own data set is a pair of
MNIST and SVHN: 10 shared dimensions, 1 and 4 private ones, lambda 50 and 1, Bernoulli likelihoods,
batches of 100, 10 epochs at 1e-3. Private codes must stay that small: they are inferred from the
very image that they help to decode, and a large one takes all of it.

    python -m mmvae_jax.main --config=configs/dmvae.py:dataset=polymnist \
        --config.data.dir=MNIST_FOLDER

carries these sizes over to five modalities (meant for an accelerator; no paper has this setting).

What the published code does otherwise than the paper:

    --config.objective.poe_reconstruction=false --config.objective.kl=sampled \
    --config.objective.tc_blocks=joint
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str | None = None) -> ConfigDict:
    """The config; ``arg``: ``dataset=NAME``."""
    config, _ = common.start(arg)
    config.model = common.model(
        "dmvae",
        shared_dim=10,
        private_dim=4,
        separate_encoders=False,
        single_expert_prior=False,  # true: z_s given one modality is its expert times the prior
    )
    config.objective = ConfigDict(
        {
            "kl": "analytic",  # analytic | sampled
            "beta_tc": (1.0,),  # of the total correlation: one number, or one per modality
            "tc_blocks": "separate",  # separate (of z_s, of z_p) | joint (of both as one vector)
            "poe_reconstruction": True,
            "private_kl_weight": 1.0,  # kappa
            "pair_weight": 1.0,  # w, of rows with more than one modality
            "balance_patterns": False,  # true: sum over patterns of presence of their mean loss
        }
    )
    config.num_epochs = 50
    config.batch_size = 100
    common.adapt(
        config,
        polydigits=_for_two_cores,
        mnist_labels=_image_and_label,
        fashion_mnist_labels=_image_and_label,
    )
    return config


def _for_two_cores(config: ConfigDict) -> None:
    """polydigits in a few minutes."""
    common.for_two_cores(config, private_dim=2)


def _image_and_label(config: ConfigDict) -> None:
    """The ablation of the hybrid paper: a Gaussian shared space for an image and its class."""
    label = {"private_dim": 0, "likelihood": "one_hot_bernoulli", "weight": 200.0}
    common.image_and_label(config, hidden=(256,), label=label, private_dim=10)
