"""Gathering what counts into an array of a static size, and putting it back where it was.

Where a batch holds so many rows of each kind, it is known before it is drawn how many codes each
decoder must see: the others need not be decoded at all.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from mmvae_jax.types import Array

# Kinds of rows of a batch: which modalities they have, [M], and how many of them there are.
Kinds = tuple[tuple[tuple[bool, ...], int], ...]


def most(kinds: Kinds, living: Callable[[Array], Array]) -> np.ndarray:
    """How many entries of ``living`` are true for a batch of these kinds, over its last axis.

    Args:
      kinds: the rows of the batch; what a row has may be less.
      living: maps presence [M, N] to bool [..., N], each column on its own, and true of no row
        more where less is present.

    Returns:
      int [...].
    """
    present = np.array([has for has, _ in kinds]).T
    counts = np.array([count for _, count in kinds])
    with jax.ensure_compile_time_eval():  # a Python number, while the step is being traced
        alive = np.asarray(living(jnp.asarray(present)))
    return (alive * counts).sum(-1)


def pack(living: Array, size: int) -> Array:
    """Places of the true entries of ``living`` [N], int [size]; N where there are no more."""
    return jnp.nonzero(living, size=size, fill_value=living.size)[0]


def take(x: Array, index: Array, axis: int) -> Array:
    """The packed rows of ``x`` along ``axis``; any row of it in the places that are left over."""
    return jnp.take(x, index, axis=axis, mode="clip")


def put(background: Array, index: Array, packed: Array, living: Array, axis: int) -> Array:
    """``background`` with packed rows back in their places along ``axis``.

    NaN where more rows live than were packed: a batch of other kinds than it was said to be must
    not go unnoticed.
    """
    packed = jnp.where(living.sum() <= index.size, packed, jnp.nan)
    places = (slice(None),) * (axis % background.ndim) + (index,)
    return background.at[places].set(packed, mode="drop")
