"""Layers that several families share."""

from __future__ import annotations

import math

import flax.linen as nn
import jax

from mmvae_jax.types import Array

# U(-1/sqrt(fan_in), 1/sqrt(fan_in)): what the published networks start from.
fan_in_uniform = nn.initializers.variance_scaling(1.0 / 3.0, "fan_in", "uniform")


def depth_to_space(x: Array, factor: int = 2) -> Array:
    """Moves channels into space: [N, H, W, factor^2 C] -> [N, factor H, factor W, C]."""
    n, height, width, channels = x.shape
    out = channels // factor**2
    x = x.reshape(n, height, width, factor, factor, out)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(n, factor * height, factor * width, out)


def upsample_nearest(x: Array, factor: int = 2) -> Array:
    """Repeats every pixel: [N, H, W, C] -> [N, factor H, factor W, C]."""
    n, height, width, channels = x.shape
    x = jax.lax.broadcast_in_dim(
        x, (n, height, factor, width, factor, channels), broadcast_dimensions=(0, 1, 3, 5)
    )
    return x.reshape(n, factor * height, factor * width, channels)


def halvings(size: int, smallest: int) -> list[int]:
    """Sizes met when ``size`` is halved, rounding up, until it is at most ``smallest``."""
    sizes = [size]
    while sizes[-1] > smallest:
        sizes.append(math.ceil(sizes[-1] / 2))
    return sizes


def flatten_features(x: Array) -> Array:
    """[N, ...] -> [N, features]."""
    return x.reshape(x.shape[0], -1)
