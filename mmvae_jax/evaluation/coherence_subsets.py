"""Coherence given several modalities: every subset of them to every absent one.

One sample of the shared code from the posterior given the subset, private codes from the prior,
decoder means: what ``coherence/conditional`` does given one. All subsets are one program, which
encodes a batch once and decodes each target once for all the subsets that lack it.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from mmvae_jax import models
from mmvae_jax.evaluation import compiling
from mmvae_jax.evaluation.classifiers import classify
from mmvae_jax.evaluation.coherence import Networks, by_class, split_judges
from mmvae_jax.evaluation.context import Context, labelled, stream
from mmvae_jax.evaluation.decoding import decoder_mean, draws_given
from mmvae_jax.evaluation.result import NotApplicable, Result, mean_of_cells, unequal
from mmvae_jax.evaluation.sampling import some_rows
from mmvae_jax.types import Array, Batch, Variables

_MOST_MODALITIES = 7  # with 120 subsets; their number doubles with every further one

Subsets = tuple[tuple[str, ...], ...]


def subset_coherence(context: Context) -> dict[str, Result]:
    """``coherence/given/<k>``: the mean over subsets of k given modalities and absent targets.

    For k from 2 on (given one: ``coherence/conditional/mean``). ``coherence/given/matrix`` has a
    row per subset and a column per target, NaN where the target is given or has no judge, and
    ``coherence/given/by_class`` a row per k and a column per class. A row of the data counts for a
    subset where all of it is present.
    """
    names, split = context.names, context.settings.split
    if not 3 <= len(names) <= _MOST_MODALITIES:
        raise NotApplicable(f"the dataset has {len(names)} modalities, not 3 to {_MOST_MODALITIES}")
    sizes = range(2, len(names))
    subsets = tuple(given for size in sizes for given in itertools.combinations(names, size))
    hits, weight = _hits(context, subsets)
    counts = weight.sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        matrix = (hits * weight).sum(-1) / counts
        errors = np.where(counts > 1, np.sqrt(matrix * (1 - matrix) / counts), np.nan)
    how = (
        "one sample from each subset of the given ones, private codes from the prior, decoder "
        f"means; error over {split} rows{unequal(counts)}{context.judges_accuracy(names)}"
    )
    listed = ", ".join("+".join(given) for given in subsets)
    results = {
        "coherence/given/matrix": Result(
            values=matrix,
            standard_error=errors,
            n=int((weight > 0).any((0, 1)).sum()),
            how=f"{how}; rows, given: {listed}",
        )
    }
    classes = []
    for size in sizes:
        cells = np.array([len(given) == size for given in subsets])[:, None] & np.isfinite(matrix)
        said = f"mean of {int(cells.sum())} pairs, {size} given; {how}"
        try:
            results[f"coherence/given/{size}"] = mean_of_cells(hits[cells], weight[cells], said)
        except NotApplicable as reason:
            context.skipped[f"coherence/given/{size}"] = str(reason)
        classes.append(by_class(hits[cells], weight[cells], context, how))
    results["coherence/given/by_class"] = Result(
        values=np.stack([result.values for result in classes]),
        standard_error=np.stack([result.standard_error for result in classes]),
        n=results["coherence/given/matrix"].n,
        how=f"{how}; rows: 2 to {len(names) - 1} given",
    )
    return results


def _hits(context: Context, subsets: Subsets) -> tuple[np.ndarray, np.ndarray]:
    """(whether the class is right, weight), both [subsets, M targets, N]."""
    networks, weights = split_judges(context.judges)
    rows = some_rows(context.rows, context.settings.coherence_subsets or len(context.rows))
    codes = models.codes_at_once(context.model.specs)
    size = max(1, min(context.settings.batch_size, codes // len(subsets)))
    seed = context.seed_for("coherence/given")
    parts = [
        _judged(
            context.model, networks, subsets, context.variables, weights, seed, np.uint32(i), batch
        )
        for i, batch in enumerate(context.batches(rows, size))
    ]
    hits, weight = (
        np.concatenate([np.asarray(part[field], np.float64) for part in parts], -1)[
            ..., : len(rows)
        ]
        for field in (0, 1)
    )
    found = np.zeros((len(subsets), len(context.names), len(rows)))
    counted = np.zeros_like(found)
    columns = [context.names.index(name) for name, _ in networks]
    found[:, columns] = hits
    counted[:, columns] = weight
    return found, counted


@compiling.jit(static_argnums=(0, 1, 2))
def _judged(
    model: Any,
    networks: Networks,
    subsets: Subsets,
    variables: Variables,
    weights: Mapping[str, Variables],
    seed: Array,
    index: Array,
    batch: Batch,
) -> tuple[Array, Array]:
    """(float32, whether the class is right; float32, whether that counts) [subsets, judges, B]."""
    key = stream(seed, index)
    drawn = draws_given(model, variables, key, batch, subsets)
    here = jnp.stack(
        [jnp.stack([batch["present"][name] for name in given]).all(0) for given in subsets]
    )
    rows = here.astype(jnp.float32) * labelled(batch)[None]
    hits, counted = [], []
    for name, network in networks:
        spec = next(spec for spec in model.specs if spec.name == name)
        absent = np.array([name not in given for given in subsets])
        codes = [drawn[place] for place in np.flatnonzero(absent)]
        shared = jnp.concatenate([shared for shared, _ in codes])
        private = None
        if name in codes[0][1]:
            private = jnp.concatenate([private[name] for _, private in codes])
        shown = decoder_mean(model, variables, spec, shared, private)
        right = classify(network, weights[name], shown) == batch["label"][None]
        places = np.flatnonzero(absent)
        hits.append(jnp.zeros_like(rows).at[places].set(right.astype(jnp.float32)))
        counted.append(rows * jnp.asarray(absent, jnp.float32)[:, None])
    return jnp.stack(hits, 1), jnp.stack(counted, 1)
