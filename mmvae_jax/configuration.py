"""Checks a config as a whole before anything is built, and says in one line what is wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mmvae_jax import data, likelihoods, models, networks
from mmvae_jax.models import latents, mmvae_plus
from mmvae_jax.types import UserError, nearest

Rule = Callable[[str, Any], None]


def _fail(key: str, value: Any, must: str) -> None:
    raise UserError(f"config.{key} = {value!r}: must be {must}")


def integer(minimum: int, maximum: int | None = None) -> Rule:
    """An int from ``minimum`` to ``maximum``."""
    limit = f"at least {minimum}" if maximum is None else f"from {minimum} to {maximum}"

    def rule(key: str, value: Any) -> None:
        good = isinstance(value, int) and not isinstance(value, bool) and value >= minimum
        if not good or (maximum is not None and value > maximum):
            _fail(key, value, f"an integer {limit}" if maximum else f"an integer of {limit}")

    return rule


def real(minimum: float, *, above: bool = False, below: float = math.inf) -> Rule:
    """A finite number of at least, or where ``above`` greater than, ``minimum``; and ``below``."""
    must = f"a number {'above' if above else 'of at least'} {minimum:g}"
    must += f" and below {below:g}" if math.isfinite(below) else ""

    def rule(key: str, value: Any) -> None:
        good = isinstance(value, int | float) and not isinstance(value, bool)
        if not good or not minimum <= value < below or (above and value == minimum):
            _fail(key, value, must)

    return rule


def choice(*options: str) -> Rule:
    """One of ``options``; the message names the nearest."""

    def rule(key: str, value: Any) -> None:
        if value not in options:
            _fail(key, value, f"one of {', '.join(map(repr, options))}{nearest(value, options)}")

    return rule


def of_type(kind: type) -> Rule:
    """A value of that type."""

    def rule(key: str, value: Any) -> None:
        if not isinstance(value, kind):
            _fail(key, value, f"of type {kind.__name__}, not {type(value).__name__}")

    return rule


def _network_options(key: str, value: Any) -> None:
    """{family: {option: size or list of sizes}}, of the kinds that the family's OPTIONS have."""
    of_type(Mapping)(key, value)
    for family, options in value.items():
        choice(*networks.FAMILIES)(key, family)
        of_type(Mapping)(f"{key}.{family}", options)
        known = networks.FAMILIES[family].OPTIONS
        for name, size in options.items():
            choice(*known)(f"{key}.{family}", name)
            if isinstance(known[name], tuple) != isinstance(size, list | tuple):
                kind = "a list of sizes" if isinstance(known[name], tuple) else "one size"
                _fail(f"{key}.{family}.{name}", size, kind)
            for item in size if isinstance(size, list | tuple) else [size]:
                integer(1)(f"{key}.{family}.{name}", item)


_SEED = integer(0, 2**32 - 1)

RULES: dict[str, Rule] = {
    "seed": _SEED,
    "batch_size": integer(1),
    "num_epochs": integer(1),
    "data.name": choice(*sorted(data.DATASETS)),
    "data.dir": of_type(str),
    "data.seed": _SEED,
    "data.num_modalities": integer(2),
    "data.num_train": integer(0),
    "data.num_validation": integer(0),
    "data.num_test": integer(0),
    "data.backgrounds": of_type(str),
    "data.missing": real(0.0, below=1.0),
    "model.name": choice(*sorted(models.MODELS)),
    "model.shared_dim": integer(1),
    "model.private_dim": integer(0),
    "model.latent": choice(*latents.FAMILIES),
    "model.posterior_scale": choice(*latents.CONSTRAINTS),
    "model.auxiliary_scale": choice(*mmvae_plus.AUXILIARY_SCALES),
    "model.auxiliary_init": real(0.0, above=True),
    "model.separate_encoders": of_type(bool),
    "model.likelihood": choice(*sorted(likelihoods.LIKELIHOODS)),
    "model.likelihood_scale": real(0.0, above=True),
    "model.learn_likelihood_scale": of_type(bool),
    "model.network": choice(*sorted(networks.FAMILIES)),
    "model.network_options": _network_options,
    "model.compute_dtype": choice("float32", "bfloat16"),
    "model.remat": of_type(bool),
    "objective.num_samples": integer(1),
    "objective.beta": real(0.0),
    "objective.estimator": choice(*mmvae_plus.ESTIMATORS),
    "objective.bound": choice(*mmvae_plus.BOUNDS),
    "objective.posterior": choice(*mmvae_plus.POSTERIORS),
    "objective.cross_private": choice(*mmvae_plus.CROSS_PRIVATE),
    "optimizer.name": choice("adam", "adamw", "amsgrad", "sgd"),
    "optimizer.learning_rate": real(0.0, above=True),
    "optimizer.schedule": choice("constant", "cosine", "linear"),
    "optimizer.warmup_steps": integer(0),
    "optimizer.clip_norm": real(0.0),
    "optimizer.weight_decay": real(0.0),
    "training.log_every": integer(1),
    "training.checkpoint_every": integer(0),
    "evaluation.seed": _SEED,
    "evaluation.batch_size": integer(1),
    "evaluation.num_examples": integer(0),
    "evaluation.bound_samples": integer(1),
    "evaluation.probe_train": integer(0),
    "evaluation.classifier_epochs": integer(0),
    "evaluation.cache_dir": of_type(str),
    "evaluation.figures": of_type(bool),
}


def flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values; ``model.network_options`` is one value."""
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and name not in RULES:
            yield from flat(value, f"{name}.")
        else:
            yield name, value


def validate(config: Mapping[str, Any]) -> None:
    """Checks every value of a config (a plain mapping) against its rule.

    Raises:
      UserError: one line with the key, its value, what is allowed and the nearest match.
    """
    values = dict(flat(config))
    for section in ("data", "model", "objective", "optimizer", "training", "evaluation"):
        if not isinstance(config.get(section), Mapping):
            raise UserError(f"config has no section {section!r}")
    for key, value in values.items():
        if key not in RULES:
            raise UserError(unknown_key(key, RULES))
        RULES[key](key, value)
    own = data.option_defaults(values["data.name"]) if "data.name" in values else {}
    general = {"name", "dir", "seed", "missing"}
    for key in RULES:
        of_another_set = key.startswith("data.") and key[5:] not in general | own.keys()
        if key not in values and not of_another_set:
            raise UserError(f"config.{key} is not set")


def unknown_key(key: str, known: Mapping[str, Any]) -> str:
    """The line for a key that the config does not have."""
    full = nearest(f"config.{key}", [f"config.{name}" for name in known])
    return f"config.{key}: there is no such key{full}"
