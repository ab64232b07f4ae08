"""Are attributes that a model decodes from the other modalities the true ones?

As DMVAE does for faces: accuracy and F1 of every attribute, averaged. Attributes are decoded as
`classification` decodes the label, at the posterior mean, given what is not an attribute itself.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmvae_jax.evaluation import compiling
from mmvae_jax.evaluation.classification import class_probabilities
from mmvae_jax.evaluation.context import Context
from mmvae_jax.evaluation.result import NotApplicable, Result, mean_of_cells
from mmvae_jax.types import Array, Batch, ModalitySpec, Variables


def attribute_classification(context: Context) -> dict[str, Result]:
    """``classification/attributes/accuracy`` and ``.../f1``, means over attributes.

    ``.../accuracy_each`` and ``.../f1_each`` [A] have one number per attribute of every modality
    of booleans, in the order of the modalities. A row counts for an attribute that it has, where
    something is given.
    """
    specs = tuple(s for s in context.model.specs if s.dtype == "bool" and not s.is_grid)
    if not specs:
        raise NotApplicable("no modality holds attributes")
    given = tuple(s.name for s in context.model.specs if s not in specs)
    if not given:
        raise NotApplicable("there is nothing but attributes: nothing to decode them from")
    parts = [
        jax.device_get(_decoded(context.model, specs, given, context.variables, batch))
        for batch in context.batches(context.rows)
    ]
    rows = context.rows
    found = np.concatenate([part for part, _ in parts])[: len(rows)]
    some = np.concatenate([part for _, part in parts])[: len(rows), None]
    truth = [np.asarray(rows.x[spec.name], bool).reshape(len(rows), -1) for spec in specs]
    here = [
        np.repeat(np.asarray(rows.present[spec.name], bool)[:, None], part.shape[1], 1)
        for spec, part in zip(specs, truth, strict=True)
    ]
    truth, counted = np.concatenate(truth, 1), np.concatenate(here, 1) & some
    if not counted.any():
        raise NotApplicable("no row has both an attribute and another modality")
    names = ", ".join(spec.name for spec in specs)
    how = (
        f"{names} decoded from the posterior mean given {', '.join(given)}; error over "
        f"{context.settings.split} rows"
    )
    right = truth == found
    with np.errstate(invalid="ignore", divide="ignore"):
        accuracy = (right & counted).sum(0) / counted.sum(0)
        spread = np.sqrt(accuracy * (1 - accuracy) / counted.sum(0))
    scores, f1, error = f1_scores(truth & counted, found & counted)
    n = int(counted.any(1).sum())
    results = {
        "classification/attributes/accuracy": mean_of_cells(right.T, counted.T, f"mean; {how}"),
        "classification/attributes/accuracy_each": Result(
            values=accuracy, standard_error=spread, n=n, how=how
        ),
        "classification/attributes/f1_each": Result(values=scores, n=n, how=how),
    }
    if np.isnan(scores).all():
        context.skipped["classification/attributes/f1"] = "no attribute is true, or found to be"
    else:
        results["classification/attributes/f1"] = Result(
            value=f1, standard_error=error, n=n, how=f"mean; {how}"
        )
    return results


def f1_scores(truth: np.ndarray, found: np.ndarray) -> tuple[np.ndarray, float, float]:
    """F1 of every attribute [A], their mean, and its standard error over rows.

    F1 = 2 TP / (true + found) is a ratio of sums over rows: the error is to first order in the
    rows' deviations from it. truth, found: bool [N, A]; attributes that are nowhere true nor found
    have no F1 (NaN) and enter no mean.
    """
    hits = 2.0 * (truth & found)
    counts = truth.astype(np.float64) + found
    total = counts.sum(0)
    there = total > 0
    scores = np.where(there, hits.sum(0) / np.maximum(total, 1.0), np.nan)
    if not there.any():
        return scores, np.nan, np.nan
    deviation = (hits - scores * counts)[:, there] / total[there]
    error = np.sqrt((deviation.mean(1) ** 2).sum())
    return scores, float(scores[there].mean()), float(error)


@compiling.jit(static_argnums=(0, 1, 2))
def _decoded(
    model: Any,
    specs: tuple[ModalitySpec, ...],
    given: tuple[str, ...],
    variables: Variables,
    batch: Batch,
) -> tuple[Array, Array]:
    """(bool [B, A] which attributes are the more probable ones, bool [B] something is given)."""
    found = [
        class_probabilities(model, spec, given, variables, batch).reshape(
            batch["weight"].shape[0], -1
        )
        for spec in specs
    ]
    some = jnp.stack([batch["present"][name] for name in given]).any(0)
    return jnp.concatenate(found, -1) > 0.5, some
