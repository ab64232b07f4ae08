"""A convolutional pair for texts: windows of neighbouring tokens, halved down to four positions.

The layout of the published caption networks (MMVAE and MEME on birds, MoPoE on digit words): an
embedding of the vocabulary, kernels of 4 at stride 2 over positions, mirrored in the decoder up to
the logits of every position. Here the embedding is the channel axis, as in MoPoE's, decoders go up
by sub-pixel steps, and there is no batch normalisation.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from mmvae_jax.networks.layers import fan_in_uniform, flatten_features, halvings
from mmvae_jax.types import Array

# hidden 0: the latent code is linear in the last map, and the first map in the code.
OPTIONS = {"embedding": 128, "width": 32, "hidden": 256}
LEAST = {"hidden": 0}  # of other options 1
_SMALLEST = 4  # positions


def windows(x: Array) -> Array:
    """The windows of 4 positions at stride 2 of [N, L, C], zeros around: [N, ceil(L / 2), 4 C].

    A dense layer of them is a convolution.
    """
    size, length, channels = x.shape
    count = -(-length // 2)
    x = jnp.pad(x, ((0, 0), (1, 1 + length % 2), (0, 0)))
    x = x.reshape(size, count + 1, 2 * channels)
    return jnp.concatenate([x[:, :-1], x[:, 1:]], axis=-1)


def _channels(width: int, stage: int) -> int:
    return width * 2 ** min(stage, 2)


class Encoder(nn.Module):
    """[N, L, V] -> [N, outputs]; one-hot tokens, or anything relaxed on the simplex."""

    outputs: int
    embedding: int = OPTIONS["embedding"]
    width: int = OPTIONS["width"]
    hidden: int = OPTIONS["hidden"]
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Encodes texts [N, L, V]."""
        stages = len(halvings(x.shape[1], _SMALLEST)) - 1
        x = nn.Dense(self.embedding, use_bias=False, dtype=self.dtype)(x)
        for stage in range(stages):
            channels = _channels(self.width, stage)
            layer = nn.Dense(channels, dtype=self.dtype, kernel_init=fan_in_uniform)
            x = nn.relu(layer(windows(x)))
        x = flatten_features(x)
        if self.hidden:
            x = nn.relu(nn.Dense(self.hidden, dtype=self.dtype, kernel_init=fan_in_uniform)(x))
        return nn.Dense(self.outputs, dtype=self.dtype, kernel_init=fan_in_uniform)(x)


class Decoder(nn.Module):
    """[N, D] -> [N, L, V], the logits of every position; the mirror of `Encoder`."""

    output_shape: tuple[int, ...]
    embedding: int = OPTIONS["embedding"]
    width: int = OPTIONS["width"]
    hidden: int = OPTIONS["hidden"]
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z: Array) -> Array:
        """Decodes codes [N, D]."""
        length, vocabulary = self.output_shape
        sizes = halvings(length, _SMALLEST)
        stages = len(sizes) - 1
        x = z
        if self.hidden:
            x = nn.relu(nn.Dense(self.hidden, dtype=self.dtype, kernel_init=fan_in_uniform)(x))
        deepest = _channels(self.width, stages - 1) if stages else self.embedding
        x = nn.Dense(sizes[-1] * deepest, dtype=self.dtype, kernel_init=fan_in_uniform)(x)
        x = nn.relu(x).reshape(z.shape[0], sizes[-1], deepest)
        for stage in reversed(range(stages)):
            channels = _channels(self.width, stage - 1) if stage else self.embedding
            x = nn.Conv(2 * channels, (3,), dtype=self.dtype, kernel_init=fan_in_uniform)(x)
            x = nn.relu(x).reshape(z.shape[0], -1, channels)[:, : sizes[stage]]
        return nn.Dense(vocabulary, dtype=self.dtype, kernel_init=fan_in_uniform)(x)
