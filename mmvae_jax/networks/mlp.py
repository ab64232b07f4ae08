"""Multi-layer perceptrons, for vectors and small images."""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from mmvae_jax.networks.layers import fan_in_uniform, flatten_features
from mmvae_jax.types import Array

OPTIONS = {"hidden": (256, 256)}


class Encoder(nn.Module):
    """[N, ...] -> [N, outputs] through ReLU layers of sizes ``hidden``."""

    outputs: int
    hidden: tuple[int, ...] = OPTIONS["hidden"]
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Encodes a batch [N, ...]."""
        x = flatten_features(x)
        for size in self.hidden:
            x = nn.relu(nn.Dense(size, dtype=self.dtype, kernel_init=fan_in_uniform)(x))
        return nn.Dense(self.outputs, dtype=self.dtype, kernel_init=fan_in_uniform)(x)


class Decoder(nn.Module):
    """[N, L] -> [N, *output_shape], the mirror of `Encoder`."""

    output_shape: tuple[int, ...]
    hidden: tuple[int, ...] = OPTIONS["hidden"]
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z: Array) -> Array:
        """Decodes codes [N, L]."""
        x = z
        for size in reversed(self.hidden):
            x = nn.relu(nn.Dense(size, dtype=self.dtype, kernel_init=fan_in_uniform)(x))
        size = math.prod(self.output_shape)
        x = nn.Dense(size, dtype=self.dtype, kernel_init=fan_in_uniform)(x)
        return x.reshape(z.shape[0], *self.output_shape)
