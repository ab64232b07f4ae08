"""The residual networks of MMVAE+ on PolyMNIST (Palumbo et al. 2023, and its published code).

Pre-activation blocks with LeakyReLU(0.2) whose branch is scaled by 0.1; average pooling on the way
down, nearest-neighbour upsampling on the way up. Biases start at zero.
"""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmvae_jax.networks.layers import fan_in_uniform, flatten_features, upsample_nearest
from mmvae_jax.types import Array

OPTIONS = {"width": 64, "stages": 2}

_leaky = functools.partial(nn.leaky_relu, negative_slope=0.2)


def average_pool(x: Array) -> Array:
    """3x3 means at stride 2, [N, H, W, C] -> [N, ceil(H / 2), ceil(W / 2), C].

    Zeros of the padding count in the mean, as in the published networks.
    """
    window, strides, padding = (3, 3), (2, 2), ((1, 1), (1, 1))
    return nn.pooling.pool(x, 0.0, jax.lax.add, window, strides, padding) / 9.0


class ResidualBlock(nn.Module):
    """shortcut(x) + 0.1 F(x), two 3x3 convolutions in F: [N, H, W, C] -> [N, H, W, features]."""

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Applies the block to feature maps [N, H, W, C]."""
        conv = functools.partial(nn.Conv, dtype=self.dtype, kernel_init=fan_in_uniform)
        hidden = conv(min(x.shape[-1], self.features), (3, 3))(_leaky(x))
        residual = conv(self.features, (3, 3))(_leaky(hidden))
        if x.shape[-1] != self.features:
            x = conv(self.features, (1, 1), use_bias=False)(x)
        return x + 0.1 * residual


class Encoder(nn.Module):
    """[N, H, W, C] -> [N, outputs]; H and W divisible by 2**stages."""

    outputs: int
    width: int = OPTIONS["width"]
    stages: int = OPTIONS["stages"]
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Encodes images [N, H, W, C] in [0, 1]."""
        x = nn.Conv(self.width, (3, 3), dtype=self.dtype, kernel_init=fan_in_uniform)(x)
        x = ResidualBlock(self.width, self.dtype)(x)
        for stage in range(1, self.stages + 1):
            x = average_pool(x)
            x = ResidualBlock(self.width * 2**stage, self.dtype)(x)
        x = flatten_features(x)
        return nn.Dense(self.outputs, dtype=self.dtype, kernel_init=fan_in_uniform)(x)


class Decoder(nn.Module):
    """[N, L] -> [N, H, W, C], no output nonlinearity; H and W divisible by 2**stages."""

    output_shape: tuple[int, ...]
    width: int = OPTIONS["width"]
    stages: int = OPTIONS["stages"]
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z: Array) -> Array:
        """Decodes codes [N, L]."""
        height, width, channels = self.output_shape
        rows, columns = height // 2**self.stages, width // 2**self.stages
        deepest = self.width * 2**self.stages
        size = rows * columns * deepest
        x = nn.Dense(size, dtype=self.dtype, kernel_init=fan_in_uniform)(z)
        x = x.reshape(z.shape[0], rows, columns, deepest)
        for stage in reversed(range(self.stages)):
            x = upsample_nearest(ResidualBlock(self.width * 2**stage, self.dtype)(x))
        x = _leaky(ResidualBlock(self.width, self.dtype)(x))
        return nn.Conv(channels, (3, 3), dtype=self.dtype, kernel_init=fan_in_uniform)(x)
