"""What the configs share: the checked argument string, and the sections that no model changes."""

from __future__ import annotations

import copy
import types
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from ml_collections import ConfigDict

from mmvae_jax.types import UserError, nearest

T = TypeVar("T")

# What the argument string may say of a data set beside its name; what it leaves out stays as it is
# in `DATASETS`.
_FORMS = {"attributes": ("one", "each"), "images": ("raw", "features")}


def parse_arg(arg: str | None, **defaults: str | int | float | bool) -> types.SimpleNamespace:
    """Parses ``"dataset=polymnist,flag=true"``, what follows the colon of ``--config=FILE:ARG``.

    Args:
      arg: comma-separated ``key=value`` pairs; empty or None for none.
      **defaults: every key that is allowed; a value is read as its default's type.

    Returns:
      A namespace with one attribute per default.

    Raises:
      UserError: unknown key, a pair without ``=``, or a value of the wrong type.
    """
    values = dict(defaults)
    for pair in filter(None, (arg or "").split(",")):
        key, separator, text = pair.partition("=")
        if not separator:
            raise UserError(f"--config argument {pair!r}: write it as key=value")
        if key not in defaults:
            raise UserError(
                f"--config argument: unknown key {key!r}, allowed: {', '.join(defaults)}"
                f"{nearest(key, defaults)}"
            )
        values[key] = _read(key, text, defaults[key])
    return types.SimpleNamespace(**values)


def _read(key: str, text: str, default: str | int | float | bool) -> str | int | float | bool:
    if isinstance(default, bool):
        if text.lower() not in ("true", "false"):
            raise UserError(f"--config argument {key}={text}: must be true or false")
        return text.lower() == "true"
    try:
        return type(default)(text)
    except ValueError:
        kind = type(default).__name__
        raise UserError(f"--config argument {key}={text}: must be of type {kind}") from None


def choose(what: str, name: str, options: Mapping[str, T]) -> T:
    """A copy of the option of that name; UserError with the nearest match where there is none."""
    if name not in options:
        raise UserError(
            f"--config argument: unknown {what} {name!r}, known: {', '.join(options)}"
            f"{nearest(name, options)}"
        )
    return copy.deepcopy(options[name])


def start(
    arg: str | None, **defaults: str | int | float | bool
) -> tuple[ConfigDict, types.SimpleNamespace]:
    """What `base` has with the section ``data``, and the parsed argument string.

    Args:
      arg: see `parse_arg`; ``dataset=NAME``, one of `DATASETS`, is allowed in every config, and
        with some data sets what `_FORMS` names, since networks and weights go by it:
        ``attributes=one|each`` with celeba, ``images=raw|features`` with cub and flowers.
      **defaults: keys that are allowed beside it.

    Raises:
      UserError: see `parse_arg` and `choose`.
    """
    args = parse_arg(arg, dataset="polydigits", **dict.fromkeys(_FORMS, ""), **defaults)
    config = base()
    config.data = choose("dataset", args.dataset, DATASETS)
    for key, forms in _FORMS.items():
        value = getattr(args, key)
        if value and key not in config.data:
            known = " and ".join(name for name, section in DATASETS.items() if key in section)
            raise UserError(
                f"--config argument: {key}={value} is for dataset={known}, not for {args.dataset}"
            )
        if value:
            config.data[key] = choose(key, value, {form: form for form in forms})
    return config, args


def base() -> ConfigDict:
    """Sections and defaults that every config starts from."""
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 128
    config.num_epochs = 10
    config.optimizer = ConfigDict(
        {
            "name": "adam",
            "learning_rate": 1e-3,
            "schedule": "constant",  # constant | cosine | linear
            "warmup_steps": 0,
            "clip_norm": 0.0,  # 0: no clipping
            "weight_decay": 0.0,
        }
    )
    config.training = ConfigDict(
        {
            "log_every": 50,  # steps in one compiled chunk
            "checkpoint_every": 0,  # steps; 0: once an epoch
            "steps_per_epoch": 0,  # 0: as many batches as the training rows fill
            # {group: rows in each batch}, which add up to batch_size; {}: drawn from all rows
            # alike. Groups: "complete" (rows with every modality), a modality's name (rows with
            # it alone), "other" (rows with several).
            "batch_mix": {},
            # auto | device | host: whether the training rows lie on the device, or stay where they
            # are (in memory, in files) and are read while steps run. The numbers are the same.
            "data": "auto",
            "augment": {
                # Images mirrored left to right in half of the rows: names separated by commas, or
                # "all"; "": none.
                "flip": "",
                "flip_together": True,  # all of a row's, or each by a draw of its own
                "shift": 0,  # pixels by which images are moved at most; each has its own draw
            },
        }
    )
    config.evaluation = ConfigDict(
        {
            "seed": 0,
            "batch_size": 256,
            "split": "test",  # test | validation: what every metric is measured on
            # Names in evaluation/registry.py, separated by commas; "": the quick ones; "all".
            "metrics": "",
            "num_examples": 0,  # 0: every example of it
            "bound_samples": 32,
            "likelihood_samples": 32,  # draws per example; the papers' numbers take 1000 to 5000
            "likelihood_examples": 100,  # 0: every example
            # "m0+m1|m2, m0": log p of some given others, and of some; "": joint, each, each given
            # all others.
            "likelihood_sets": "",
            "coherence_subsets": 500,  # examples for coherence given several modalities; 0: all
            "robustness_examples": 500,  # for curves over what is missing; 0: every example
            "quality_examples": 500,  # for distances between features; 0: every example
            "inception": "",  # weights for FID and KID, see docs/evaluation.md; "": neither
            # For cca: a text file of words and their vectors (as FastText writes it); "": learnt
            # from the training captions. Sentences: weighted (MMVAE) | mean (MEME).
            "word_vectors": "",
            "sentence_vectors": "weighted",
            "probe_train": 5000,  # training examples for the linear probes; 0: all
            "probe_codes": "samples",  # samples | means: what they see of a posterior
            "classifier_epochs": 0,  # 0: chosen from the data set's size
            # Of the classifiers that judge; "": a folder of the user's cache, for all runs.
            "cache_dir": "",
            "figures": True,
        }
    )
    return config


