"""Pictures of plain shapes with smooth edges, drawn all at once.

A shape is known by its signed distance: how far a point is outside (negative: inside), in pixels.
A pixel is covered by as much as its centre lies deeper than half a pixel outside. Coordinates are
x to the right and y down from the middle of the picture.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

_BLOCK = 512  # pictures drawn at a time


@dataclasses.dataclass(frozen=True, eq=False)
class Objects:
    """One object in each of N pictures.

    Attributes:
      shape: number in `SHAPES`, int ``[N]``.
      colour: float32 ``[N, 3]`` in [0, 1].
      centre: (x, y) ``[N, 2]`` from the middle, as shares of the picture's side.
      radius: ``[N]``, of the circle around it, as a share of the side.
      angle: ``[N]``, radians that it is turned by.
    """

    shape: np.ndarray
    colour: np.ndarray
    centre: np.ndarray
    radius: np.ndarray
    angle: np.ndarray

    def at(self, rows: slice) -> Objects:
        """Those of the named pictures."""
        values = {f.name: getattr(self, f.name)[rows] for f in dataclasses.fields(self)}
        return Objects(**values)


def draw(background: np.ndarray, layers: list[Objects], size: int) -> np.ndarray:
    """Pictures uint8 ``[N, size, size, 3]``: the layers, in order, on a plain ground ``[N, 3]``."""
    pictures = np.empty((len(background), size, size, 3), np.uint8)
    for start in range(0, len(background), _BLOCK):
        rows = slice(start, start + _BLOCK)
        picture = background[rows, None, None].astype(np.float32)
        for layer in layers:
            part = layer.at(rows)
            covered = coverage(part, size)[..., None]
            picture = picture + covered * (part.colour[:, None, None] - picture)
        pictures[rows] = np.rint(255 * np.clip(picture, 0, 1))
    return pictures


def coverage(objects: Objects, size: int) -> np.ndarray:
    """Share of each pixel that is covered, float32 ``[N, size, size]``."""
    steps = (np.arange(size, dtype=np.float32) + 0.5 - size / 2)[None]
    x = (steps - size * objects.centre[:, :1]).astype(np.float32)[:, None, :]
    y = (steps - size * objects.centre[:, 1:]).astype(np.float32)[:, :, None]
    cos, sin = (f(objects.angle).astype(np.float32)[:, None, None] for f in (np.cos, np.sin))
    x, y = cos * x + sin * y, cos * y - sin * x
    radius = (size * objects.radius).astype(np.float32)[:, None, None]
    distance = np.empty(x.shape, np.float32)
    for number, shape in enumerate(SHAPES.values()):
        rows = objects.shape == number
        distance[rows] = shape(x[rows], y[rows], radius[rows])
    return np.clip(0.5 - distance, 0, 1)


def _circle(x: np.ndarray, y: np.ndarray, r: np.ndarray) -> np.ndarray:
    return np.hypot(x, y) - r


def _square(x: np.ndarray, y: np.ndarray, r: np.ndarray) -> np.ndarray:
    return np.maximum(abs(x), abs(y)) - 0.82 * r


def _triangle(x: np.ndarray, y: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Its tip is up; y is measured down."""
    slope = np.float32(math.sqrt(3) / 2) * abs(x) - 0.5 * y
    return np.maximum(slope, y) - 0.5 * r


def _cross(x: np.ndarray, y: np.ndarray, r: np.ndarray) -> np.ndarray:
    x, y, arm = abs(x), abs(y), 0.3 * r
    return np.minimum(np.maximum(x - r, y - arm), np.maximum(x - arm, y - r))


def _ring(x: np.ndarray, y: np.ndarray, r: np.ndarray) -> np.ndarray:
    return abs(np.hypot(x, y) - 0.72 * r) - 0.28 * r


def _star(x: np.ndarray, y: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Five tips, one of them up: the distance to the edge from a tip to the notch beside it."""
    fifth = 2 * math.pi / 5
    turned = np.mod(np.arctan2(x, -y) + fifth / 2, fifth) - fifth / 2
    far = np.hypot(x, y)
    along, across = far * np.cos(turned), far * abs(np.sin(turned))
    notch = (0.42 * math.cos(fifth / 2), 0.42 * math.sin(fifth / 2))
    edge = (1 - notch[0], notch[1])
    unit = math.hypot(*edge)
    return ((along - r) * np.float32(edge[1] / unit) + across * np.float32(edge[0] / unit)).astype(
        np.float32
    )


SHAPES = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "cross": _cross,
    "ring": _ring,
    "star": _star,
}
