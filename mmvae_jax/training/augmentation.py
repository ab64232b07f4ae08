"""Changes of batches that make training rows more varied: horizontal flips.

What happens to a row is a function of (seed, step, its place in the global batch): a resumed run,
and one on other devices, sees the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from mmvae_jax.training import random_streams
from mmvae_jax.training.step import Augment, unchanged
from mmvae_jax.types import Array, Batch, ModalitySpec, UserError, nearest

ALL = "all"


@dataclasses.dataclass(frozen=True)
class Flips:
    """Mirrors each image left to right with probability 1/2.

    Attributes:
      names: of the modalities, images [B, H, W, C] in a batch.
      together: whether one draw is for all of these modalities of a row, or each has its own.
    """

    names: tuple[str, ...]
    together: bool = True

    def __call__(self, batch: Batch, seed: Array, step: Array) -> Batch:
        """The batch with other ``x`` and nothing else changed."""
        x = dict(batch["x"])
        for name in self.names:
            purpose = "flip" if self.together else f"flip/{name}"
            key = random_streams.at_step(random_streams.stream(seed, purpose), step)
            mirrored = jax.random.bernoulli(key, 0.5, (len(x[name]), 1, 1, 1))
            x[name] = jnp.where(mirrored, x[name][:, :, ::-1], x[name])
        return {**batch, "x": x}


def from_config(options: Mapping[str, Any], specs: Sequence[ModalitySpec]) -> Augment:
    """What ``config.training.augment`` asks for.

    Args:
      options: `flip`, names separated by commas or "all", and `flip_together`.
      specs: the modalities.

    Raises:
      UserError: a name that is none, or not that of an image.
    """
    images = tuple(spec.name for spec in specs if spec.is_grid)
    names = tuple(filter(None, (name.strip() for name in options.get("flip", "").split(","))))
    if not names:
        return unchanged
    for name in names:
        if name not in (ALL, *images) or (name == ALL and not images):
            there = f"the images are {', '.join(images)}" if images else "no modality is an image"
            raise UserError(
                f"config.training.augment.flip names {name!r}, but {there}{nearest(name, images)}"
            )
    return Flips(images if ALL in names else names, options.get("flip_together", True))
