"""The datasets by name, and the check of their options before anything is read."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from mmvae_jax.data import (
    arrays,
    captioned_shapes,
    celeba,
    class_pairs,
    cub,
    downloads,
    flowers,
    labels,
    missingness,
    multimnist,
    polydigits,
    polymnist,
)
from mmvae_jax.data.contract import Dataset
from mmvae_jax.data.folders import MissingFiles
from mmvae_jax.types import UserError, nearest

# Each builder has keyword-only options with defaults, and `seed`.
DATASETS: dict[str, Callable[..., Dataset]] = {
    "arrays": arrays.load,
    "captioned_shapes": captioned_shapes.load,
    "celeba": celeba.load,
    "celeba_vision": celeba.load_vision,
    "cub": cub.load,
    "fashion_mnist_labels": labels.load_fashion_mnist,
    "flowers": flowers.load,
    "mnist_fashion": class_pairs.load_mnist_fashion,
    "mnist_labels": labels.load_mnist,
    "mnist_svhn": class_pairs.load_mnist_svhn,
    "mnist_svhn_text": class_pairs.load_mnist_svhn_text,
    "multimnist": multimnist.load,
    "polydigits": polydigits.load,
    "polymnist": polymnist.load,
}
# What every dataset has beside `name`, `seed` and its own.
GENERAL = ("download", *missingness.OPTIONS)


def load(name: str, options: Mapping[str, Any], *, seed: int = 0) -> Dataset:
    """Builds the dataset `name`.

    Args:
      name: a key of `DATASETS`.
      options: the dataset's options, `option_defaults` lists them; a ``name`` among them is
        ignored, a ``seed`` among them replaces the argument, and those of `missingness.Partial`,
        which every dataset has, make the training split a partial one. ``download``: whether files
        that are missing are downloaded where they can be, see `downloads`; not by default.
      seed: decides pairings, backgrounds and held-out rows, and what a partial split keeps.

    Raises:
      UserError: unknown name or option, an option of the wrong type or range, unreadable files,
        a download that failed.
    """
    defaults = option_defaults(name)
    options = {key: value for key, value in options.items() if key != "name"}
    seed = _checked("seed", options.pop("seed", seed), 0)
    download = _checked("download", options.pop("download", False), False)
    partial = missingness.from_options(options)
    options = {key: value for key, value in options.items() if key not in missingness.OPTIONS}
    if "dir" not in defaults and options.pop("dir", ""):
        why = "reads data.path" if "path" in defaults else "is built in and reads no folder"
        raise UserError(f"data.dir is set, but dataset {name!r} {why}; leave it empty")
    for key, value in options.items():
        if key not in defaults:
            raise UserError(
                f"dataset {name!r} has no option data.{key}; its options are "
                f"{', '.join(sorted(defaults))}, and of every dataset {', '.join(GENERAL)}"
                f"{nearest(key, [*defaults, *GENERAL])}"
            )
        options[key] = _checked(key, value, defaults[key])
    dataset = missingness.apply(_build(name, options, seed, download), partial, seed)
    train = dataset.splits["train"]
    # Units belong to the rows that the policy left.
    specs = dataset.fit_specs(train) if dataset.fit_specs else dataset.specs
    specs = tuple(
        dataclasses.replace(spec, num_examples=int(train.present[spec.name].sum()))
        for spec in specs
    )
    return dataclasses.replace(dataset, specs=specs)


def _build(name: str, options: Mapping[str, Any], seed: int, download: bool) -> Dataset:
    try:
        return DATASETS[name](**options, seed=seed)
    except MissingFiles as missing:
        if not download:
            raise
        downloads.fetch(name, missing)
    # What cannot be downloaded may be missing, too: then nothing more comes, and that is said.
    return _build(name, options, seed, download)


def option_defaults(name: str) -> dict[str, Any]:
    """The dataset's own options with their default values (`seed` is not among them)."""
    if name not in DATASETS:
        raise UserError(
            f"unknown dataset {name!r}; the datasets are {', '.join(sorted(DATASETS))}"
            f"{nearest(name, DATASETS)}"
        )
    parameters = inspect.signature(DATASETS[name]).parameters
    return {key: value.default for key, value in parameters.items() if key != "seed"}


def _checked(key: str, value: Any, default: Any) -> Any:
    """`value` if it has its default's type; no number is negative, but for a default of -1."""
    if isinstance(value, bool) != isinstance(default, bool) or not isinstance(value, type(default)):
        raise UserError(f"data.{key} is {value!r}, it must be of type {type(default).__name__}")
    if isinstance(value, int | float) and not value >= min(0, default):
        must = "not be negative" if default >= 0 else f"be at least {default}"
        raise UserError(f"data.{key} is {value}, it must {must}")
    return value
