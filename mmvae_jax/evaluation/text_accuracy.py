"""Is the text that a model decodes from the other modalities the true one?

As MVAE reads the digits off a canvas of MultiMNIST (Wu & Goodman 2018, suppl., table 5). A text is
decoded as `classification` decodes the label, at the posterior mean, the most probable token of
every position, given what is not a text itself.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from mmvae_jax.evaluation import compiling
from mmvae_jax.evaluation.classification import class_probabilities
from mmvae_jax.evaluation.context import Context
from mmvae_jax.evaluation.result import NotApplicable, Result, mean
from mmvae_jax.types import Array, Batch, ModalitySpec, Variables

_NAME = "classification/text"


def text_accuracy(context: Context) -> dict[str, Result]:
    """``classification/text/exact/<name>`` and ``classification/text/tokens/<name>``.

    Share of rows all of whose tokens are right, and the mean over rows of the share of tokens that
    are. A text counts up to its end, the end itself included, without tokens that the likelihood
    passes over. A row counts that has the text, not empty, and something that is given.
    """
    specs = tuple(spec for spec in context.model.specs if spec.is_tokens)
    if not specs:
        raise NotApplicable("no modality is a text")
    given = tuple(spec.name for spec in context.model.specs if spec not in specs)
    if not given:
        raise NotApplicable("there is nothing but texts: nothing to decode them from")
    rows, split = context.rows, context.settings.split
    some = np.stack([np.asarray(rows.present[name], bool) for name in given]).any(0)
    how = (
        f"most probable tokens decoded from the posterior mean given {', '.join(given)}; "
        f"error over {split} rows"
    )
    results = {}
    for spec in specs:
        found = [
            np.asarray(_tokens(context.model, spec, given, context.variables, batch))
            for batch in context.batches(rows)
        ]
        truth = rows.x[spec.name][np.arange(len(rows))]
        scored = ~spec.behind_end(truth) & (truth != spec.unscored_id)
        right = (np.concatenate(found)[: len(rows)] == truth) & scored
        counted = np.asarray(rows.present[spec.name], bool) & some & scored.any(-1)
        if not counted.any():
            context.skipped[f"{_NAME}/{spec.name}"] = f"no {split} row has it and anything given"
            continue
        right, length = right[counted].sum(-1), scored[counted].sum(-1)
        for name, values, said in (
            ("exact", right == length, "texts that are right as a whole"),
            ("tokens", right / length, "share of a text's tokens that are right"),
        ):
            results[f"{_NAME}/{name}/{spec.name}"] = mean(values, f"{said}; {how}")
    return results


@compiling.jit(static_argnums=(0, 1, 2))
def _tokens(
    model: Any, spec: ModalitySpec, given: tuple[str, ...], variables: Variables, batch: Batch
) -> Array:
    """The most probable tokens [B, length]."""
    return jnp.argmax(class_probabilities(model, spec, given, variables, batch), -1)
