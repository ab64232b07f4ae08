"""Changes of batches that make training rows more varied: flips, small shifts, binary draws.

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
from mmvae_jax.types import Array, Batch, ModalitySpec, PRNGKey, UserError, nearest

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


@dataclasses.dataclass(frozen=True)
class Shifts:
    """Moves each image by up to `reach` whole rows and columns, all moves alike; 0 comes in.

    Attributes:
      names: of the modalities, images [B, H, W, C] in a batch; each has draws of its own.
      reach: pixels.
    """

    names: tuple[str, ...]
    reach: int

    def __call__(self, batch: Batch, seed: Array, step: Array) -> Batch:
        """The batch with other ``x`` and nothing else changed."""
        x = dict(batch["x"])
        for name in self.names:
            key = random_streams.at_step(random_streams.stream(seed, f"shift/{name}"), step)
            x[name] = shifted(key, x[name], (self.reach, self.reach), mode="constant")
        return {**batch, "x": x}


@dataclasses.dataclass(frozen=True)
class BinaryDraws:
    """Each value x in [0, 1] becomes 1 with probability x, else 0, independently of the others.

    Dynamic binarisation: a row is another binary image at each step, so that none is learnt by
    heart.

    Attributes:
      names: of the modalities, in [0, 1]; each has draws of its own.
    """

    names: tuple[str, ...]

    def __call__(self, batch: Batch, seed: Array, step: Array) -> Batch:
        """The batch with other ``x`` and nothing else changed."""
        x = dict(batch["x"])
        for name in self.names:
            key = random_streams.at_step(random_streams.stream(seed, f"binarize/{name}"), step)
            x[name] = jax.random.bernoulli(key, x[name]).astype(x[name].dtype)
        return {**batch, "x": x}


@dataclasses.dataclass(frozen=True)
class InTurn:
    """Several changes, one after the other."""

    parts: tuple[Augment, ...]

    def __call__(self, batch: Batch, seed: Array, step: Array) -> Batch:
        """The batch after all of them."""
        for part in self.parts:
            batch = part(batch, seed, step)
        return batch


def shifted(key: PRNGKey, images: Array, reach: tuple[int, int], *, mode: str) -> Array:
    """Each of the images [B, H, W, C] moved by whole pixels, independently and uniformly.

    Args:
      key: of the moves.
      images: [B, H, W, C].
      reach: the farthest move in rows and in columns.
      mode: what comes in at the sides, of `jax.numpy.pad`: ``constant`` (0) or ``edge``.
    """
    size, height, width, channels = images.shape
    padded = jnp.pad(images, ((0, 0), (reach[0],) * 2, (reach[1],) * 2, (0, 0)), mode=mode)
    limits = jnp.array(reach) * 2 + 1
    corners = jax.random.randint(key, (size, 2), 0, limits[None, :])

    def crop(image: Array, corner: Array) -> Array:
        start = (corner[0], corner[1], jnp.zeros_like(corner[0]))
        return jax.lax.dynamic_slice(image, start, (height, width, channels))

    return jax.vmap(crop)(padded, corners)


def from_config(
    options: Mapping[str, Any], specs: Sequence[ModalitySpec], redrawn: tuple[str, ...] = ()
) -> Augment:
    """What ``config.training.augment`` asks for, and the data set.

    Args:
      options: `flip`, names separated by commas or "all", `flip_together`, and `shift`, pixels by
        which all images are moved at most.
      specs: the modalities.
      redrawn: those of which 0 or 1 is drawn at each step, after all else; see `data.Dataset`.

    Raises:
      UserError: a name that is none, or not that of an image; shifts where there are no images.
    """
    images = tuple(spec.name for spec in specs if spec.is_grid)
    draws = BinaryDraws(redrawn) if redrawn else None
    parts = [part for part in (_flips(options, images), _shifts(options, images), draws) if part]
    if len(parts) > 1:
        return InTurn(tuple(parts))
    return parts[0] if parts else unchanged


def _flips(options: Mapping[str, Any], images: tuple[str, ...]) -> Flips | None:
    names = tuple(filter(None, (name.strip() for name in options.get("flip", "").split(","))))
    if not names:
        return None
    for name in names:
        if name not in (ALL, *images) or (name == ALL and not images):
            there = f"the images are {', '.join(images)}" if images else "no modality is an image"
            raise UserError(
                f"config.training.augment.flip names {name!r}, but {there}{nearest(name, images)}"
            )
    return Flips(images if ALL in names else names, options.get("flip_together", True))


def _shifts(options: Mapping[str, Any], images: tuple[str, ...]) -> Shifts | None:
    reach = options.get("shift", 0)
    if reach and not images:
        raise UserError(f"config.training.augment.shift is {reach}, but no modality is an image")
    return Shifts(images, reach) if reach else None
