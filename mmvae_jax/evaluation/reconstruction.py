"""How close do items come back? Squared error and structural similarity of reconstructions.

Given everything that is present of a row: one sample of the shared code, every private code from
its own posterior, decoder means.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmvae_jax.evaluation import compiling
from mmvae_jax.evaluation.context import Context, stream
from mmvae_jax.evaluation.result import NotApplicable, Result, mean
from mmvae_jax.types import Array, Batch, ModalitySpec, Variables

_WINDOW, _SIGMA = 11, 1.5  # of SSIM, in pixels
_C1, _C2 = 0.01**2, 0.03**2  # for intensities in [0, 1]


def reconstruction_quality(context: Context) -> dict[str, Result]:
    """``quality/mse/<name>`` of images and vectors, ``quality/ssim/<name>`` of images; means.

    MSE per number, in the units that models see (images in [0, 1]); its mean is over images only,
    since other modalities have other units. Rows in which the modality is present.
    """
    specs = [spec for spec in context.model.specs if not spec.num_classes and spec.dtype != "bool"]
    if not specs:
        raise NotApplicable("no modality holds intensities or measurements")
    names = tuple(spec.name for spec in specs)
    seed = context.seed_for("quality/reconstruction")
    parts = [
        jax.device_get(_measured(context.model, names, context.variables, seed, np.uint32(i), b))
        for i, b in enumerate(context.batches(context.rows))
    ]
    results: dict[str, Result] = {}
    how = (
        "reconstruction given everything, private codes from their posterior, one sample, decoder "
        f"means; error over {context.settings.split} rows"
    )
    for measure in ("mse", "ssim"):
        for spec in specs:
            label = f"quality/{measure}/{spec.name}"
            values = np.concatenate([part[measure, spec.name] for part in parts])
            values = values[: len(context.rows)]
            values = values[np.asarray(context.rows.present[spec.name], bool)]
            if not len(values):
                context.skipped[label] = f"no {context.settings.split} row has it"
            elif measure == "ssim" and not has_ssim(spec):
                if spec.is_grid:
                    context.skipped[label] = f"it is smaller than {_WINDOW}x{_WINDOW}"
            else:
                results[label] = mean(values, how)
        images = [results.get(f"quality/{measure}/{spec.name}") for spec in specs if spec.is_grid]
        images = [result for result in images if result]
        if images:
            results[f"quality/{measure}/mean"] = Result(
                value=float(np.mean([result.value for result in images])),
                standard_error=math.hypot(*[result.standard_error or 0.0 for result in images])
                / len(images),
                n=len(images),
                how="mean over images; error as if these were independent",
            )
    return results


def has_ssim(spec: ModalitySpec) -> bool:
    """Whether a modality is an image into which the window of SSIM fits."""
    return spec.is_grid and min(spec.shape[:2]) >= _WINDOW


def ssim(x: Array, y: Array) -> Array:
    """Mean structural similarity [...] of images [..., H, W, C] in [0, 1].

    Wang et al. (2004): an 11x11 Gaussian window of 1.5 pixels, only where it fits into the image,
    each channel by itself.
    """
    rows, columns = (jnp.asarray(_window(size)) for size in x.shape[-3:-1])

    def local(values: Array) -> Array:
        return jnp.einsum("ih,jw,...hwc->...ijc", rows, columns, values)

    mean_x, mean_y = local(x), local(y)
    var_x, var_y = local(x * x) - mean_x**2, local(y * y) - mean_y**2
    covariance = local(x * y) - mean_x * mean_y
    alike = (2 * mean_x * mean_y + _C1) * (2 * covariance + _C2)
    all_there = (mean_x**2 + mean_y**2 + _C1) * (var_x + var_y + _C2)
    return (alike / all_there).mean((-3, -2, -1))


def _window(size: int) -> np.ndarray:
    """The window at each of its places along an axis, [size - 10, size]."""
    offsets = np.arange(_WINDOW) - _WINDOW // 2
    weights = np.exp(-0.5 * (offsets / _SIGMA) ** 2)
    places = np.zeros((size - _WINDOW + 1, size), np.float32)
    for row in range(len(places)):
        places[row, row : row + _WINDOW] = weights / weights.sum()
    return places


@compiling.jit(static_argnums=(0, 1))
def _measured(
    model: Any,
    names: tuple[str, ...],
    variables: Variables,
    seed: Array,
    index: Array,
    batch: Batch,
) -> dict[tuple[str, str], Array]:
    """{("mse" or "ssim", modality): [B]} of one batch."""
    rebuilt = model.conditional(
        variables, stream(seed, index), batch, tuple(s.name for s in model.specs), 1, private="own"
    )
    found = {}
    for spec in model.specs:
        if spec.name not in names:
            continue
        x = batch["x"][spec.name].astype(jnp.float32)
        y = rebuilt[spec.name][0]
        found["mse", spec.name] = ((x - y) ** 2).reshape(x.shape[0], -1).mean(-1)
        blank = jnp.zeros(x.shape[0])
        found["ssim", spec.name] = ssim(x, jnp.clip(y, 0, 1)) if has_ssim(spec) else blank
    return found