def model(name: str, **values: object) -> ConfigDict:
    """The section ``model``: what every model has, and ``values`` in place of it or beside it."""
    networks = {
        "resnet": {"width": 64, "stages": 2},
        "conv": {"width": 32, "hidden": 256, "decoder_width": 0, "decoder_factor": 2},
        "mlp": {"hidden": (512, 512)},
        "text": {"embedding": 128, "width": 32, "hidden": 256},
        "recurrent": {"embedding": 200, "hidden": 200, "layers": 2},
    }
    general = {
        "shared_dim": 32,
        "private_dim": 0,
        "latent": "normal",  # laplace | normal: family of priors and posteriors
        "posterior_scale": "softplus",  # sum | softplus
        "separate_encoders": True,  # of shared and private codes
        "likelihood": "",  # of images; "": the data set's own
        "likelihood_scale": 0.75,
        "learn_likelihood_scale": False,
        "network": "conv",  # resnet | conv | mlp, for images; of texts: see `modalities`
        "network_options": networks,  # of the chosen family
        "modalities": {},  # {name: {setting: value}} in place of the general ones
        "compute_dtype": "float32",  # bfloat16: inside networks only
        "remat": False,
    }
    return ConfigDict({"name": name, **general, **values})


def _dataset(name: str, **options: object) -> ConfigDict:
    """The section ``data``: what every data set has, and its own options."""
    general = {
        "dir": "",  # "": below $MMVAE_DATA_DIR, else below ~/.local/share/mmvae_jax
        "download": True,  # original files that are not there, where they can be had
        "seed": 0,
        # What training rows keep: none (all of it) | independent | paired | always | split |
        # labels_per_class; see mmvae_jax/data/missingness.py.
        "partial": "none",
        "observed": 1.0,  # probability or fraction of what is kept
        "rest": "each",  # each | one: what becomes of rows that are not kept whole
        "always": "",  # the modality that `always` keeps
        "labels_per_class": 0,
    }
    return ConfigDict({"name": name, **general, **options})


_LABELLED = {
    "num_train": 0,  # 0: all
    "num_validation": 10000,
    "num_test": 0,
    "binarize": "none",  # none | threshold | dynamic (drawn anew at each step)
}

_PAIRED = {
    "max_d": 10000,  # images of a class that are used
    "dm": 20,  # pairs that each of them is in
    "order": "random",  # random | index (the j-th of a class with the j-th)
    "num_train": 0,  # 0: all
    "num_validation": 0,  # images held out of each set; 0: as published, none
    "num_test": 0,
}

_FACES = {
    "crop": "mvae",  # mvae | mopoe: how 178x218 pixels become 64x64
    "cache_dir": "",  # of prepared arrays; "": DIR/prepared
    "num_train": 0,  # 0: all of the official split
    "num_validation": 0,
    "num_test": 0,
}

_CAPTIONED = {
    "normalise": True,  # features: of images with channels normalised as in the ResNet's training
    "cache_dir": "",  # of prepared arrays and features; "": DIR/prepared
    "num_train": 0,  # captions; 0: all
    # cub, and flowers with split=classes: images held out of training; 0: as published, none.
    "num_validation": 0,
    "num_test": 0,
}

