"""Named random streams: a key is a function of (seed, name, step) and of nothing else.

No key is split and carried along, so a run that continues at step n draws what the uninterrupted
run drew there, and a new consumer of randomness (a new name) changes no other stream.
"""

from __future__ import annotations

import zlib

import jax

from mmvae_jax.types import Array, ArrayLike, PRNGKey


def stream(seed: int | ArrayLike, name: str) -> PRNGKey:
    """The key of the stream `name`: fold_in(key(seed), hash of the name).

    The hash is CRC-32, which is the same in every process (Python's own `hash` is not).
    """
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))


def at_step(key: PRNGKey, step: int | Array) -> PRNGKey:
    """The stream's key at one training step."""
    return jax.random.fold_in(key, step)
