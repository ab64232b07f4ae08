"""Six views of a face: the picture and five images made of it (MVAE's vision experiment).

The paper's face masks come from 68 points of a landmark detector, and its watermark from a picture;
neither is distributed. Here masks are drawn from CelebA's own five landmarks, and the watermark is
drawn, too.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

VIEWS = ("image", "grey", "edges", "mask", "obscured", "watermarked")
CHANNELS = {"image": 3, "grey": 1, "edges": 1, "mask": 1, "obscured": 3, "watermarked": 3}

_LUMA = np.array([299, 587, 114], np.uint32)  # thousandths, ITU-R BT.601
_EDGE_SIGMA = 2.0
_WEAK, _STRONG = 0.1, 0.2  # gradients of edges, for intensities in [0, 1]
_INK = 0.5  # how much of a watermarked pixel is white
# Widths of the parts of a mask, as shares of the distance between the eyes.
_EYE, _NOSE, _MOUTH = 0.2, 0.15, 0.12


def make(pictures: np.ndarray, landmarks: np.ndarray) -> dict[str, np.ndarray]:
    """What is made of the pictures: all of `VIEWS` but the first, uint8 ``[n, H, W, 1 or 3]``.

    Args:
      pictures: uint8 ``[n, H, W, 3]``.
      landmarks: x and y of the left eye, the right eye, the nose and both corners of the mouth in
        pixels, ``[n, 5, 2]``.
    """
    greys = grey(pictures)
    dark = obscured(pictures)
    return {
        "grey": greys,
        "edges": edges(greys),
        "mask": masks(landmarks, pictures.shape[1:3]),
        "obscured": dark,
        "watermarked": watermarked(dark),
    }


def grey(pictures: np.ndarray) -> np.ndarray:
    """Luminance, uint8 ``[n, H, W, 1]``."""
    return ((pictures @ _LUMA + 500) // 1000).astype(np.uint8)[..., None]


def obscured(pictures: np.ndarray) -> np.ndarray:
    """Black where the column is greater than half of the width."""
    found = pictures.copy()
    found[:, :, pictures.shape[2] // 2 + 1 :] = 0
    return found


def watermarked(pictures: np.ndarray) -> np.ndarray:
    """A ring and a diagonal in half-transparent white."""
    height, width = pictures.shape[1:3]
    y, x = np.mgrid[:height, :width] / max(height, width) - 0.5
    ink = (np.abs(np.hypot(x, y) - 0.36) < 0.04) | (np.abs(x + y) < 0.06)
    alpha = (_INK * ink)[None, :, :, None]
    return np.rint((1 - alpha) * pictures + alpha * 255).astype(np.uint8)


def masks(landmarks: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Eyes, nose and mouth in white on black, uint8 ``[n, H, W, 1]``."""
    points = np.asarray(landmarks, np.float64)[:, :, None, None]  # [n, 5, 1, 1, 2]
    left, right, nose, first, second = (points[:, part] for part in range(5))
    apart = np.linalg.norm(right - left, axis=-1)
    y, x = np.mgrid[: size[0], : size[1]]
    here = np.stack([x, y], -1)[None]
    ink = np.zeros((len(points), *size), bool)
    for start, end, share in (
        (left, left, _EYE),
        (right, right, _EYE),
        (nose, nose, _NOSE),
        (first, second, _MOUTH),
    ):
        ink |= _distance(here, start, end) <= share * apart
    return (255 * ink.astype(np.uint8))[..., None]


def _distance(here: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """From points ``[1, H, W, 2]`` to the straight line from `start` to `end` ``[n, 1, 1, 2]``."""
    along = end - start
    length = np.maximum((along**2).sum(-1), 1e-12)
    share = np.clip(((here - start) * along).sum(-1) / length, 0, 1)
    return np.linalg.norm(here - start - share[..., None] * along, axis=-1)


def edges(greys: np.ndarray) -> np.ndarray:
    """Canny's edges of ``[n, H, W, 1]`` at sigma = 2: 255 on an edge, else 0.

    Smoothed by a Gaussian (what lies outside of the image has no weight); a pixel whose gradient
    is largest across the edge is one where the gradient is strong, or where it is weak but
    connected with a strong one.
    """
    level = greys[..., 0] / 255.0
    sigma = (0, _EDGE_SIGMA, _EDGE_SIGMA)
    weight = ndimage.gaussian_filter(np.ones((1, *level.shape[1:])), sigma, mode="constant")
    smooth = ndimage.gaussian_filter(level, sigma, mode="constant") / weight
    down, across = _slope(smooth, 1, 2), _slope(smooth, 2, 1)
    steep = np.hypot(down, across)
    steep[:, [0, -1]] = 0
    steep[:, :, [0, -1]] = 0
    thin = steep * _is_ridge(steep, down, across)
    groups, count = ndimage.label(thin >= _WEAK, _WITHIN_AN_IMAGE)
    strong = np.zeros(count + 1, bool)
    strong[groups[thin >= _STRONG]] = True
    strong[0] = False
    return (255 * strong[groups].astype(np.uint8))[..., None]


def _slope(smooth: np.ndarray, along: int, across: int) -> np.ndarray:
    """Sobel's derivative along one axis of the images (`ndimage.sobel` would mix the images)."""
    found = ndimage.correlate1d(smooth, [-1.0, 0.0, 1.0], along)
    return ndimage.correlate1d(found, [1.0, 2.0, 1.0], across)


# Neighbours for `ndimage.label`: all eight of the same image.
_WITHIN_AN_IMAGE = np.zeros((3, 3, 3), bool)
_WITHIN_AN_IMAGE[1] = True


def _is_ridge(steep: np.ndarray, down: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Where no neighbour along the gradient (in one of four directions) is steeper, bool."""
    padded = np.pad(steep, ((0, 0), (1, 1), (1, 1)))
    height, width = steep.shape[1:]
    octant = np.rint(np.arctan2(down, across) / (np.pi / 4)).astype(int) % 4
    ridge = np.zeros(steep.shape, bool)
    for number, (dy, dx) in enumerate(((0, 1), (1, 1), (1, 0), (1, -1))):
        one = padded[:, 1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]
        other = padded[:, 1 - dy : 1 - dy + height, 1 - dx : 1 - dx + width]
        # Of two that are equally steep the first one counts.
        ridge |= (octant == number) & (steep >= one) & (steep > other)
    return ridge
