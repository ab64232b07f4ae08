"""Reads config files, and checks a config as a whole: one line says what is wrong."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmvae_jax import data, evaluation, models
from mmvae_jax.data import (
    array_kinds,
    arrays,
    celeba,
    class_pairs,
    cub,
    flowers,
    flowers_files,
    labels,
    missingness,
    photographs,
)
from mmvae_jax.evaluation import likelihood_sets
from mmvae_jax.rules import Rule, choice, fail, integer, of_type, real
from mmvae_jax.types import UserError, nearest

_SEED = integer(0, 2**32 - 1)


def _fraction(key: str, value: Any) -> None:
    real(0.0)(key, value)
    if value > 1:
        fail(key, value, "a number from 0 to 1")


def _batch_mix(key: str, value: Any) -> None:
    """{group: rows in a batch}, or "" for none; which groups there are is known with the data."""
    if value == "":
        return
    of_type(Mapping)(key, value)
    for group, count in value.items():
        integer(0)(f"{key}.{group}", count)


def _metrics(key: str, value: Any) -> None:
    """Names of metrics, separated by commas."""
    of_type(str)(key, value)
    evaluation.chosen(value)


def _likelihood_sets(key: str, value: Any) -> None:
    """Sets of modalities; which there are is known with the data."""
    of_type(str)(key, value)
    likelihood_sets.check(value)


def _file(key: str, value: Any) -> None:
    """The name of a file that is there, or "" for none."""
    of_type(str)(key, value)
    if value and not Path(value).expanduser().is_file():
        fail(key, value, "the name of a file that is there, or empty")


# The sections that no model and no data set changes.
RULES: dict[str, Rule] = {
    "seed": _SEED,
    "batch_size": integer(1),
    "num_epochs": integer(1),
    "optimizer.name": choice("adam", "adamw", "amsgrad", "sgd"),
    "optimizer.learning_rate": real(0.0, above=True),
    "optimizer.schedule": choice("constant", "cosine", "linear"),
    "optimizer.warmup_steps": integer(0),
    "optimizer.clip_norm": real(0.0),
    "optimizer.weight_decay": real(0.0),
    "training.log_every": integer(1),
    "training.checkpoint_every": integer(0),
    "training.steps_per_epoch": integer(0),
    "training.batch_mix": _batch_mix,
    "training.data": choice("auto", "device", "host"),
    "training.augment.flip": of_type(str),
    "training.augment.flip_together": of_type(bool),
    "training.augment.shift": integer(0),
    "evaluation.seed": _SEED,
    "evaluation.batch_size": integer(1),
    "evaluation.split": choice("test", "validation"),
    "evaluation.metrics": _metrics,
    "evaluation.num_examples": integer(0),
    "evaluation.bound_samples": integer(1),
    "evaluation.likelihood_samples": integer(1),
    "evaluation.likelihood_examples": integer(0),
    "evaluation.likelihood_sets": _likelihood_sets,
    "evaluation.coherence_subsets": integer(0),
    "evaluation.robustness_examples": integer(0),
    "evaluation.quality_examples": integer(0),
    "evaluation.inception": of_type(str),
    "evaluation.word_vectors": _file,
    "evaluation.sentence_vectors": choice("weighted", "mean"),
    "evaluation.probe_train": integer(0),
    "evaluation.probe_codes": choice("samples", "means"),
    "evaluation.classifier_epochs": integer(0),
    "evaluation.cache_dir": of_type(str),
    "evaluation.figures": of_type(bool),
}

# Of every data set; its own options are those of its builder.
DATA_RULES: dict[str, Rule] = {
    "data.name": choice(*sorted(data.DATASETS)),
    "data.dir": of_type(str),
    "data.download": of_type(bool),
    "data.seed": _SEED,
    "data.partial": choice(*missingness.POLICIES),
    "data.observed": _fraction,
    "data.rest": choice(*missingness.RESTS),
    "data.always": of_type(str),
    "data.labels_per_class": integer(0),
}
_DATA_OPTION_RULES: dict[str, Rule] = {
    "num_modalities": integer(2),
    "level": integer(1, 6),
    "binarize": choice(*labels.BINARIZE),
    "max_d": integer(1),
    "dm": integer(1),
    "order": choice(*class_pairs.ORDERS),
    "attributes": choice(*celeba.LAYOUTS),
    "crop": choice(*celeba.CROPS),
    "images": choice(*photographs.KINDS),
    "unscored": choice(*cub.UNSCORED),
    "captions": choice(*flowers.CAPTIONS),
    "split": choice(*flowers_files.SPLITTINGS),
    "nan": choice(*array_kinds.NAN),
    "count_likelihood": choice(*arrays.COUNT_LIKELIHOODS),
    "validation_fraction": real(0.0, below=1.0),
    "test_fraction": real(0.0, below=1.0),
}

# A built-in data set reads no folder; the others have defaults, and older runs do not have them.
_OPTIONAL = (
    "data.dir",
    "data.download",
    "data.split",
    "data.cache_dir",
    "training.data",
    "training.augment.flip",
    "training.augment.flip_together",
    "training.augment.shift",
    "evaluation.inception",
    "evaluation.likelihood_sets",
    "evaluation.robustness_examples",
    "evaluation.word_vectors",
    "evaluation.sentence_vectors",
    "evaluation.probe_codes",
)
# Keys that hold a mapping as one value.
_MAPPINGS = ("model.network_options", "model.modalities", "training.batch_mix")


def rules_for(model: str, dataset: str) -> dict[str, Rule]:
    """The rule of every key that a config of this model and this data set has."""
    options = {
        f"data.{key}": _DATA_OPTION_RULES.get(key) or _rule_by_default(default)
        for key, default in data.option_defaults(dataset).items()
    }
    return {**RULES, **options, **DATA_RULES, **models.model_rules(model)}


def _rule_by_default(default: Any) -> Rule:
    """Counts are not negative (-1 may stand for none), numbers finite, the rest of their type."""
    if isinstance(default, bool) or not isinstance(default, int | float):
        return of_type(type(default))
    return integer(min(0, default)) if isinstance(default, int) else real(0.0)


def read(text: str) -> dict[str, Any]:
    """The config of a file, as plain values: ``FILE.py`` or ``FILE.py:key=value,...``.

    Raises:
      UserError: the file or its argument string cannot be read.
    """
    path, _, argument = text.partition(":")
    spec = importlib.util.spec_from_file_location(f"config_{Path(path).stem}", path)
    if spec is None or spec.loader is None:
        raise UserError(f"--config={text}: {path} is not a Python file")
    try:
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return (module.get_config(argument) if argument else module.get_config()).to_dict()
    except (OSError, ImportError, SyntaxError, AttributeError, TypeError) as error:
        raise UserError(f"--config={text}: {' '.join(str(error).split())}") from error


def flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values; a mapping that is one value stays whole."""
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and name not in _MAPPINGS:
            yield from flat(value, f"{name}.")
        else:
            yield name, value


