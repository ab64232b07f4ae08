"""Coherence by where the two codes of a target come from (DMVAE, Lee & Pavlovic 2021, suppl.).

The shared code is drawn given the target itself (``self``), everything (``joint``, a product of
experts in the paper) or one other modality (``cross``); the private code from its posterior given
the target (``own``) or from the prior (``prior``). Where ``own`` private codes give the right class
and those from the prior do not, the class has gone to the private code: the shortcut of models
with private spaces.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmvae_jax import models
from mmvae_jax.evaluation import compiling
from mmvae_jax.evaluation.classifiers import classify
from mmvae_jax.evaluation.coherence import Networks, split_judges
from mmvae_jax.evaluation.context import Context, labelled, stream
from mmvae_jax.evaluation.decoding import decoder_mean, draws_given
from mmvae_jax.evaluation.result import NotApplicable, Result, mean_of_cells
from mmvae_jax.evaluation.sampling import some_rows
from mmvae_jax.types import Array, Batch, Variables

_ROWS = 500  # at most

PRIVATE = ("own", "prior")
SHARED = ("self", "joint", "cross")


def instance_coherence(context: Context) -> dict[str, Result]:
    """``coherence/instance/<self|joint|cross>/<own|prior>``: means over targets (and sources).

    Targets are the modalities with a private code and a judge. A row counts where the target and
    what is given are present, so that all six are of the same rows where nothing is missing.
    """
    targets = tuple(spec.name for spec in context.model.specs if spec.private_dim)
    if not targets:
        raise NotApplicable("no modality has a private code")
    if len(context.names) < 2:
        raise NotApplicable("the dataset has one modality only: all codes are its own")
    judges = {name: judge for name, judge in context.judges.items() if name in targets}
    if not judges:
        raise NotApplicable("no modality with a private code can be classified")
    hits, weight = _hits(context, judges)  # [2, M + 1, targets, N], [M + 1, targets, N]
    column = np.array([context.names.index(name) for name in judges])
    source = np.arange(len(context.names) + 1)[:, None]
    chosen = {
        "self": source == column,
        "joint": np.broadcast_to(source == len(context.names), (len(source), len(column))),
        "cross": (source != column) & (source < len(context.names)),
    }
    results = {}
    for shared in SHARED:
        cells = chosen[shared]
        for index, private in enumerate(PRIVATE):
            name = f"coherence/instance/{shared}/{private}"
            how = (
                f"shared code: {shared}, private code: {private}; mean of {int(cells.sum())} cells "
                f"of source and target, one sample, decoder means; error over "
                f"{context.settings.split} rows{context.judges_accuracy(judges)}"
            )
            try:
                results[name] = mean_of_cells(hits[index][cells], weight[cells], how)
            except NotApplicable as reason:
                context.skipped[name] = str(reason)
    return results


def _hits(context: Context, judges: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """(whether the class is right [2, M + 1, targets, N], weight [M + 1, targets, N])."""
    networks, weights = split_judges(judges)
    rows = some_rows(context.rows, _ROWS)
    codes = models.codes_at_once(context.model.specs)
    cells = len(PRIVATE) * (len(context.names) + 1)
    size = max(1, min(context.settings.batch_size, codes // cells))
    seed = context.seed_for("coherence/instance")
    parts = [
        _judged(context.model, networks, context.variables, weights, seed, np.uint32(i), batch)
        for i, batch in enumerate(context.batches(rows, size))
    ]
    right, weight = (
        np.concatenate([np.asarray(part[field], np.float64) for part in parts], -1)
        for field in (0, 1)
    )
    return right, weight


@compiling.jit(static_argnums=(0, 1))
def _judged(
    model: Any,
    networks: Networks,
    variables: Variables,
    weights: Mapping[str, Variables],
    seed: Array,
    index: Array,
    batch: Batch,
) -> tuple[Array, Array]:
    """(bool [2, M + 1, judges, B], float32 [M + 1, judges, B]): one batch, the last source all."""
    key = stream(seed, index)
    sources = (*((spec.name,) for spec in model.specs), tuple(spec.name for spec in model.specs))
    drawn = draws_given(model, variables, key, batch, sources)
    shared = jnp.concatenate([code for code, _ in drawn])  # [M + 1, B, D]
    inferred = drawn[-1][1]
    here = jnp.stack([batch["present"][spec.name] for spec in model.specs])
    here = jnp.concatenate([here, here.any(0, keepdims=True)]).astype(jnp.float32)
    hits, counted = [], []
    for place, (name, network) in enumerate(networks):
        spec = next(spec for spec in model.specs if spec.name == name)
        space = model.private_space(spec)
        prior = space.sample(
            space.prior(shared.shape[1:2]), jax.random.fold_in(key, len(sources) + place)
        )
        private = jnp.stack([inferred[name][0], prior])[:, None]  # [2, 1, B, W]
        private = jnp.broadcast_to(private, (2, len(sources), *private.shape[2:]))
        twice = jnp.broadcast_to(shared[None], (2, *shared.shape))
        shown = decoder_mean(model, variables, spec, twice, private)
        hits.append(classify(network, weights[name], shown) == batch["label"][None, None])
        there = batch["present"][name].astype(jnp.float32) * labelled(batch)
        counted.append(here * there[None])
    return jnp.stack(hits, 2), jnp.stack(counted, 1)
