"""How much do draws differ that are generated from one and the same input?

The mean over pixels of the variance between K draws: a model whose private codes carry the style
draws many pictures of one digit, a model without them draws one and the same. It says nothing of
quality; read it beside the coherence.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from mmvae_jax.evaluation import compiling
from mmvae_jax.evaluation.coherence import error_of_mean
from mmvae_jax.evaluation.context import Context
from mmvae_jax.evaluation.decoding import means_given
from mmvae_jax.evaluation.result import NotApplicable, Result, unequal
from mmvae_jax.evaluation.sampling import some_rows
from mmvae_jax.types import Array, Batch

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
        "private codes from the prior, decoder means; error over "
        f"{context.settings.split} rows{unequal(counts)}"
    )
    results = {
        "diversity/conditional/matrix": Result(
            values=matrix,
            standard_error=errors,
            n=int(weight.any(0).sum()),
            how=f"{how}; rows: given",
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
    rows = some_rows(context.rows, _ROWS)
    found, counted = [], []
    for source in context.names:
        variance, weight = [], []
        for index, batch in enumerate(context.batches(rows)):
            variance.append(_variance_given(context, source, index, batch))
            weight.append(jnp.where(batch["present"][source], batch["weight"], 0.0))
        found.append(np.concatenate(variance, -1))
        counted.append(np.concatenate(weight))
    return np.stack(found), np.stack(counted).astype(np.float64)


def _variance_given(context: Context, source: str, index: int, batch: Batch) -> np.ndarray:
    """Variance between draws, mean over pixels [M targets, B]; NaN of what is no image."""
    drawn = []
    for draw in range(_DRAWS):
        seed = context.seed_for(f"diversity/conditional/{source}/{draw}")
        means = means_given(context.model, source, context.variables, seed, np.uint32(index), batch)
        drawn.append({spec.name: means[spec.name] for spec in context.model.specs if spec.is_image})
    found = jax.device_get(_variance(tuple(drawn)))
    nothing = np.full(len(batch["weight"]), np.nan)
    return np.stack([np.asarray(found.get(name, nothing), np.float64) for name in context.names])


@compiling.jit()
def _variance(drawn: tuple[dict[str, Array], ...]) -> dict[str, Array]:
    """Variance between images of the draws [B, H, W, C], mean over pixels: {name: [B]}."""
    stacked = jax.tree.map(lambda *images: jnp.stack(images), *drawn)
    return {name: images.var(0, ddof=1).mean((1, 2, 3)) for name, images in stacked.items()}
