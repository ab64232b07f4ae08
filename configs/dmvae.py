"""DMVAE with Gaussian latents (Lee & Pavlovic 2021).

    python -m mmvae_jax.main --config=configs/dmvae.py

trains on the embedded `polydigits`, sized for two CPU cores: conditional coherence 0.844, variance
between draws 0.036, bound 1192 nats (one seed).

    python -m mmvae_jax.main --config=configs/dmvae.py:dataset=mnist_svhn --config.data.dir=FOLDER

is the paper's own data set: 10 shared dimensions, 1 and 4 private ones, lambda 50 and 1, Bernoulli
likelihoods, batches of 100, 10 epochs at 1e-3. Private codes must stay that small: they are
inferred from the very image that they help to decode, and a large one takes all of it. How many
pairs an image is in the paper does not say; 30 is MMVAE's.

    python -m mmvae_jax.main --config=configs/dmvae.py:dataset=polymnist \
        --config.data.dir=MNIST_FOLDER

carries these sizes over to five modalities (meant for an accelerator; no paper has this setting).

`dataset=mnist_labels` is the ablation of the hybrid paper, an image and its class with a Gaussian
shared space: the hybrid's networks of one layer of 256, its weight of the label, 200, and its
private dimensions, 10 of the image and none of the label. After 3 epochs (`--config.num_epochs=3`)
0.969 of the labels of test images are right (one seed).

`dataset=flowers` has the dimensions of the paper's flowers, with a mean of frozen embeddings in the
place of its recurrent network of captions.

What the published code does otherwise than the paper:

    --config.objective.poe_reconstruction=false --config.objective.kl=sampled \
    --config.objective.tc_blocks=joint
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import common, image_sets


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
    common.for_two_cores(config, private_dim=2)


def _image_and_label(config: ConfigDict) -> None:
    """The ablation of the hybrid paper: a Gaussian shared space for an image and its class."""
    label = {"private_dim": 0, "likelihood": "one_hot_bernoulli", "weight": 200.0}
    common.image_and_label(config, hidden=(256,), label=label, private_dim=10)


def _class_pairs(config: ConfigDict) -> None:
    """MNIST beside SVHN as in the paper."""
    config.num_epochs = 10
    private = {"mnist": 1, "svhn": 4, "fashion": 4, "text": 0}
    own = {name: {"private_dim": size} for name, size in private.items()}
    image_sets.class_pairs(config, dm=30, by_size=False, own=own)
    config.model.likelihood = "bernoulli"
    if "svhn" in config.model.modalities:
        config.model.modalities.mnist.weight = 50.0


def _several_digits(config: ConfigDict) -> None:
    """MultiMNIST with MVAE's 100 dimensions shared, and small private codes."""
    image_sets.several_digits(config)
    config.model.modalities.text.private_dim = 0


def _faces(config: ConfigDict) -> None:
    """The continuous ablation of the hybrid paper: 100 private dimensions, as many as factors."""
    image_sets.faces_and_attributes(config, attribute={"private_dim": 0}, shared_dim=18)
    config.model.modalities.image = ConfigDict({"private_dim": 100})
    config.num_epochs = 150


def _six_views(config: ConfigDict) -> None:
    """Six views of a face with MVAE's 250 dimensions shared."""
    image_sets.six_views(config)


def _birds(config: ConfigDict) -> None:
    """CUB, which is not in the paper, with the sizes of MMVAE; captions have no private code."""
    own = {"caption": {"private_dim": 0}}
    image_sets.birds_and_captions(config, own=own, private_dim=10)


def _flowers(config: ConfigDict) -> None:
    """Flowers with the paper's dimensions: 64 shared ones, 3 private ones each."""
    image_sets.flowers_and_captions(config, private_dim=3)
