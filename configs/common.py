"""What the configs share: the checked argument string, and the sections that no model changes."""

from __future__ import annotations

import copy
import types
from collections.abc import Mapping
from typing import TypeVar

from ml_collections import ConfigDict

from mmvae_jax.types import UserError, nearest

T = TypeVar("T")


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
        }
    )
    config.evaluation = ConfigDict(
        {
            "seed": 0,
            "batch_size": 256,
            "split": "test",  # test | validation: what every metric is measured on
            "metrics": "",  # names separated by commas; "": all of evaluation/registry.py
            "num_examples": 0,  # 0: every example of it
            "bound_samples": 32,
            "probe_train": 5000,  # training examples for the linear probes; 0: all
            "classifier_epochs": 0,  # 0: chosen from the data set's size
            "cache_dir": "",  # "": WORKDIR/cache
            "figures": True,
        }
    )
    return config


def model(name: str, **values: object) -> ConfigDict:
    """The section ``model``: what every model has, and ``values`` in place of it or beside it."""
    networks = {
        "resnet": {"width": 64, "stages": 2},
        "conv": {"width": 32, "hidden": 256, "decoder_width": 0, "decoder_factor": 2},
        "mlp": {"hidden": [512, 512]},
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
        "network": "conv",  # resnet | conv | mlp, for images
        "network_options": networks,  # of the chosen family
        "modalities": {},  # {name: {setting: value}} in place of the general ones
        "compute_dtype": "float32",  # bfloat16: inside networks only
        "remat": False,
    }
    return ConfigDict({"name": name, **general, **values})


def _dataset(name: str, **options: object) -> ConfigDict:
    """The section ``data``: what every data set has, and its own options."""
    general = {
        "dir": "",  # "": below $MMVAE_DATA_DIR
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
    "binarize": "none",  # none | threshold
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
    ),
    "mnist_labels": _dataset("mnist_labels", **_LABELLED),
    "fashion_mnist_labels": _dataset("fashion_mnist_labels", **_LABELLED),
}
