"""Do generated items look like real ones? Distances between their features and real items'.

The features are the last hidden layer of the data set's own classifiers, so that numbers compare
within one data set only: they are named ``classifier_...`` since they are not the FID and KID of
Inception-v3. Items are decoder means, images as they would be stored in 8 bits. Three sets per
target: given each modality (itself too, as MMVAE+ counts), from the prior, and, for scale,
training items. One shared sample and one private code from the prior per item.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmvae_jax.evaluation import distances
from mmvae_jax.evaluation.classifiers import Classifier, features, of_stored
from mmvae_jax.evaluation.coherence import Networks, split_judges
from mmvae_jax.evaluation.context import Context, first_rows, stream
from mmvae_jax.evaluation.decoding import decoder_mean, draws_given
from mmvae_jax.evaluation.result import NotApplicable, Result
from mmvae_jax.types import Array, Batch, ModalitySpec, Variables

_CODES = 4096  # of one target, decoded at once
_FEWEST = 50  # rows below which moments and clusters mean nothing
_BLOCK = 100  # rows of a block of the kernel distance

# {name of the result: (features, real features) -> (value, standard error)}
Distance = Callable[[np.ndarray, np.ndarray], tuple[float, float | None]]
DISTANCES: dict[str, tuple[Distance, str]] = {
    "classifier_frechet": (
        lambda x, y: (distances.frechet(x, y), None),
        "Frechet distance of classifier features (not FID), no error known, too large by what "
        "few rows add",
    ),
    "classifier_kid": (
        lambda x, y: distances.kernel_distance(x, y, _BLOCK),
        f"squared kernel distance of classifier features (not KID), unbiased, blocks of {_BLOCK}",
    ),
}


def classifier_quality(context: Context) -> dict[str, Result]:
    """``quality/classifier_frechet/...``, ``quality/classifier_kid/...`` and precision and recall.

    Of each distance ``conditional/matrix`` [M sources, M targets] (NaN where there is no
    classifier), ``conditional/mean`` (over sources, then targets), ``unconditional/mean`` and
    ``real/mean``, of training items; ``quality/classifier_precision/unconditional`` and
    ``quality/classifier_recall/unconditional``, means over targets.
    """
    judges = context.classifiers
    if not judges:
        raise NotApplicable("no modality has a kind of data that a classifier is trained on")
    rows = first_rows(context.rows, context.settings.quality_examples or len(context.rows))
    real = {name: _real(context, judge, rows, name) for name, judge in judges.items()}
    few = {name: len(x) for name, x in real.items() if len(x) < _FEWEST}
    for name, count in few.items():
        context.skipped[f"quality/classifier/{name}"] = f"{count} items are fewer than {_FEWEST}"
        del real[name]
    if not real:
        raise NotApplicable(f"no modality has {_FEWEST} {context.settings.split} items")
    judges = {name: judges[name] for name in real}
    generated, present = _conditional(context, judges, rows)
    prior = _unconditional(context, judges, len(rows))
    train = first_rows(context.dataset.splits["train"], len(rows))
    real_train = {name: _real(context, judge, train, name) for name, judge in judges.items()}

    results: dict[str, Result] = {}
    for kind, (distance, said) in DISTANCES.items():
        how = f"{said}; {len(rows)} {context.settings.split} rows; private codes from the prior"
        matrix, errors = np.full((2, len(context.names), len(context.names)), np.nan)
        for column, name in _columns(context, real):
            for row in range(len(context.names)):
                found = _distance(distance, generated[name][row][present[row]], real[name])
                matrix[row, column], errors[row, column] = found
        results[f"quality/{kind}/conditional/matrix"] = Result(
            values=matrix, standard_error=errors, n=len(rows), how=f"{how}; rows: given"
        )
        results |= _mean(f"quality/{kind}/conditional/mean", matrix, errors, len(rows), how)
        for label, sets in (("unconditional", prior), ("real", real_train)):
            found = np.array([_distance(distance, sets[name], real[name]) for name in real])
            what = (
                "prior samples"
                if label == "unconditional"
                else "training items, which the classifier has seen, for scale"
            )
            results |= _mean(
                f"quality/{kind}/{label}/mean", *found.T[:, None], len(rows), f"{what}; {how}"
            )
    return results | _precision_and_recall(context, real, prior)


def _precision_and_recall(
    context: Context, real: Mapping[str, np.ndarray], prior: Mapping[str, np.ndarray]
) -> dict[str, Result]:
    found = []
    for name, x in real.items():
        count = min(len(x), len(prior[name]))
        found.append(
            distances.precision_and_recall(
                x[:count], prior[name][:count], seed=context.settings.seed
            )
        )
    how = (
        "prior samples, classifier features, 20 clusters, 5 runs; mean over targets, no error known"
    )
    return {
        f"quality/classifier_{label}/unconditional": Result(
            value=float(np.mean(values)), n=min(len(x) for x in real.values()), how=f"{text}; {how}"
        )
        for label, text, values in zip(
            ("precision", "recall"), ("F_1/8", "F_8"), np.transpose(found), strict=True
        )
    }


def _mean(name: str, values: np.ndarray, errors: np.ndarray, n: int, how: str) -> dict[str, Result]:
    """The mean over sources, then targets, of [sources, targets]; {} where there is none."""
    there = np.isfinite(values)
    columns = there.any(0)
    if not columns.any():
        return {}
    share = there / np.maximum(there.sum(0), 1) / columns.sum()
    error = None
    if np.isfinite(errors[there]).all():
        # Sets of one target are compared with the same real items: not independent, so that the
        # errors of sources are added as they are.
        by_target = np.where(there, share * errors, 0.0).sum(0)
        error = float(np.sqrt((by_target**2).sum()))
    value = float(np.where(there, share * values, 0.0).sum())
    return {name: Result(value=value, standard_error=error, n=n, how=how)}


def _distance(distance: Distance, found: np.ndarray, real: np.ndarray) -> tuple[float, float]:
    """(distance, its error) of as many rows of both; NaN where there are too few, or no error."""
    count = min(len(found), len(real))
    if count < _FEWEST:
        return np.nan, np.nan
    value, error = distance(found[:count], real[:count])
    return value, np.nan if error is None else error


def _columns(context: Context, real: Mapping[str, Any]) -> list[tuple[int, str]]:
    return [(index, name) for index, name in enumerate(context.names) if name in real]


# --- features -------------------------------------------------------------------------------------


def _real(context: Context, judge: Classifier, split: Any, name: str) -> np.ndarray:
    """Features [N, F] of the items of a modality that are there."""
    x = split.x[name][np.asarray(split.present[name], bool)]
    if not len(x):
        return np.zeros((0, 1))
    return of_stored(features, judge, x, min(context.settings.batch_size, len(x)))


def _conditional(
    context: Context, judges: Mapping[str, Classifier], rows: Any
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """({target: features [M sources, N, F]}, bool [M sources, N] whether the source is there)."""
    networks, weights = split_judges(judges)
    size = max(1, min(context.settings.batch_size, _CODES // len(context.names)))
    seed = context.seed_for("quality/conditional")
    parts = [
        jax.device_get(
            _generated(
                context.model, networks, context.variables, weights, seed, np.uint32(i), batch
            )
        )
        for i, batch in enumerate(context.batches(rows, size))
    ]
    found = {
        name: np.concatenate([part[name] for part in parts], 1)[:, : len(rows)] for name in judges
    }
    return found, np.stack([np.asarray(rows.present[name], bool) for name in context.names])


@functools.partial(jax.jit, static_argnums=(0, 1))
def _generated(
    model: Any,
    networks: Networks,
    variables: Variables,
    weights: Mapping[str, Variables],
    seed: Array,
    index: Array,
    batch: Batch,
) -> dict[str, Array]:
    """{target: features [M sources, B, F]} of one batch."""
    key = stream(seed, index)
    sources = [(spec.name,) for spec in model.specs]
    drawn = draws_given(model, variables, key, batch, sources)
    shared = jnp.concatenate([code for code, _ in drawn])  # [M, B, D]
    found = {}
    for place, (name, network) in enumerate(networks):
        spec = next(spec for spec in model.specs if spec.name == name)
        private = None
        if name in drawn[0][1]:
            space = model.private_space(spec)
            rng = jax.random.fold_in(key, len(model.specs) + place)
            private = space.sample(space.prior(shared.shape[:2]), rng)
        shown = decoder_mean(model, variables, spec, shared, private)
        found[name] = features(network, weights[name], stored(spec, shown))
    return found


def _unconditional(
    context: Context, judges: Mapping[str, Classifier], count: int
) -> dict[str, np.ndarray]:
    """{target: features [N, F]} of ``count`` draws from the prior."""
    networks, weights = split_judges(judges)
    size = min(context.settings.batch_size, count)
    seed = context.seed_for("quality/unconditional")
    parts = [
        jax.device_get(
            _from_prior(
                context.model, networks, size, context.variables, weights, seed, np.uint32(i)
            )
        )
        for i in range(-(-count // size))
    ]
    return {name: np.concatenate([part[name] for part in parts])[:count] for name in judges}


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _from_prior(
    model: Any,
    networks: Networks,
    count: int,
    variables: Variables,
    weights: Mapping[str, Variables],
    seed: Array,
    index: Array,
) -> dict[str, Array]:
    """{target: features [count, F]} of draws from the prior."""
    generated = model.generate(variables, stream(seed, index), count)
    specs = {spec.name: spec for spec in model.specs}
    return {
        name: features(network, weights[name], stored(specs[name], generated[name]))
        for name, network in networks
    }


def stored(spec: ModalitySpec, x: Array) -> Array:
    """What is left of decoder means once they are stored: images have 256 levels in [0, 1]."""
    return jnp.round(jnp.clip(x, 0.0, 1.0) * 255.0) / 255.0 if spec.dtype == "uint8" else x
