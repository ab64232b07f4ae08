"""Small sets of made-up house numbers in SVHN's own format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import scipy.io


def numbers(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """`count` fake crops: red is 20 times the digit, green and blue are the image's number."""
    labels = np.random.default_rng(seed).permutation(np.arange(count) % 10)
    images = np.zeros((count, 32, 32, 3), np.uint8)
    images[..., 0] = 20 * labels[:, None, None]
    images[..., 1] = (np.arange(count) % 256)[:, None, None]
    images[..., 2] = (np.arange(count) // 256)[:, None, None]
    images[:, 0, 31] = 255  # the upper right corner: axes are not swapped
    return images, labels


def write(path: Path, images: np.ndarray, labels: np.ndarray) -> None:
    """A file of MATLAB 5, in which the digit 0 has label 10."""
    label = np.where(labels == 0, 10, labels).astype(np.uint8)[:, None]
    scipy.io.savemat(path, {"X": images.transpose(1, 2, 3, 0), "y": label}, do_compression=True)


def write_svhn(folder: Path, *, num_train: int = 90, num_test: int = 70) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for part, count, seed in (("train", num_train, 2), ("test", num_test, 3)):
        write(folder / f"{part}_32x32.mat", *numbers(count, seed))
    return folder
