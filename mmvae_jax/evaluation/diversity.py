"""How much do draws differ that are generated from one and the same input?

The mean over pixels of the variance between K draws: a model whose private codes carry the style
draws many pictures of one digit, a model without them draws one and the same. It says nothing of
quality; read it beside the coherence.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmvae_jax.evaluation.coherence import error_of_mean
from mmvae_jax.evaluation.context import Context, first_rows, stream
from mmvae_jax.evaluation.decoding import codes_at_once
from mmvae_jax.evaluation.result import NotApplicable, Result
from mmvae_jax.types import Array, Batch, Variables

_DRAWS = 8  # K
_ROWS = 500  # at most


def conditional_diversity(context: Context) -> dict[str, Result]:
    """``diversity/conditional/matrix`` [M sources, M targets] and ``diversity/conditional/mean``.

    Squared intensity, where images are in [0, 1]. One sample of the shared code and one of every
    private code (from its prior) per draw, decoder means; the variance is the unbiased one, so its
    expectation does not depend on K. A row counts for a source where that modality is present.
    The columns of modalities that are not images are NaN; the mean is over pairs of two images.
    """
    images = [spec.is_image for spec in context.model.specs]
    if not any(images):
        raise NotApplicable("no modality is an image")
    variance, weight = _variances(context)
    counts = weight.sum(-1)  # [M]
    with np.errstate(invalid="ignore", divide="ignore"):
        share = (weight / counts[:, None])[:, None]  # [M, 1, N]
        matrix = (share * variance).sum(-1)
        spread = (share * (variance - matrix[..., None]) ** 2).sum(-1)
        errors = np.sqrt(spread / (counts[:, None] - 1))
    errors = np.where(np.isfinite(errors), errors, np.nan)
    how = (
        f"variance between {_DRAWS} draws for one input, mean over pixels, squared intensity; "
        f"private codes from the prior, decoder means; error over {context.settings.split} rows"
    )
    results = {
        "diversity/conditional/matrix": Result(
            values=matrix, standard_error=errors, n=int(counts.max()), how=f"{how}; rows: given"
        )
    }
    pairs = np.outer(images, images) & ~np.eye(len(images), dtype=bool) & np.isfinite(matrix)
    if not pairs.any():
        context.skipped["diversity/conditional/mean"] = "there is no pair of two images"
        return results
    results["diversity/conditional/mean"] = Result(
        value=float(matrix[pairs].mean()),
        standard_error=error_of_mean(variance, weight, matrix, pairs),
        n=int(weight.any(0).sum()),
        how=f"mean of {int(pairs.sum())} pairs of two images; {how}",
    )
    return results


def _variances(context: Context) -> tuple[np.ndarray, np.ndarray]:
    """(variance between draws [M sources, M targets, N], weight [M sources, N])."""
    rows = first_rows(context.rows, _ROWS)
    codes = codes_at_once(context.model.specs)
    size = max(1, min(context.settings.batch_size, codes // _DRAWS))
    found, counted = [], []
    for source in context.names:
        seed = context.seed_for(f"diversity/conditional/{source}")
        parts = [
            _variance(context.model, source, context.variables, seed, np.uint32(index), batch)
            for index, batch in enumerate(context.batches(rows, size))
        ]
        found.append(np.concatenate([np.asarray(variance) for variance, _ in parts], -1))
        counted.append(np.concatenate([np.asarray(weight) for _, weight in parts]))
    return np.stack(found).astype(np.float64), np.stack(counted).astype(np.float64)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _variance(
    model: Any, source: str, variables: Variables, seed: Array, index: Array, batch: Batch
) -> tuple[Array, Array]:
    """(variance between draws, mean over pixels [M targets, B]; weight [B]) of one batch."""
    drawn = model.conditional(
        variables, stream(seed, index), batch, (source,), _DRAWS, private="prior"
    )
    rows = [
        drawn[spec.name].var(0, ddof=1).mean((1, 2, 3))
        if spec.is_image
        else jnp.full(batch["weight"].shape, jnp.nan)
        for spec in model.specs
    ]
    return jnp.stack(rows), batch["weight"] * batch["present"][source].astype(jnp.float32)
