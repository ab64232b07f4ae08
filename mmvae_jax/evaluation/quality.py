"""Do generated items look like real ones? Distances between their features and real items'.

The features are the last hidden layer of the data set's own classifiers, so that numbers compare
within one data set only (they are named ``classifier_...``, since they are not FID and KID), or
those of Inception-v3: see `inception_quality`. Items are decoder means, images as they would be
stored in 8 bits. Three sets per target: given each modality (itself too, as MMVAE+ counts), from
the prior, and, for scale, training items. One shared sample and one private code from the prior
per item.

Sets of different sizes do not compare. So every set has as many items as the modality that
the fewest rows have, of those that have enough; all sets of one target are compared with the same
real items.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmvae_jax.evaluation import compiling, distances
from mmvae_jax.evaluation.classifiers import features, in_batches, of_stored
from mmvae_jax.evaluation.context import Context, stream
from mmvae_jax.evaluation.decoding import decoder_mean, draws_given, means_of_prior
from mmvae_jax.evaluation.result import NotApplicable, Result
from mmvae_jax.evaluation.sampling import one_of_each, said_of_each, some, some_rows
from mmvae_jax.types import Array, Batch, ModalitySpec, Variables

_FEWEST = 50  # rows below which moments and clusters mean nothing
_BLOCK = 100  # rows, at least, of a block of the kernel distance

Codes = tuple[np.ndarray, dict[str, np.ndarray]]
# {kind: ((features, real features) -> (value, standard error), a few words)}
Distance = Callable[[np.ndarray, np.ndarray], tuple[float, float | None]]
DISTANCES: dict[str, tuple[Distance, str]] = {
    "frechet": (
        distances.frechet,
        "Frechet distance{}, too large by what few rows add, of which the error tells nothing",
    ),
    "kernel": (
        lambda x, y: distances.kernel_distance(x, y, _BLOCK),
        f"squared kernel distance{{}}, unbiased, blocks of {_BLOCK}",
    ),
}
_CURVE = "on the curve of 1,001 angles; 20 clusters, means of 10 runs of mini-batch k-means"
_CURVES = {"precision": f"largest F_1/8{{}} {_CURVE}", "recall": f"largest F_8{{}} {_CURVE}"}


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class FeatureSpace:
    """Features of one kind, and what distances between them are called.

    Attributes:
      label: of what is skipped: ``quality/<...>``.
      features: {modality: stored items [N, *shape], at least one -> features [N, F]}.
      names: what "frechet", "kernel", "precision" and "recall" are called in the results.
      said: a few words on the features.
      notes: {"frechet" or "kernel": words on this distance of such features}; may lack some.
      real: a few words on training items as seen by them.
      accuracy: of the judges whose features they are, as `Context.judges_accuracy` says it.
    """

    label: str
    features: Mapping[str, Callable[[np.ndarray], np.ndarray]]
    names: Mapping[str, str]
    said: str
    notes: Mapping[str, str]
    real: str
    accuracy: str = ""


def classifier_quality(context: Context) -> dict[str, Result]:
    """``quality/classifier_frechet/...``, ``quality/classifier_kid/...`` and precision and recall.

    See `measured`.
    """
    judges = context.classifiers
    if not judges:
        raise NotApplicable("no modality has a kind of data that a classifier is trained on")

    def of(judge: Any) -> Callable[[np.ndarray], np.ndarray]:
        return lambda x: of_stored(features, judge, x, min(context.settings.batch_size, len(x)))

    space = FeatureSpace(
        label="quality/classifier",
        features={name: of(judge) for name, judge in judges.items()},
        names={
            "frechet": "classifier_frechet",
            "kernel": "classifier_kid",
            "precision": "classifier_precision",
            "recall": "classifier_recall",
        },
        said="classifier features",
        notes={"frechet": " (not FID)", "kernel": " (not KID)"},
        real="training items, which the classifier has seen, for scale",
        accuracy=context.judges_accuracy(judges),
    )
    return measured(context, space)


def measured(context: Context, space: FeatureSpace) -> dict[str, Result]:
    """Distances of generated to real items, by ``quality/<name of the distance>/...``.

    Of each distance ``conditional/matrix`` [M sources, M targets] (NaN where there are no
    features or too few rows), ``conditional/mean`` (over sources, the target itself among them,
    then targets: as MMVAE+ counts), ``conditional/cross`` (the same without the target itself),
    ``unconditional/mean`` and ``real/mean``, of training items. The same of precision and recall,
    where that of prior samples is ``unconditional``.

    Rows: those that `Settings.quality_examples` lets in, but only one of each item: those of an
    image with ten captions are one real image, which no row adds to. With gaps every set has as
    many items as the rarest modality. One set of features is held beside those of the real items.

    Raises:
      NotApplicable: no modality has enough items.
    """
    rows = one_of_each(context.rows)
    rows = some_rows(rows, context.settings.quality_examples or len(rows))
    there = {name: np.flatnonzero(rows.present[name]) for name in context.names}
    for name in [name for name, found in there.items() if len(found) < _FEWEST]:
        reason = f"{len(there.pop(name))} items are fewer than {_FEWEST}"
        context.skipped[f"{space.label}/{name}"] = f"{reason}: nothing is compared, or given it"
    targets = tuple(name for name in space.features if name in there)
    if not targets:
        raise NotApplicable(f"no modality has {_FEWEST} {context.settings.split} items")
    count = min(len(found) for found in there.values())
    codes, prior = _codes(context, rows), _unconditional(context, targets, count)
    size = len(context.names)
    # Rows: given each modality, from the prior, training items.
    found = {kind: np.full((2, size + 2, size), np.nan) for kind in (*DISTANCES, *_CURVES)}
    for name in targets:
        column, real = context.names.index(name), some(there[name], count)
        known = space.features[name](rows.x[name][real])
        for row, items in enumerate(_compared(context, rows, name, real, codes, prior)):
            if items is None:
                continue
            seen = space.features[name](items)
            for kind, measurement in _measurements(seen, known, context.settings.seed):
                found[kind][:, row, column] = measurement
        if items is None:
            reason = f"there are fewer training items than the {count} of every set"
            context.skipped[f"{space.label}/real/{name}"] = reason
    results: dict[str, Result] = {}
    for kind, (values, errors) in found.items():
        results |= _results(context, space, kind, values, errors, count)
    return results


def _measurements(
    seen: np.ndarray, known: np.ndarray, seed: int
) -> Iterator[tuple[str, tuple[float, float]]]:
    """(kind, (value, standard error or NaN)) of features [N, F] of generated and of real items."""
    for kind, (distance, _) in DISTANCES.items():
        value, error = distance(seen, known)
        yield kind, (value, np.nan if error is None else error)
    yield from zip(_CURVES, distances.precision_and_recall(known, seen, seed=seed), strict=True)


def _results(
    context: Context,
    space: FeatureSpace,
    kind: str,
    values: np.ndarray,
    errors: np.ndarray,
    count: int,
) -> dict[str, Result]:
    """The results of one distance from ``values`` and ``errors`` [M + 2, M]."""
    size, name = len(context.names), f"quality/{space.names[kind]}"
    what = f" of {space.said}{space.notes.get(kind, '')}"
    said = DISTANCES[kind][1] if kind in DISTANCES else _CURVES[kind]
    how = (
        f"{said.format(what)}; {count} items of each set, {context.settings.split} rows"
        f"{said_of_each(context.rows)}; decoder means, private codes from the prior{space.accuracy}"
    )
    results = {
        f"{name}/conditional/matrix": Result(
            values=values[:size], standard_error=errors[:size], n=count, how=f"{how}; rows: given"
        )
    }
    given, of_given = values[:size], errors[:size]
    others = np.where(np.eye(size, dtype=bool), np.nan, given)
    prior = "unconditional" if kind in _CURVES else "unconditional/mean"
    for label, part, part_errors, over in (
        ("conditional/mean", given, of_given, "over sources, the target too, and targets"),
        ("conditional/cross", others, of_given, "over sources but the target, and targets"),
        (prior, values[[size]], errors[[size]], "prior samples, mean over targets"),
        ("real/mean", values[[size + 1]], errors[[size + 1]], space.real),
    ):
        results |= _mean(f"{name}/{label}", part, part_errors, count, f"{over}; {how}")
    return results


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


# --- items ----------------------------------------------------------------------------------------


def _compared(
    context: Context,
    rows: Any,
    name: str,
    real: np.ndarray,
    codes: Codes,
    prior: Mapping[str, np.ndarray],
) -> Iterator[np.ndarray | None]:
    """Items [N, *shape] of a target: given each modality in turn, prior samples, training items.

    N as of the row numbers ``real`` [N], the items that they are compared with; None where there
    are fewer.
    """
    spec = next(spec for spec in context.model.specs if spec.name == name)
    decode = functools.partial(_decoded, context.model, spec, context.variables)
    shared, private = codes
    size = min(context.settings.batch_size, len(real))
    for row, source in enumerate(context.names):
        there = np.flatnonzero(rows.present[source])
        if len(there) < len(real):
            yield None
            continue
        there = partners(real, there)
        own = private[name][row][there] if name in private else None
        yield in_batches(decode, (shared[row][there], own), size)
    yield prior[name]
    train = one_of_each(context.dataset.splits["train"])
    there = some(np.flatnonzero(train.present[name]), len(real))
    yield train.x[name][there] if len(there) == len(real) else None


def partners(real: np.ndarray, there: np.ndarray) -> np.ndarray:
    """So many of the rows ``there`` as are in ``real``, each row of both at its place in ``real``.

    So that a generated item and the real one of its row stand at the same place or are not both
    compared; the other places are filled with rows that are not in ``real``.

    Args:
      real: row numbers [N].
      there: row numbers, at least N.
    """
    own = np.isin(real, there)
    found = real.copy()
    found[~own] = some(np.setdiff1d(there, real), int((~own).sum()))
    return found


def _codes(context: Context, rows: Any) -> Codes:
    """One draw per row given each modality: shared [M sources, N, D], private [M sources, N, W]."""
    seed = context.seed_for("quality/conditional")
    parts = [
        jax.device_get(_drawn(context.model, context.variables, seed, np.uint32(i), batch))
        for i, batch in enumerate(context.batches(rows))
    ]
    return jax.tree.map(lambda *part: np.concatenate(part, 1)[:, : len(rows)], *parts)


@compiling.jit(static_argnums=0)
def _drawn(
    model: Any, variables: Variables, seed: Array, index: Array, batch: Batch
) -> tuple[Array, dict[str, Array]]:
    """Of one batch: a shared code given each modality, and of each target one from its prior."""
    key = stream(seed, index)
    sources = [(spec.name,) for spec in model.specs]
    drawn = draws_given(model, variables, key, batch, sources)
    shared = jnp.concatenate([code for code, _ in drawn])  # [M, B, D]
    private = {}
    for place, spec in enumerate(model.specs, len(sources)):
        if spec.name in drawn[0][1]:
            space, rng = model.private_space(spec), jax.random.fold_in(key, place)
            private[spec.name] = space.sample(space.prior(shared.shape[:2]), rng)
    return shared, private


@compiling.jit(static_argnums=(0, 1))
def _decoded(
    model: Any, spec: ModalitySpec, variables: Variables, codes: tuple[Array, Array | None]
) -> Array:
    """Items [B, *shape] of codes [B, D] and [B, W]."""
    return stored(spec, decoder_mean(model, variables, spec, *codes))


def _unconditional(context: Context, names: tuple[str, ...], count: int) -> dict[str, np.ndarray]:
    """{target: items [N, *shape]} of ``count`` draws from the prior."""
    specs = tuple(spec for spec in context.model.specs if spec.name in names)
    parts = [
        jax.device_get(_stored(specs, {name: drawn[name] for name in names}))
        for drawn in means_of_prior(context, "quality/unconditional", count)
    ]
    return {name: np.concatenate([part[name] for part in parts])[:count] for name in names}


@compiling.jit(static_argnums=0)
def _stored(specs: tuple[ModalitySpec, ...], means: dict[str, Array]) -> dict[str, Array]:
    return {spec.name: stored(spec, means[spec.name]) for spec in specs}


def stored(spec: ModalitySpec, x: Array) -> Array:
    """Decoder means as they would be stored: images in 256 levels, texts as their likeliest tokens.

    Vectors, and rates of counts, as they are.
    """
    if spec.is_tokens:
        return x.argmax(-1).astype(jnp.int32)
    if spec.dtype != "uint8":
        return x
    return jnp.round(jnp.clip(x, 0.0, 1.0) * 255.0).astype(jnp.uint8)
