"""What frozen networks make of images and captions: stored beside the data, and found again.

``python -m mmvae_jax.features`` computes and stores them; here is what both sides agree on. A
folder of features is one of `prepared`: never half a one, and it says what it was made from.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmvae_jax.data import prepared
from mmvae_jax.data.captioned import CAPTIONS, CaptionedImages
from mmvae_jax.types import UserError

ARRAY = "features"
# {kind: what it is of}. Images: channels normalised as in the network's training, or from 0 to 1.
# Captions: the mean over the tokens, or one vector for each of them.
KINDS = {
    "image-normalised": "image",
    "image-plain": "image",
    "caption-mean": "caption",
    "caption-tokens": "caption",
}
_WEIGHTS = {"image": "resnet101.safetensors", "caption": "bert-base-uncased"}
_VERSION = 1  # of what is computed


def store(
    found: CaptionedImages,
    kind: str,
    cache_dir: str,
    shape: tuple[int, ...],
    settings: Mapping[str, Any],
    make: Callable[[], Iterator[np.ndarray]],
) -> Path:
    """Stores the features of all images, or of all captions, and says where.

    Args:
      found: the images and captions that they are of.
      kind: one of `KINDS`.
      cache_dir: where prepared folders are kept; empty: beside the data.
      shape: of one row.
      settings: values of JSON: what they were computed by.
      make: gives blocks of rows in their order, float32 ``[n, *shape]``.

    Raises:
      UserError: the folder cannot be written, or is full; a number is not finite; whatever `make`
        raises.
    """

    def checked() -> Iterator[prepared.Block]:
        for block in make():
            if not np.isfinite(block).all():
                raise UserError(
                    f"{found.dataset}: the network makes features of {KINDS[kind]}s that are not "
                    "finite: use other weights"
                )
            yield {ARRAY: block}

    above, name = found.above(cache_dir), _name(found, kind)
    count, sources = _rows(found, kind)
    recipe = prepared.Recipe(name, _VERSION, settings, sources, count, {ARRAY: shape}, "float32")
    prepared.store(above, recipe, checked)
    return above / name


def read(
    found: CaptionedImages, kind: str, cache_dir: str
) -> tuple[prepared.Recipe, prepared.Prepared]:
    """What `store` has stored: what it was made from, and `ARRAY`, float32 ``[N, ...]``.

    Raises:
      UserError: they are not there, are damaged or of another version, or of other images.
    """
    folder = found.above(cache_dir) / _name(found, kind)
    make = f"make them with: {_command(found, kind, cache_dir)}"
    if not folder.is_dir():
        raise UserError(f"there are no features in {folder}; {make}")
    stored = prepared.read(folder)
    if stored is None or ARRAY not in stored[1].arrays or stored[0].dtype != "float32":
        raise UserError(f"{folder} is damaged or holds no features; {make}")
    recipe = stored[0]
    if recipe.version != _VERSION:
        raise UserError(
            f"{folder} has version {recipe.version} of features, {_VERSION} is needed; {make}"
        )
    if (recipe.count, recipe.sources) != _rows(found, kind):
        raise UserError(
            f"{folder} has features of other {KINDS[kind]}s than those in {found.folder} "
            f"({recipe.count:,}; their number, names, sizes or words differ); {make}"
        )
    return stored


def _name(found: CaptionedImages, kind: str) -> str:
    return f"{found.dataset}-{kind}"


def _rows(found: CaptionedImages, kind: str) -> tuple[int, str]:
    """How many rows these features have, and a hash of what they are of."""
    if KINDS[kind] == "image":
        return len(found.names), found.images_hash(times=False)
    return CAPTIONS * len(found.names), found.captions_hash


def _command(found: CaptionedImages, kind: str, cache_dir: str) -> str:
    """What to type for these features."""
    flags = [f"--dataset={found.dataset}", f"--kind={kind}", f"--data.dir={found.folder}"]
    flags += [f"--data.cache_dir={cache_dir}"] if cache_dir else []
    flags += [f"--weights={_WEIGHTS[KINDS[kind]]}"]
    return shlex.join(["python", "-m", "mmvae_jax.features", *flags])
