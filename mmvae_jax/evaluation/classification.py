"""Is the label that a model decodes from the other modalities the true one?

As DMVAE and MVAE classify: the label is generated from what else is known of a row, without any
draw: the shared code is the mean of its posterior given the other modalities.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from mmvae_jax.evaluation import compiling
from mmvae_jax.evaluation.context import Context, labelled
from mmvae_jax.evaluation.result import NotApplicable, Result, mean
from mmvae_jax.types import Array, Batch, ModalitySpec, Variables


def classification_accuracy(context: Context) -> dict[str, Result]:
    """``classification/accuracy``: share of rows whose label is decoded right from the others.

    Every row counts that has a true class and another modality, whether or not its label is
    present: the label is not looked at. Where a posterior is a mixture, the class probabilities
    are those of its living strata, each decoded at its mean, on average.
    """
    context.require_labels()
    if not context.labels:
        raise NotApplicable("no modality is the class label")
    others = tuple(name for name in context.names if name not in context.labels)
    if not others:
        raise NotApplicable("there is no modality to decode the label from")
    spec = next(spec for spec in context.model.specs if spec.name == context.labels[0])
    parts = [
        _judged(context.model, spec, others, context.variables, batch)
        for batch in context.batches(context.rows)
    ]
    right = np.concatenate([np.asarray(hit) for hit, _ in parts])
    counted = np.concatenate([np.asarray(weight) for _, weight in parts]) > 0
    split = context.settings.split
    if not counted.any():
        raise NotApplicable(f"no {split} row has both a class and another modality")
    return {
        "classification/accuracy": mean(
            right[counted],
            f"argmax of {spec.name!r} decoded from the posterior mean given all other modalities; "
            f"error over {split} rows",
        )
    }


def class_probabilities(
    model: Any, spec: ModalitySpec, given: tuple[str, ...], variables: Variables, batch: Batch
) -> Array:
    """Probabilities [B, ..., C] of a modality given others: the mean over living strata.

    Of a label [B, C], of attributes [B, A], of a text [B, length, C].
    """
    posterior = model.encode(variables, batch, given)
    shared = model.shared.mean_code(posterior.shared)  # [S, B, D]
    private = None
    if spec.private_dim:
        private = model.private_space(spec).prior(shared.shape[:2])["loc"]
    decoded = model.decode_one(variables, spec, shared, private)
    probabilities = model.mean({spec.name: decoded})[spec.name]  # [S, B, ..., C]
    alive = posterior.strata.astype(jnp.float32)
    share = alive / jnp.maximum(alive.sum(0, keepdims=True), 1.0)
    return (share.reshape(share.shape + (1,) * (probabilities.ndim - 2)) * probabilities).sum(0)


@compiling.jit(static_argnums=(0, 1, 2))
def _judged(
    model: Any, spec: ModalitySpec, given: tuple[str, ...], variables: Variables, batch: Batch
) -> tuple[Array, Array]:
    """(bool [B] whether the class is right, float32 [B]) for one batch."""
    found = jnp.argmax(class_probabilities(model, spec, given, variables, batch), -1)
    some = jnp.stack([batch["present"][name] for name in given]).any(0)
    return found.astype(jnp.int32) == batch["label"], labelled(batch) * some.astype(jnp.float32)
