"""Black and white in place of grey levels."""

from __future__ import annotations

import zlib

import numpy as np

_INK = 128  # a byte from here on is nearer to white than to black
_WHITE = 255


def thresholded(images: np.ndarray) -> np.ndarray:
    """0 where a byte is below half of white, 255 elsewhere; uint8 of any shape."""
    return (images >= _INK) * np.uint8(_WHITE)


def fixed_draw(images: np.ndarray, name: str) -> np.ndarray:
    """255 with probability byte / 255 and else 0, independently; uint8 of any shape.

    The draws are a function of `name` and of the place in the array, so that all runs have the
    same. What training draws anew at each step is drawn in `training.augmentation`.
    """
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    # Of the 255 bytes 0..254, so many as the byte says lie below it.
    below = generator.integers(0, _WHITE, images.shape, np.uint8) < images
    return below * np.uint8(_WHITE)
