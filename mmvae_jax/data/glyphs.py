"""Small handwritten digits made larger, and bent a little, all at once."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

# Digits are first enlarged to four times their size, so that the bilinear lookup that follows
# reads a smooth surface; the margin catches coordinates outside.
_ENLARGE = 4
_MARGIN = 12


def enlarge(glyphs: np.ndarray) -> np.ndarray:
    """Cubic splines through ``[N, S, S]`` in [0, 1], four times as fine, with an empty margin."""
    size = glyphs.shape[-1]
    # Spline interpolation is linear and separable: its matrix is what it does to the identity.
    matrix = ndimage.zoom(
        np.eye(size), (_ENLARGE, 1), order=3, mode="grid-constant", grid_mode=True
    ).astype(np.float32)
    fine = np.clip(matrix @ glyphs.astype(np.float32) @ matrix.T, 0, 1)
    return np.pad(fine, ((0, 0), (_MARGIN, _MARGIN), (_MARGIN, _MARGIN)))


def no_change(count: int) -> np.ndarray:
    """`count` identity maps for `draw`."""
    return np.tile(np.eye(2, 3, dtype=np.float32), (count, 1, 1))


def small_changes(
    count: int,
    rng: np.random.Generator,
    *,
    degrees: float = 12.0,
    scale: float = 0.1,
    shear: float = 0.12,
    shift: float = 1.0,
) -> np.ndarray:
    """Random affine maps ``[count, 2, 3]`` for `draw`, each range uniform and symmetric.

    Args:
      count: number of maps.
      rng: source of the changes.
      degrees: rotation.
      scale: change in size, each axis on its own.
      shear: slant.
      shift: of the picture, in pixels.
    """
    angle, slant, *sizes, down, right = rng.uniform(-1, 1, (6, count)).astype(np.float32)
    cos, sin = np.cos(np.deg2rad(degrees) * angle), np.sin(np.deg2rad(degrees) * angle)
    one, zero = np.ones_like(cos), np.zeros_like(cos)
    rotation = np.array([[cos, -sin], [sin, cos]])
    slanted = np.array([[one, zero], [shear * slant, one]])
    stretch = np.array([[1 + scale * sizes[0], zero], [zero, 1 + scale * sizes[1]]])
    linear = np.einsum("ijn,jkn,kln->nil", rotation, slanted, stretch)
    offset = shift * np.stack([down, right], -1)
    return np.concatenate([linear, offset[..., None]], -1)


def draw(
    fine: np.ndarray, which: np.ndarray, maps: np.ndarray, *, size: int, glyph_size: int
) -> np.ndarray:
    """Pictures ``[N, size, size]`` of glyphs about `glyph_size` pixels high, in their middle.

    Args:
      fine: `enlarge`'s output.
      which: ``[N]`` rows of `fine`.
      maps: ``[N, 2, 3]`` affine maps from picture to glyph coordinates (row, column; pixels,
        origin in the middle).
      size: height and width of a picture.
      glyph_size: height of a glyph in it, in pixels.
    """
    pictures = np.empty((len(which), size, size), np.float32)
    for start in range(0, len(which), 8192):  # bounds the memory that coordinates take
        rows = slice(start, start + 8192)
        pictures[rows] = _lookup(fine, which[rows], maps[rows], size, glyph_size)
    return pictures


def _lookup(
    fine: np.ndarray, which: np.ndarray, maps: np.ndarray, size: int, glyph_size: int
) -> np.ndarray:
    """Bilinear interpolation of `fine` at the mapped pixel centres."""
    width = fine.shape[-1]
    grid = np.mgrid[:size, :size].reshape(2, -1).astype(np.float32) - (size - 1) / 2
    zoom = (width - 2 * _MARGIN) / glyph_size
    at = (maps[:, :, :2] @ grid + maps[:, :, 2:]) * zoom + (width - 1) / 2
    at = np.clip(at, 0, width - 1.001)
    corner = at.astype(np.int32)
    down, right = np.moveaxis(at - corner, 1, 0)
    flat = fine.reshape(-1)
    first = (which[:, None].astype(np.int64) * width + corner[:, 0]) * width + corner[:, 1]
    top = flat[first] * (1 - right) + flat[first + 1] * right
    bottom = flat[first + width] * (1 - right) + flat[first + width + 1] * right
    return (top * (1 - down) + bottom * down).reshape(-1, size, size)
