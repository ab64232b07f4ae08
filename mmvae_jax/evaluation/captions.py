"""Does the caption say what the image shows, and the image show what the caption says?

For data whose attributes are known and whose captions can be read back exactly
(`mmvae_jax.data.contract.Captions`). A caption is generated from the image alone and parsed; an
image is generated from the caption alone and read by a classifier of its attributes. Generation is
that of the coherence: one sample of the shared code, private codes from the prior, the most
probable token of every position, the mean of every pixel.
"""

from __future__ import annotations

import numpy as np

from mmvae_jax.evaluation import classifiers
from mmvae_jax.evaluation.context import Context
from mmvae_jax.evaluation.decoding import generated
from mmvae_jax.evaluation.result import NotApplicable, Result, mean


def caption_accuracy(context: Context) -> dict[str, Result]:
    """Shares of rows that are right, over all attributes and for each of them.

    ``captions/from_image/exact`` and ``captions/from_image/<attribute>``; ``.../sentences``, how
    many captions are sentences at all; ``captions/to_image/exact`` and so on; and what the judge
    of images says of real ones, ``captions/judge/exact`` and so on, which no image should be
    expected to exceed. A row counts where what is given is present.
    """
    known = context.dataset.captions
    if known is None:
        raise NotApplicable(
            f"the data set {context.dataset.name!r} has no captions that can be checked"
        )
    split, rows = context.settings.split, context.rows
    truth = rows.attributes
    shown = rows.present[known.image]
    results: dict[str, Result] = {}
    if shown.any():
        tokens = generated(context, "captions", (known.image,), known.caption)
        said = known.parse(tokens)[shown]
        how = f"a caption generated from the image alone, parsed; error over {split} rows"
        results |= _shares("captions/from_image", said == truth[shown], known.names, how)
        results["captions/from_image/sentences"] = mean(
            (said >= 0).all(1),
            f"captions that are sentences of the grammar; error over {split} rows",
        )
        judged = _judged(context, rows.x[known.image][shown])
        how = f"the classifier of attributes on real {split} images"
        results |= _shares("captions/judge", judged == truth[shown], known.names, how)
    described = rows.present[known.caption]
    if described.any():
        images = generated(context, "captions", (known.caption,), known.image)[described]
        how = (
            "an image generated from the caption alone, read by the classifier; error over "
            f"{split} rows"
        )
        right = _judged(context, images) == truth[described]
        results |= _shares("captions/to_image", right, known.names, how)
    if not results:
        raise NotApplicable(f"no {split} row has an image or a caption")
    return results


def _shares(prefix: str, right: np.ndarray, names: tuple[str, ...], how: str) -> dict[str, Result]:
    """How often all of ``right`` [N, A] holds, and each column."""
    found = {f"{prefix}/exact": mean(right.all(1), f"all attributes right; {how}")}
    if len(names) > 1:
        for name, column in zip(names, right.T, strict=True):
            found[f"{prefix}/{name}"] = mean(column, how)
    return found


def _judged(context: Context, images: np.ndarray) -> np.ndarray:
    """Attributes int32 [N, A] of stored images [N, H, W, C]."""
    dataset = context.dataset
    spec = next(spec for spec in dataset.specs if spec.name == dataset.captions.image)
    judge = classifiers.obtain_attributes(dataset, spec, **context.judging)
    return classifiers.classify_all(judge, images, context.settings.batch_size)
