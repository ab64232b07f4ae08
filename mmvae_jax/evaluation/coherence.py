"""Does what is generated belong to the right class?

Conditional: modality n is generated from modality m (one sample of the shared code, private codes
from the prior, decoder mean) and classified; the class should be that of the row. Unconditional:
all modalities are generated from one prior sample; all classifiers should agree. A modality that
is the label itself takes part in both by the argmax of its generated probabilities.
The recipe of MMVAE+ (Palumbo et al. 2023), with an exact pass over the test rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from mmvae_jax.evaluation import compiling
from mmvae_jax.evaluation.classifiers import classify
from mmvae_jax.evaluation.context import Context, labelled
from mmvae_jax.evaluation.decoding import means_given, means_of_prior
from mmvae_jax.evaluation.result import NotApplicable, Result, mean, mean_of_cells, unequal
from mmvae_jax.types import Array, Variables

Networks = tuple[tuple[str, nn.Module], ...]


def conditional_coherence(context: Context) -> dict[str, Result]:
    """``coherence/conditional/matrix`` [M sources, M targets] and its off-diagonal mean.

    And that mean for the rows of each class, ``coherence/conditional/by_class`` [C].
    A row counts for a source where that modality is present. The column of a modality that has no
    judge is NaN. The diagonal is self-coherence and enters no mean.
    """
    names = context.names
    if len(names) < 2:
        raise NotApplicable("the dataset has one modality only: nothing to cross over to")
    hits, weight = _hits(context)
    counts = weight.sum(-1)  # [M]
    with np.errstate(invalid="ignore", divide="ignore"):
        matrix = (hits * weight[:, None]).sum(-1) / counts[:, None]
        errors = np.sqrt(matrix * (1 - matrix) / counts[:, None])
        errors = np.where(counts[:, None] > 1, errors, np.nan)
    how = (
        "one sample from each given modality, private codes from the prior, decoder means; "
        f"error over {context.settings.split} rows{unequal(counts)}"
        f"{context.judges_accuracy(names)}"
    )
    results = {
        "coherence/conditional/matrix": Result(
            values=matrix,
            standard_error=errors,
            n=int(weight.any(0).sum()),
            how=f"{how}; rows: given",
        )
    }
    pairs = ~np.eye(len(names), dtype=bool) & np.isfinite(matrix)
    if not pairs.any():
        context.skipped["coherence/conditional/mean"] = "no pair of modalities could be judged"
        return results
    results["coherence/conditional/mean"] = Result(
        value=float(matrix[pairs].mean()),
        standard_error=error_of_mean(hits, weight, matrix, pairs),
        n=int(weight.any(0).sum()),
        how=f"mean of {int(pairs.sum())} off-diagonal pairs; {how}",
    )
    weight = np.broadcast_to(weight[:, None], hits.shape)
    results["coherence/conditional/by_class"] = by_class(
        hits[pairs], weight[pairs], context, f"by class, off-diagonal pairs; {how}"
    )
    return results


def unconditional_coherence(context: Context) -> dict[str, Result]:
    """``coherence/unconditional``: share of prior samples on which all classifiers agree."""
    judges = context.judges
    if len(judges) < 2:
        raise NotApplicable("fewer than two modalities can be classified: nothing to agree on")
    networks, weights = split_judges(judges)
    count = len(context.rows)
    parts = [
        np.asarray(_classes(networks, weights, _judged(networks, drawn)))
        for drawn in means_of_prior(context, "coherence/unconditional", count)
    ]
    classes = np.concatenate(parts, -1)[:, :count]
    agree = (classes == classes[:1]).all(0)
    return {
        "coherence/unconditional": mean(
            agree,
            f"prior samples of which all {len(judges)} judges agree; error over samples"
            f"{context.judges_accuracy(judges)}",
        )
    }


def _hits(context: Context) -> tuple[np.ndarray, np.ndarray]:
    """(whether the class is right [M sources, M targets, N], weight [M sources, N])."""
    networks, weights = split_judges(context.judges)
    columns = [context.names.index(name) for name, _ in networks]
    hits, counted = [], []
    for source in context.names:
        seed = context.seed_for(f"coherence/conditional/{source}")
        right, weight = [], []
        for index, batch in enumerate(context.batches(context.rows)):
            asked = (context.model, source, context.variables, seed, np.uint32(index), batch)
            shown = _judged(networks, means_given(*asked))
            classes = np.asarray(_classes(networks, weights, shown))
            right.append(classes == np.asarray(batch["label"]))
            weight.append(jnp.where(batch["present"][source], labelled(batch), 0.0))
        row = np.full((len(context.names), sum(map(len, weight))), np.nan)
        row[columns] = np.concatenate(right, -1)
        hits.append(row)
        counted.append(np.concatenate(weight))
    return np.stack(hits), np.stack(counted).astype(np.float64)


def by_class(values: np.ndarray, weight: np.ndarray, context: Context, how: str) -> Result:
    """`mean_of_cells` of the rows of each class, [C]; NaN where a class has none.

    values, weight: [P, N], the first rows of the context's; the rest is padding.
    """
    label = np.asarray(context.rows.label[: values.shape[-1]])
    values, weight = values[:, : len(label)], weight[:, : len(label)]
    found, errors = np.full((2, context.dataset.num_classes), np.nan)
    for index in range(len(found)):
        try:
            result = mean_of_cells(values, weight * (label == index), how)
        except NotApplicable:
            continue
        found[index] = result.value
        if result.standard_error is not None:
            errors[index] = result.standard_error
    return Result(values=found, standard_error=errors, n=int(weight.any(0).sum()), how=how)


def error_of_mean(
    values: np.ndarray, weight: np.ndarray, matrix: np.ndarray, pairs: np.ndarray
) -> float | None:
    """Standard error over rows of the mean over pairs: the values of one row are not independent.

    None where there is only one row.

    Args:
      values: one number per source, target and row, [M, M, N].
      weight: [M, N], 0 for rows that do not count for a source.
      matrix: the weighted means over rows, [M, M].
      pairs: bool [M, M], which of them are averaged.
    """
    if weight.any(0).sum() < 2:
        return None
    share = weight / np.maximum(weight.sum(-1, keepdims=True), 1.0)  # [S, N]
    deviation = share[:, None] * (values - matrix[..., None])  # [S, M, N]
    return float(np.sqrt((deviation[pairs].mean(0) ** 2).sum()))


def split_judges(judges: Mapping[str, Any]) -> tuple[Networks, dict[str, Variables]]:
    """The static half and the arrays of the classifiers."""
    networks = tuple((name, judge.network) for name, judge in judges.items())
    return networks, {name: judge.variables for name, judge in judges.items()}


def _judged(networks: Networks, generated: Mapping[str, Array]) -> dict[str, Array]:
    """Those of the generated modalities that have a judge."""
    return {name: generated[name] for name, _ in networks}


@compiling.jit(static_argnums=0)
def _classes(
    networks: Networks, weights: Mapping[str, Variables], generated: Mapping[str, Array]
) -> Array:
    """Classes int32 [judges, B] of what is generated, {name: [B, *shape]}.

    Apart from the program that generates, which other metrics share and which takes far longer to
    compile.
    """
    return jnp.stack([classify(net, weights[name], generated[name]) for name, net in networks])
