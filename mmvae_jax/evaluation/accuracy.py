"""How good the judges are: accuracy of each trained classifier on the real items.

A label modality is judged by itself; its accuracy would be 1 by definition and enters no mean.
"""

from __future__ import annotations

import math

import numpy as np

from mmvae_jax.evaluation.classifiers import classify_all, items_of, labelled_rows
from mmvae_jax.evaluation.context import Context
from mmvae_jax.evaluation.result import NotApplicable, Result, mean


def classifier_accuracy(context: Context) -> dict[str, Result]:
    """``classifier/accuracy/<name>`` over the labelled rows, and their mean."""
    if not context.classifiers:
        raise NotApplicable("no modality has a kind of data that a classifier is trained on")
    split = context.settings.split
    results: dict[str, Result] = {}
    for name, classifier in context.classifiers.items():
        rows = labelled_rows(context.rows, name)
        if not len(rows):
            context.skipped[f"classifier/accuracy/{name}"] = (
                f"no {split} row has both it and a label"
            )
            continue
        size = min(context.settings.batch_size, len(rows))
        right = []
        for part in np.split(rows, range(size, len(rows), size)):
            x, label = items_of(context.rows, name, part)
            right.append(classify_all(classifier, x, size) == label)
        results[f"classifier/accuracy/{name}"] = mean(
            np.concatenate(right), f"real {split} items; error over {split} rows"
        )
    errors = [result.standard_error or 0.0 for result in results.values()]
    if results:
        results["classifier/accuracy/mean"] = Result(
            value=float(np.mean([result.value for result in results.values()])),
            standard_error=math.hypot(*errors) / len(errors),
            n=len(errors),
            how="mean over modalities with a classifier; error as if these were independent",
        )
    return results
