"""FID and KID: distances between the Inception-v3 features of generated images and of real ones.

The recipe of MMVAE+ (Palumbo et al. 2023): decoder means in 8 bits, resized to 299x299, pool3
features, each target given every modality, itself too. Its code leaves out the rows that fill no
batch of 128 (it measures on 9,984 of 10,000), here all of them count. Needs weights that nothing
here can download: ``config.evaluation.inception``, see docs/evaluation.md.
"""

from __future__ import annotations

import functools

from mmvae_jax.evaluation.context import Context
from mmvae_jax.evaluation.inception import pool_features
from mmvae_jax.evaluation.quality import FeatureSpace, measured
from mmvae_jax.evaluation.result import NotApplicable, Result


def inception_quality(context: Context) -> dict[str, Result]:
    """``quality/fid/...``, ``quality/kid/...`` and precision and recall: see `quality.measured`.

    Of images with 1 or 3 channels; ``quality/inception_precision/unconditional`` and
    ``quality/inception_recall/unconditional``.
    """
    if not context.settings.inception:
        raise NotApplicable(
            "config.evaluation.inception names no weights; docs/evaluation.md says how to make them"
        )
    images = [spec for spec in context.model.specs if spec.is_grid]
    names = [spec.name for spec in images if spec.is_image and spec.dtype == "uint8"]
    for spec in images:
        if spec.name not in names:
            context.skipped[f"quality/inception/{spec.name}"] = (
                f"Inception-v3 sees 8-bit images with 1 or 3 channels, not {list(spec.shape)}"
            )
    if not names:
        raise NotApplicable("no modality is an image with 1 or 3 channels")
    inception = context.inception
    space = FeatureSpace(
        label="quality/inception",
        features=dict.fromkeys(names, functools.partial(pool_features, inception)),
        names={
            "frechet": "fid",
            "kernel": "kid",
            "precision": "inception_precision",
            "recall": "inception_recall",
        },
        said=f"Inception-v3 pool3 features (weights: {inception.origin})",
        notes={"frechet": ", FID", "kernel": ", KID"},
        real="training items, for scale",
    )
    return measured(context, space)
