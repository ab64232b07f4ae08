"""The images of a captioned set as an array: their pixels, or features of a frozen network."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from mmvae_jax.data import frozen_features, images, options, prepared
from mmvae_jax.data.captioned import CaptionedImages

KINDS = ("raw", "features")
SIZE = 64  # pixels of a side

_VERSION = 1  # of the prepared bytes


@dataclasses.dataclass(frozen=True, eq=False)
class Photographs:
    """P images.

    Attributes:
      values: uint8 ``[P, 64, 64, 3]`` or float32 ``[P, F]``.
      fingerprint: of their content.
      how: what they are, for the log.
    """

    values: np.ndarray
    fingerprint: str
    how: str


def read(found: CaptionedImages, kind: str, normalise: bool, cache_dir: str) -> Photographs:
    """The images as the option ``data.images`` says: ``raw`` or ``features``.

    Args:
      found: the images.
      kind: one of `KINDS`.
      normalise: which features: of images whose channels were normalised or not.
      cache_dir: where prepared arrays and features are kept; empty: beside the data.

    Raises:
      UserError: an image is missing or damaged, or nowhere to store; features that are missing,
        damaged or of other images.
    """
    options.check_choice("images", kind, KINDS)
    if kind == "raw":
        stored = _pixels(found, cache_dir)
        return Photographs(stored.arrays["image"], stored.fingerprint, f"{SIZE}x{SIZE} pixels")
    variant = "image-normalised" if normalise else "image-plain"
    recipe, stored = frozen_features.read(found, variant, cache_dir)
    how = f"{variant} features of {recipe.settings.get('network', 'a network')}"
    return Photographs(stored.arrays[frozen_features.ARRAY], stored.fingerprint, how)


def _pixels(found: CaptionedImages, cache_dir: str) -> prepared.Prepared:
    """``image``: every image stretched to a square, stored once."""
    resize = images.Stretch(SIZE)
    recipe = prepared.Recipe(
        name=f"{found.dataset}-{SIZE}",
        version=_VERSION,
        settings={"size": SIZE},
        sources=found.images_hash(times=True),
        count=len(found.names),
        shapes={"image": (SIZE, SIZE, 3)},
    )

    def square(path: Path) -> np.ndarray:
        return resize(Image.fromarray(images.read_rgb(path, convert=True)))

    def make() -> Iterator[dict[str, np.ndarray]]:
        for block in images.read_blocks(found.paths, square):
            yield {"image": block}

    return prepared.obtain(found.above(cache_dir), recipe, make)
