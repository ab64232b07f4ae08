"""How unsure of its own mind is a judge of generated images? Lower is better.

The mutual-information score of MEME (Joy et al. 2022): I(y, w | x), of the class y of an image x
and the last layer w of its judge. That layer is a sparse variational Gaussian process on what the
judge's own last layer sees (`variational_gp`), trained on the same items. The judge of an item like
those it knows is sure of w, if not of y: the score is about 0. The paper does not say how its
process was made, so that numbers compare here only; those of real images and of noise, which no
judge has seen, give the scale.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from mmvae_jax.evaluation import variational_gp
from mmvae_jax.evaluation.classifiers import (
    Classifier,
    features,
    items_of,
    labelled_rows,
    of_stored,
)
from mmvae_jax.evaluation.context import Context
from mmvae_jax.evaluation.decoding import from_prior, generated
from mmvae_jax.evaluation.result import NotApplicable, Result, mean
from mmvae_jax.evaluation.sampling import some, some_rows
from mmvae_jax.types import ModalitySpec

_NAME = "mutual_information_score"
_STEPS = 600  # of training
_DRAWS = 512  # of the scores of every image, in pairs of opposite signs
_SAID = {
    "real": "real {split} images, for scale",
    "noise": "independent uniform pixels, for scale",
    "reconstruction": "generated from the image itself, private code too",
    "cross": "generated from all other modalities, private code from the prior",
    "unconditional": "prior samples",
}


def mutual_information_score(context: Context) -> dict[str, Result]:
    """``mutual_information_score/<kind>/<name>`` in nats, of every image with a classifier.

    Kinds: ``reconstruction``, ``cross``, ``unconditional``, ``real`` and ``noise``; and
    ``mutual_information_score/accuracy/<name>``, of the process on real images.
    """
    specs = [s for s in context.model.specs if s.is_grid and s.name in context.classifiers]
    if not specs:
        raise NotApplicable("no modality is an image that a classifier is trained on")
    rows = some_rows(context.rows, context.settings.quality_examples or len(context.rows))
    drawn = from_prior(context, _NAME, len(rows))
    results: dict[str, Result] = {}
    for spec in specs:
        results |= _of_image(context, rows, spec, drawn[spec.name])
    return results


def _of_image(
    context: Context, rows: Any, spec: ModalitySpec, drawn: np.ndarray
) -> dict[str, Result]:
    """The scores of one modality; ``drawn`` are its prior samples, as stored."""
    split, judge = context.settings.split, context.classifiers[spec.name]
    process, learnt = _process(context, judge, spec.name)
    layer = f"a variational Gaussian process on features of the judge, of {learnt} training images"
    how = f"I(y, w | x) in nats, w {layer}; error over images"
    results: dict[str, Result] = {}
    for kind, images in _images(context, rows, spec, drawn).items():
        name = f"{_NAME}/{kind}/{spec.name}"
        if not len(images):
            context.skipped[name] = f"no {split} row has what it needs"
            continue
        said = _SAID[kind].format(split=split)
        results[name] = mean(_scores(context, judge, process, images), f"{said}; {how}")
    known = labelled_rows(rows, spec.name)
    if len(known):
        x, label = items_of(rows, spec.name, known)
        right = process(_features(context, judge, x))[0].argmax(-1) == label
        said = f"class of the highest mean score of {layer}, real {split} images"
        results[f"{_NAME}/accuracy/{spec.name}"] = mean(right, said)
    return results


def _images(
    context: Context, rows: Any, spec: ModalitySpec, drawn: np.ndarray
) -> dict[str, np.ndarray]:
    """Stored images [N, H, W, C] of each kind of `_SAID`."""
    here = np.asarray(rows.present[spec.name], bool)
    found = {"real": rows.x[spec.name][np.flatnonzero(here)], "noise": _noise(context, drawn)}
    rebuilt = generated(context, _NAME, (spec.name,), spec.name, rows, private="own")
    found["reconstruction"] = rebuilt[here]
    others = tuple(name for name in context.names if name != spec.name)
    if others:
        some = np.stack([rows.present[name] for name in others]).any(0)
        found["cross"] = generated(context, _NAME, others, spec.name, rows)[some]
    return {**found, "unconditional": drawn}


def _noise(context: Context, like: np.ndarray) -> np.ndarray:
    """Uniform over what pixels can be."""
    generator = np.random.default_rng(context.seed_for(f"{_NAME}/noise"))
    noise = generator.random(like.shape, np.float32)
    return (256 * noise).astype(np.uint8) if like.dtype == np.uint8 else noise


def _process(
    context: Context, judge: Classifier, name: str
) -> tuple[variational_gp.GaussianProcess, int]:
    """The last layer, and the number of training items it has seen."""
    train = context.dataset.splits["train"]
    rows = labelled_rows(train, name)
    rows = some(rows, context.settings.probe_train or len(rows), train.item)
    x, label = items_of(train, name, rows)
    process = variational_gp.fit(
        _features(context, judge, x),
        label,
        context.dataset.num_classes,
        seed=context.settings.seed,
        steps=_STEPS,
    )
    return process, len(x)


def _scores(
    context: Context, judge: Classifier, process: variational_gp.GaussianProcess, x: np.ndarray
) -> np.ndarray:
    """The score of stored images [N, H, W, C], [N]."""
    means, variances = process(_features(context, judge, x))
    generator = np.random.default_rng(context.seed_for(_NAME))
    noise = generator.standard_normal((_DRAWS // 2, means.shape[-1]), np.float32)
    noise = np.concatenate([noise, -noise])
    size = context.settings.batch_size
    return np.concatenate(
        [
            _mutual_information(means[i : i + size], variances[i : i + size], noise)
            for i in range(0, len(x), size)
        ]
    )


_mutual_information = jax.jit(variational_gp.mutual_information)


def _features(context: Context, judge: Classifier, x: np.ndarray) -> np.ndarray:
    return of_stored(features, judge, x, context.settings.batch_size)