DATASETS = {
    "polydigits": _dataset(
        "polydigits", num_modalities=3, num_train=20000, num_validation=1000, num_test=2000
    ),
    "polymnist": _dataset(
        "polymnist",
        num_modalities=5,
        num_train=0,
        num_validation=10000,
        num_test=0,
        backgrounds="",
        cache_dir="",  # of prepared arrays of published images; "": DIR/prepared
    ),
    "arrays": _dataset(
        "arrays",
        path="",  # an .npz, or a folder of .npy files
        # NAME:KIND,...: image | vector | counts | label | attributes | tokens | skip; label and
        # tokens may have a third part, how many there are: NAME:tokens:5000
        kinds="",
        label="label",  # the array with the items' classes, for evaluation; "": none
        nan="error",  # error | absent: a row that is NaN in some places
        standardise=True,
        count_likelihood="negative_binomial",  # negative_binomial | poisson
        library_offset=True,  # rates of counts are shares of their row's total
        pad_id=-1,  # the token behind the end of a text; -1: none, and all positions count
        end_id=-1,  # the token that ends it; -1: the first padding
        validation_fraction=0.1,  # where the file has no split
        test_fraction=0.1,
    ),
    "captioned_shapes": _dataset(
        "captioned_shapes",
        level=1,  # 1 to 5: attributes that vary; 6: two objects and a relation
        image_size=32,  # 32 | 64
        num_train=20000,
        num_validation=1000,
        num_test=2000,
    ),
    "mnist_labels": _dataset("mnist_labels", **_LABELLED),
    "fashion_mnist_labels": _dataset("fashion_mnist_labels", **_LABELLED),
    "mnist_svhn": _dataset("mnist_svhn", **_PAIRED),
    "mnist_svhn_text": _dataset("mnist_svhn_text", **_PAIRED),
    "mnist_fashion": _dataset("mnist_fashion", **{**_PAIRED, "dm": 1, "num_validation": 10000}),
    "multimnist": _dataset("multimnist", num_train=0, num_validation=10000, num_test=0),
    "celeba": _dataset(
        "celeba",
        attributes="one",  # one (a modality of 18) | each (18 modalities)
        **_FACES,
    ),
    "celeba_vision": _dataset("celeba_vision", **_FACES),
    "cub": _dataset(
        "cub",
        images="raw",  # raw | features
        # What has no share in a caption's likelihood: padding | unknown (words, as published)
        unscored="padding",
        **_CAPTIONED,
    ),
    "flowers": _dataset(
        "flowers",
        images="features",  # features | raw
        captions="mean",  # mean | tokens: of BERT's embeddings
        split="official",  # official | classes: no class of test rows is trained on
        **_CAPTIONED,
    ),
}


# --- adapting a config to its data set ---------------------------------------------------------


def unchanged(config: ConfigDict) -> None:
    """Leaves the config as it is."""


def adapt(
    config: ConfigDict,
    *,
    otherwise: Callable[[ConfigDict], None] = unchanged,
    **settings: Callable[[ConfigDict], None],
) -> None:
    """Changes the config by the function that ``settings`` name for its data set.

    Args:
      config: what is changed.
      otherwise: the function for every other data set.
      **settings: {name of a data set: function}; the user's own arrays and captioned_shapes take
        that of polydigits where they have none.
    """
    if "polydigits" in settings:
        settings.setdefault("arrays", settings["polydigits"])
        settings.setdefault("captioned_shapes", settings["polydigits"])
    settings.get(config.data.name, otherwise)(config)


def for_two_cores(config: ConfigDict, **model: object) -> None:
    """Minutes on two CPU cores: a short run of small networks and few dimensions.

    Args:
      config: what is changed.
      **model: values of the section ``model`` in place of these or beside them.
    """
    config.num_epochs = 14
    config.batch_size = 64
    general = {
        "network": "conv",
        "shared_dim": 8,
        "likelihood": "laplace",
        "likelihood_scale": 0.2,
    }
    if config.data.name == "captioned_shapes":
        general["shared_dim"] = 16
        _captioned_shapes(config)
    config.model.update({**general, **model})
    config.model.network_options.conv.width = 16
    config.optimizer.update({"learning_rate": 2e-3, "schedule": "cosine"})
    if config.data.name == "arrays":
        _any_arrays(config)


def _captioned_shapes(config: ConfigDict) -> None:
    """A word weighs as much as many pixels, or captions are learned last."""
    config.model.network_options.conv.update({"hidden": 128, "decoder_factor": 4})
    config.model.network_options.text.update({"embedding": 64, "hidden": 128})
    config.model.network_options.recurrent.update({"embedding": 32, "hidden": 64, "layers": 1})
    config.model.modalities = ConfigDict({"caption": {"weight": 30.0}})
    if "beta" in config.objective:
        config.objective.beta = 1.0


def _any_arrays(config: ConfigDict) -> None:
    """3,000 steps whatever the number of rows; likelihoods as they are, which imputation needs."""
    config.num_epochs = 15
    config.training.steps_per_epoch = 200
    config.model.likelihood = ""
    config.model.network_options.mlp.hidden = (128, 128)
    if "beta" in config.objective:
        config.objective.beta = 1.0


def image_and_label(
    config: ConfigDict,
    *,
    hidden: Sequence[int] = (512, 512),
    label: Mapping[str, object] = types.MappingProxyType({"weight": 50.0}),
    **model: object,
) -> None:
    """An image and its class: networks without convolutions, and the image's own likelihood.

    Args:
      config: what is changed.
      hidden: units of the hidden layers.
      label: what is special about the label; a likelihood weight of 50 is MVAE's.
      **model: values of the section ``model``.
    """
    config.model.update({"network": "mlp", "likelihood": "", **model})
    config.model.network_options.mlp.hidden = tuple(hidden)
    config.model.modalities = ConfigDict({"label": dict(label)})
