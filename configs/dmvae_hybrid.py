"""Hybrid DMVAE: discrete shared codes, Gaussian private ones (Lee & Pavlovic 2021).

    python -m mmvae_jax.main --config=configs/dmvae_hybrid.py

trains on the embedded `polydigits`, sized for two CPU cores: conditional coherence 0.832, bound
1185 nats (one seed). What images share there are eight Gaussian dimensions beside one of ten
classes that nobody tells the model, and it does not use the class: ``entropy/*`` stays at log 10.
With classes alone, one of ten or ten of ten, private codes take everything and coherence is chance
(0.096 and 0.105; two private dimensions and kappa = 4 do not help). Labels make the class used:

    python -m mmvae_jax.main --config=configs/dmvae_hybrid.py:dataset=mnist_labels,paired=0.002 \
        --config.data.dir=MNIST_FOLDER

is learning from few labels: of the 50,000 training images 0.2 % come with their label, the other
images and labels each for themselves. ``classification/accuracy`` is that of the label decoded from
the image: 0.934 +- 0.004 of the test images over three subsets, 0.857 +- 0.039 where 0.1 % have
their label, 0.952 +- 0.002 where 1 % have it, and 0.981 +- 0.001 where all do.
`--config.evaluation.split=validation` judges on held-out training images, which is where choices
belong; `--config.data.seed` draws other labels.

A batch holds set numbers of pairs, images and labels (`training.batch_mix`), since a batch drawn
from all rows alike would rarely hold a pair; the loss is w * mean(pairs) + mean(images) +
mean(labels). 20 pairs a batch show 100 labelled images a hundred times an epoch: hence w = 0.05,
against over-fitting them. ``recipe=paper`` is the objective as printed, without kappa and w; what
the paper leaves open (lambda, how batches mix) is as close to the tuned recipe as that allows.

`dataset=celeba` has the paper's sizes: 18 binary factors and 100 private dimensions of the image.

Two labels have one code where ``entropy/label`` settles near 2.13 instead of 2.27, and
``log_px_cross/label`` is stuck.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import common, image_sets


def get_config(arg: str | None = None) -> ConfigDict:
    """The config; ``arg``: ``dataset=NAME,paired=FRACTION,recipe=tuned|paper``."""
    config, args = common.start(arg, paired=0.002, recipe="tuned")
    config.model = common.model(
        "dmvae_hybrid",
        shared_dim=0,  # Gaussian dimensions of the shared space
        private_dim=10,
        separate_encoders=False,
        single_expert_prior=False,  # true: z_s given one modality is its expert times the prior
        categories=(10,),  # classes of each categorical of the shared space
        label_init=0.0,  # logits that label encoders start with at their own class
    )
    config.objective = ConfigDict(
        {
            "kl": "analytic",  # analytic (of the private codes) | sampled
            "beta_tc": (1.0,),  # of the total correlation: one number, or one per modality
            "tc_blocks": "separate",  # separate (of z_s, of z_p) | joint (of both as one vector)
            "poe_reconstruction": True,
            "private_kl_weight": 1.0,  # kappa
            "pair_weight": 1.0,  # w, of rows with more than one modality
            "balance_patterns": True,  # sum over patterns of presence of their mean loss
            "temperature": 0.66,
            "temperature_schedule": "constant",  # constant | linear | exponential
            "final_temperature": 0.66,  # where it is not constant
            "temperature_steps": 10000,  # until it is reached
        }
    )
    if args.dataset in ("mnist_labels", "fashion_mnist_labels"):
        _few_labels(config, args.paired)
        recipe = {"tuned": _tuned, "paper": _as_printed}
        common.choose("recipe", args.recipe, recipe)(config, args.paired)
    else:
        # Without labels nothing is tuned: both are the objective as printed.
        common.choose("recipe", args.recipe, dict.fromkeys(("tuned", "paper")))
        common.adapt(
            config,
            otherwise=_for_two_cores,
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


def _few_labels(config: ConfigDict, paired: float) -> None:
    """An image and its class, of which a fraction of the rows has both."""
    config.num_epochs = 60
    label = {"private_dim": 0, "likelihood": "one_hot_bernoulli", "weight": 200.0}
    common.image_and_label(config, hidden=(256,), label=label)
    config.training.steps_per_epoch = 500  # as many batches as 50,000 images fill
    if paired < 1.0:
        config.data.update({"partial": "paired", "observed": paired})
        mix = {"complete": 20, "image": 100, "label": 100}
        config.training.batch_mix = ConfigDict(mix)
        config.batch_size = sum(mix.values())
    else:
        config.batch_size = 100


def _tuned(config: ConfigDict, paired: float) -> None:
    """What few labels need: a dearer private code, separate labels, cheaper pairs, more noise."""
    config.num_epochs = 60 if paired < 1.0 else 30
    config.optimizer.update({"learning_rate": 2e-3, "schedule": "cosine"})
    config.training.augment.shift = 1
    config.model.separate_encoders = True
    config.model.label_init = 4.0
    config.objective.private_kl_weight = 6.0
    config.objective.pair_weight = 0.05 if paired < 1.0 else 1.0


def _as_printed(config: ConfigDict, paired: float) -> None:
    """Eq. 4 without further factors; a pair's label counts as much as in the tuned recipe."""
    del paired
    config.model.modalities.label.weight = 10.0


def _for_two_cores(config: ConfigDict) -> None:
    """The continuous model's sizes; nobody tells the class, and alone it would stay unused."""
    common.for_two_cores(config, private_dim=2)


def _class_pairs(config: ConfigDict) -> None:
    """MNIST beside SVHN with the sizes of the continuous paper, and one of ten classes shared."""
    config.num_epochs = 10
    config.batch_size = 100
    private = {"mnist": 1, "svhn": 4, "fashion": 4, "text": 0}
    own = {name: {"private_dim": size} for name, size in private.items()}
    image_sets.class_pairs(config, dm=30, by_size=False, own=own, shared_dim=0)
    config.model.likelihood = "bernoulli"


def _several_digits(config: ConfigDict) -> None:
    """MultiMNIST: a digit or nothing at each of four places."""
    image_sets.several_digits(config, shared_dim=0, categories=(11, 11, 11, 11))
    config.model.modalities.text.private_dim = 0


def _faces(config: ConfigDict) -> None:
    """CelebA as in the paper: 18 binary factors, 100 dimensions of the image alone."""
    image_sets.faces_and_attributes(
        config, attribute={"private_dim": 0}, shared_dim=0, categories=(2,) * 18
    )
    config.model.modalities.image = ConfigDict({"private_dim": 100})
    config.num_epochs = 150


def _six_views(config: ConfigDict) -> None:
    """Six views of a face: MVAE's 250 dimensions, beside one of ten classes."""
    image_sets.six_views(config)


def _birds(config: ConfigDict) -> None:
    """CUB with the sizes of MMVAE, beside one of ten classes."""
    own = {"caption": {"private_dim": 0}}
    image_sets.birds_and_captions(config, own=own)


def _flowers(config: ConfigDict) -> None:
    """Flowers: one of as many classes as there are, beside the continuous paper's dimensions."""
    image_sets.flowers_and_captions(config, private_dim=3, categories=(102,))
