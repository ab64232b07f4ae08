"""Every metric by name, in the order in which they run. A new metric: one file, one line."""

from __future__ import annotations

from collections.abc import Callable

from mmvae_jax.evaluation import (
    accuracy,
    bound,
    classification,
    coherence,
    diversity,
    probes,
)
from mmvae_jax.evaluation.context import Context
from mmvae_jax.evaluation.result import Result

Metric = Callable[[Context], dict[str, Result]]

METRICS: dict[str, Metric] = {
    "classifier/accuracy": accuracy.classifier_accuracy,
    "coherence/conditional": coherence.conditional_coherence,
    "coherence/unconditional": coherence.unconditional_coherence,
    "diversity/conditional": diversity.conditional_diversity,
    "classification/accuracy": classification.classification_accuracy,
    "probe": probes.linear_probes,
    "bound/test": bound.test_bound,
}
