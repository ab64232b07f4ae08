"""Small sets of made-up digits in MNIST's own format."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np


def idx_bytes(values: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}i", *values.shape)
    return header + values.astype(np.uint8).tobytes()


def digits(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """`count` fake digits: c is two bars in rows 2c and 2c+1, their lengths name the image."""
    labels = np.random.default_rng(seed).permutation(np.arange(count) % 10)
    images = np.zeros((count, 28, 28), np.uint8)
    for row, label in enumerate(labels):
        images[row, 2 * label, : 1 + row % 28] = 255
        images[row, 2 * label + 1, : 1 + row // 28] = 255
    images[:, 27, 27] = 128  # not ink: the threshold is "above 128"
    return images, labels


def write_mnist(
    folder: Path, *, packed: bool = False, dotted: bool = False, num_train: int = 120
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for prefix, count, seed in (("train", num_train, 0), ("t10k", 40, 1)):
        for kind, values in zip(("images", "labels"), digits(count, seed), strict=True):
            name = f"{prefix}-{kind}{'.' if dotted else '-'}idx{values.ndim}-ubyte"
            content = idx_bytes(values)
            path = folder / (name + ".gz" * packed)
            path.write_bytes(gzip.compress(content) if packed else content)
    return folder
