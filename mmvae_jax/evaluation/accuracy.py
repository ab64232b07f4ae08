"""How good the judges are: accuracy of each trained classifier on the real items.

A label modality is judged by itself; its accuracy would be 1 by definition and enters no mean.
"""

from __future__ import annotations

import math

import numpy as np

from mmvae_jax.evaluation.context import Context
from mmvae_jax.evaluation.result import NotApplicable, Result, mean


def classifier_accuracy(context: Context) -> dict[str, Result]:
    """``classifier/accuracy/<name>`` over the labelled rows, and their mean."""
    if not context.classifiers:
        raise NotApplicable("no modality has a kind of data that a classifier is trained on")
    split = context.settings.split
    results: dict[str, Result] = {}
    for name in context.classifiers:
        if name not in context.judged_right:
            context.skipped[f"classifier/accuracy/{name}"] = (
                f"no {split} row has both it and a label"
            )
            continue
        results[f"classifier/accuracy/{name}"] = mean(
            context.judged_right[name], f"real {split} items; error over {split} rows"
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
