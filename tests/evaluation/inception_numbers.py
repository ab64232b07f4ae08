"""Weights of Inception-v3 from a seed, the same in every framework, and where their features lie.

NumPy alone: whoever runs another framework need not have this one. The names decide the numbers,
not their order. Uniform random numbers, since their streams are the same in all versions.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np

# Written by tests/evaluation/torch_inception.py.
FIXTURE = Path(__file__).with_name("inception_features.npz")
CHANNELS = slice(None, None, 8)  # of the features, which the fixture holds
PLACES = slice(None, None, 37)  # of the resized images, in both directions
_SEED = 7


def images(count: int, height: int, width: int, channels: int = 3) -> np.ndarray:
    """Smooth random images, uint8 [count, height, width, channels]."""
    generator = np.random.default_rng([_SEED, height, width])
    rows, columns = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    waves = generator.random((4, count, 1, 1, channels))
    across = np.sin(0.7 * waves[0] * columns[None, :, :, None] + 6 * waves[1])
    down = np.cos(0.7 * waves[2] * rows[None, :, :, None] + 6 * waves[3])
    noise = generator.random((count, height, width, channels))
    return (255 * (0.25 * (across + down) + 0.5) * (0.7 + 0.3 * noise)).astype(np.uint8)


def tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The tensor of a checkpoint under this name, float32: activations keep their size."""
    generator = np.random.default_rng([_SEED, zlib.crc32(name.encode())])
    uniform = generator.random(shape)
    if name.endswith("conv.weight"):
        # Variance 2 / fan-in, as ReLU needs it.
        values = (2 * uniform - 1) * np.sqrt(6 / np.prod(shape[1:]))
    elif name.endswith(("bn.weight", "bn.running_var")):
        values = 0.5 + uniform
    else:
        values = 0.4 * (uniform - 0.5)
    return values.astype(np.float32)