def changed(config: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """{dotted key: its default} of the values that differ, as JSON knows them."""
    before, now = (json.loads(json.dumps(dict(flat(values)))) for values in (defaults, config))
    return {key: before.get(key) for key in now if key not in before or before[key] != now[key]}


def validate(config: Mapping[str, Any]) -> None:
    """Checks every value of a config (a plain mapping) against its rule.

    Raises:
      UserError: one line with the key, its value, what is allowed and the nearest match.
    """
    values = dict(flat(config))
    for section in ("data", "model", "objective", "optimizer", "training", "evaluation"):
        if not isinstance(config.get(section), Mapping):
            raise UserError(f"config has no section {section!r}")
    for key, rule in (
        ("model.name", models.COMMON_RULES["model.name"]),
        ("data.name", DATA_RULES["data.name"]),
    ):
        if key not in values:
            raise UserError(f"config.{key} is not set")
        rule(key, values[key])
    rules = rules_for(values["model.name"], values["data.name"])
    for key, value in values.items():
        if key not in rules:
            raise UserError(unknown_key(key, rules))
        rules[key](key, value)
    for key in rules:
        if key not in values and key not in _OPTIONAL:
            raise UserError(f"config.{key} is not set")


def unknown_key(key: str, known: Mapping[str, Any]) -> str:
    """The line for a key that the config does not have."""
    for name in _MAPPINGS:
        if key.startswith(f"{name}.") and name in known:
            return (
                f"config.{key} is not there to be changed: set all of it, as in "
                f"\"--config.{name}={{'{key.removeprefix(f'{name}.').split('.')[0]}': ...}}\""
            )
    full = nearest(f"config.{key}", [f"config.{name}" for name in known])
    return f"config.{key}: there is no such key{full}"
