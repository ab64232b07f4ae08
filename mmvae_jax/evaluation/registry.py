"""Every metric by name, in the order in which they run. A new metric: one file, one line."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from mmvae_jax.evaluation import (
    accuracy,
    attributes,
    bound,
    captions,
    cca,
    classification,
    coherence,
    coherence_instances,
    coherence_subsets,
    diversity,
    importance,
    inception_quality,
    information,
    likelihood,
    mutual_information,
    probe_subsets,
    probes,
    quality,
    reconstruction,
    relatedness,
    retrieval,
    robustness,
    text_accuracy,
)
from mmvae_jax.evaluation.context import Context
from mmvae_jax.evaluation.result import Result
from mmvae_jax.types import UserError, nearest

Metric = Callable[[Context], dict[str, Result]]

METRICS: dict[str, Metric] = {
    "classifier/accuracy": accuracy.classifier_accuracy,
    "coherence/conditional": coherence.conditional_coherence,
    "coherence/unconditional": coherence.unconditional_coherence,
    "coherence/given": coherence_subsets.subset_coherence,
    "coherence/instance": coherence_instances.instance_coherence,
    "diversity/conditional": diversity.conditional_diversity,
    "quality/classifier": quality.classifier_quality,
    "quality/inception": inception_quality.inception_quality,
    "quality/reconstruction": reconstruction.reconstruction_quality,
    "mutual_information_score": mutual_information.mutual_information_score,
    "classification/accuracy": classification.classification_accuracy,
    "classification/attributes": attributes.attribute_classification,
    "classification/text": text_accuracy.text_accuracy,
    "captions": captions.caption_accuracy,
    "cca": cca.caption_correlation,
    "robustness": robustness.missing_modalities,
    "probe": probes.linear_probes,
    "probe/joint": probe_subsets.joint_probes,
    "probe/given": probe_subsets.subset_probes,
    "importance": importance.factor_importance,
    "retrieval": retrieval.retrieval,
    "relatedness": relatedness.relatedness,
    "information": information.information,
    "bound/test": bound.test_bound,
    "log_likelihood": likelihood.log_likelihoods,
}

ALL = "all"
# Measured where they are named, or with ALL: on a CPU each takes seconds or more to compile, and a
# first evaluation is to end within a minute.
ON_REQUEST = frozenset(
    {
        "cca",
        "coherence/given",
        "coherence/instance",
        "quality/classifier",
        "quality/inception",
        "quality/reconstruction",
        "probe/joint",
        "probe/given",
        "importance",
        "retrieval",
        "relatedness",
        "information",
        "robustness",
        "mutual_information_score",
        "log_likelihood",
    }
)

# The same whatever the seed: posteriors and means are computed, no code, row or judge is drawn.
NOT_DRAWN = frozenset(
    {
        "classification/accuracy",
        "classification/attributes",
        "classification/text",
        "retrieval",
        "relatedness",
    }
)


def measure(name: str, context: Context) -> dict[str, Result]:
    """The results of one metric of `METRICS`, with its name; what was drawn bears the seed.

    Raises:
      NotApplicable, NotImplementedError: it has no meaning here; the text says why.
    """
    found = METRICS[name](context)
    origin = {"metric": name} | ({} if name in NOT_DRAWN else {"seed": context.settings.seed})
    return {key: dataclasses.replace(result, **origin) for key, result in found.items()}


def chosen(names: str) -> dict[str, Metric]:
    """The metrics of those names, separated by commas.

    Where there are none, every metric but those `ON_REQUEST`; where the name is "all", these too.

    Raises:
      UserError: there is no metric of that name.
    """
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if wanted == [ALL]:
        return dict(METRICS)
    for name in wanted:
        if name not in METRICS:
            raise UserError(
                f"config.evaluation.metrics: there is no metric {name!r}, only "
                f"{', '.join(METRICS)}, or {ALL!r} alone{nearest(name, METRICS)}"
            )
    wanted = wanted or METRICS.keys() - ON_REQUEST
    return {name: metric for name, metric in METRICS.items() if name in wanted}
