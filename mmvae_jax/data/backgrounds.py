"""Grounds to draw digits on, and how the ink meets them. Images are float32 in [0, 1]."""

from __future__ import annotations

import numpy as np

# Random colours of one side of mid-grey stay this far from the other side's at least.
_CONTRAST = 0.2


def shrink(photograph: np.ndarray, factor: int) -> np.ndarray:
    """Means over `factor` x `factor` blocks; rows and columns left over are cut off."""
    height, width = (size // factor for size in photograph.shape[:2])
    blocks = photograph[: height * factor, : width * factor].reshape(
        height, factor, width, factor, 3
    )
    return blocks.mean((1, 3))


def raise_contrast(photograph: np.ndarray) -> np.ndarray:
    """An S-curve on [0, 1]. Mid-grey inverted is mid-grey again: this leaves less of it."""
    return photograph**2 * (3 - 2 * photograph)


def crops(photograph: np.ndarray, count: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """`count` crops ``[count, size, size, 3]`` at uniformly random places, in its dtype."""
    windows = np.lib.stride_tricks.sliding_window_view(photograph, (size, size), axis=(0, 1))
    rows = rng.integers(windows.shape[0], size=count)
    columns = rng.integers(windows.shape[1], size=count)
    return np.moveaxis(windows, 2, -1)[rows, columns]


def colours(light: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random colours ``[N, 3]``: all channels above mid-grey where `light`, else all below."""
    distance = rng.random((len(light), 3), np.float32) * (1 - _CONTRAST) / 2
    return np.where(light[:, None], 1 - distance, distance)


def hues(count: int, rng: np.random.Generator) -> np.ndarray:
    """Fully saturated colours ``[N, 3]``, one channel 1 and one 0, of uniformly random hue."""
    hue = 6 * rng.random((count, 1), np.float32)
    # Each channel is a trapezoid over the circle of hues, a third of it apart from the next one.
    distance = np.abs((hue - np.array([0, 2, 4], np.float32) + 3) % 6 - 3)
    return np.clip(2 - distance, 0, 1)


def gradients(
    start: np.ndarray, end: np.ndarray, size: int, rng: np.random.Generator
) -> np.ndarray:
    """Images ``[N, size, size, 3]`` that pass from `start` to `end` in a random direction."""
    position = _positions(len(start), size, rng)
    along = np.clip(position / size + 0.5, 0, 1)[..., None]
    return start[:, None, None] * (1 - along) + end[:, None, None] * along


def stripes(
    first: np.ndarray, second: np.ndarray, size: int, rng: np.random.Generator
) -> np.ndarray:
    """Images ``[N, size, size, 3]`` of stripes in two colours, at random angle, width and phase."""
    period = rng.uniform(4, 10, (len(first), 1, 1)).astype(np.float32)
    phase = rng.random((len(first), 1, 1), np.float32)
    wave = np.sin(2 * np.pi * (_positions(len(first), size, rng) / period + phase))
    # The wave's flanks are about a pixel wide: no jagged edges.
    share = np.clip(wave * period / np.pi + 0.5, 0, 1)[..., None]
    return first[:, None, None] * (1 - share) + second[:, None, None] * share


def invert(ground: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """`ground` ``[N, H, W, 3]`` with its colours inverted where `mask` ``[N, H, W]`` is 1.

    The digit is seen only as a change of the background's colours (PolyMNIST, Sutter et al. 2021).
    Between 0 and 1 the mask says how much of a pixel is inverted.
    """
    return ground + mask[..., None] * (1 - 2 * ground)


def paint(ground: np.ndarray, ink: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """`ground` ``[N, H, W, 3]`` covered by `colour` ``[N, 3]`` in the proportion `ink`."""
    return ground + ink[..., None] * (colour[:, None, None] - ground)


def to_bytes(images: np.ndarray) -> np.ndarray:
    """[0, 1] to uint8, rounded."""
    return np.rint(images * 255).clip(0, 255).astype(np.uint8)


def _positions(count: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """Signed distance of each pixel, in pixels, from a centre line at a random angle."""
    angle = rng.uniform(0, 2 * np.pi, (count, 1, 1)).astype(np.float32)
    row, column = np.mgrid[:size, :size].astype(np.float32) - (size - 1) / 2
    return row[None] * np.sin(angle) + column[None] * np.cos(angle)
