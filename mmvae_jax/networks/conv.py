"""A small convolutional pair for images of any size from 8x8 on.

Stride-2 convolutions down to a 4x4 map, and sub-pixel convolutions (an ordinary convolution, then
depth to space) back up: on CPU these run several times faster than strided transposed ones.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from mmvae_jax.networks.layers import (
    depth_to_space,
    fan_in_uniform,
    flatten_features,
    halvings,
)
from mmvae_jax.types import Array

# decoder_width 0: as wide as the encoder. decoder_factor 4: half as many, larger upsampling steps,
# which cost a fraction where every code is decoded many times.
OPTIONS = {"width": 32, "hidden": 256, "decoder_width": 0, "decoder_factor": 2}
LEAST = {"decoder_width": 0, "decoder_factor": 2}  # of other options 1


def _channels(width: int, stage: int) -> int:
    return width * 2 ** min(stage, 2)


class Encoder(nn.Module):
    """[N, H, W, C] -> [N, outputs]: stride-2 convolutions, one dense layer, a linear head."""

    outputs: int
    width: int = OPTIONS["width"]
    hidden: int = OPTIONS["hidden"]
    decoder_width: int = OPTIONS["decoder_width"]
    decoder_factor: int = OPTIONS["decoder_factor"]
    smallest: int = 4
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Encodes images [N, H, W, C] in [0, 1]."""
        x = 2.0 * x - 1.0
        for stage in range(len(halvings(max(x.shape[1:3]), self.smallest)) - 1):
            channels = _channels(self.width, stage)
            conv = nn.Conv(
                channels, (3, 3), strides=2, dtype=self.dtype, kernel_init=fan_in_uniform
            )
            x = nn.relu(conv(x))
        x = flatten_features(x)
        x = nn.relu(nn.Dense(self.hidden, dtype=self.dtype, kernel_init=fan_in_uniform)(x))
        return nn.Dense(self.outputs, dtype=self.dtype, kernel_init=fan_in_uniform)(x)


class Decoder(nn.Module):
    """[N, L] -> [N, H, W, C]: the mirror of `Encoder`, cropped to the image where it is larger."""

    output_shape: tuple[int, ...]
    width: int = OPTIONS["width"]
    hidden: int = OPTIONS["hidden"]
    decoder_width: int = OPTIONS["decoder_width"]
    decoder_factor: int = OPTIONS["decoder_factor"]
    smallest: int = 4
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z: Array) -> Array:
        """Decodes codes [N, L]."""
        height, width, channels = self.output_shape
        factor = self.decoder_factor
        stages = upsamplings(max(height, width), factor, self.smallest)
        rows, columns = -(-height // factor**stages), -(-width // factor**stages)
        narrowest = self.decoder_width or self.width
        deepest = _channels(narrowest, stages - 1)
        x = nn.relu(nn.Dense(self.hidden, dtype=self.dtype, kernel_init=fan_in_uniform)(z))
        size = rows * columns * deepest
        x = nn.relu(nn.Dense(size, dtype=self.dtype, kernel_init=fan_in_uniform)(x))
        x = x.reshape(z.shape[0], rows, columns, deepest)
        for stage in reversed(range(stages)):
            out = channels if stage == 0 else _channels(narrowest, stage - 1)
            x = nn.Conv(factor**2 * out, (3, 3), dtype=self.dtype, kernel_init=fan_in_uniform)(x)
            x = depth_to_space(x, factor)
            x = x if stage == 0 else nn.relu(x)
        return x[:, :height, :width]


def upsamplings(size: int, factor: int, smallest: int) -> int:
    """How many steps by ``factor`` lead to ``size`` from a map of about ``smallest``; at least 1.

    Steps of 2 start from at most ``smallest``, longer ones from at most twice that.
    """
    largest = smallest if factor == 2 else 2 * smallest
    steps = 1
    while -(-size // factor**steps) > largest:
        steps += 1
    return steps
