"""Canonical correlation analysis: directions of two views along which they agree the most."""

from __future__ import annotations

import dataclasses

import numpy as np

_TOLERANCE = 1e-10  # variance, next to the largest, below which a direction of a view is none


@dataclasses.dataclass(frozen=True, eq=False)
class Projections:
    """Both views' maps into one space.

    Attributes:
      means: of the columns of each view, [P] and [Q].
      directions: of each view, [P, k] and [Q, k], columns in the order of the correlations.
      correlations: [k], descending; of the rows that they were fitted on where there is no ridge.
    """

    means: tuple[np.ndarray, np.ndarray]
    directions: tuple[np.ndarray, np.ndarray]
    correlations: np.ndarray

    def cosines(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Cosine of the projections of each pair of rows [N, P] and [N, Q]; 0 where one is 0."""
        projected = [
            (view - mean) @ directions
            for view, mean, directions in zip((x, y), self.means, self.directions, strict=True)
        ]
        lengths = np.linalg.norm(projected[0], axis=1) * np.linalg.norm(projected[1], axis=1)
        return (projected[0] * projected[1]).sum(1) / np.where(lengths > 0, lengths, 1.0)


def cca(x: np.ndarray, y: np.ndarray, k: int, ridge: float = 0.0) -> Projections:
    """The k pairs of directions with the largest correlations, in closed form.

    The singular vectors of Cxx^(-1/2) Cxy Cyy^(-1/2), turned back into the views' units: the
    solutions of the generalised eigenproblem of the blocks Cxy, Cyx against those of Cxx, Cyy.
    Every projected column has variance 1 (with its share of the ridge).

    Args:
      x: [N, P], at least two rows.
      y: [N, Q], row i belongs to row i of ``x``.
      k: number of pairs; fewer are returned where a view varies in fewer directions.
      ridge: added to the diagonals of Cxx and Cyy.

    Raises:
      ValueError: the numbers of rows differ, there are fewer than two, ``k`` is not positive, or a
        view does not vary.
    """
    if len(x) != len(y) or len(x) < 2 or k < 1:
        raise ValueError(f"{len(x)} and {len(y)} rows, {k} directions: need pairs, and at least 1")
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    means = x.mean(0), y.mean(0)
    x, y = x - means[0], y - means[1]
    whitening = [_whitening(view.T @ view / len(view), ridge) for view in (x, y)]
    if not all(matrix.size for matrix in whitening):
        raise ValueError("a view does not vary: it has no correlation")
    between = whitening[0].T @ (x.T @ y / len(x)) @ whitening[1]
    left, correlations, right = np.linalg.svd(between, full_matrices=False)
    directions = whitening[0] @ left[:, :k], whitening[1] @ right[:k].T
    return Projections(means, directions, correlations[:k])


def _whitening(covariance: np.ndarray, ridge: float) -> np.ndarray:
    """W [P, R] with W' (C + ridge) W = 1, of the R directions in which there is any variance."""
    variances, vectors = np.linalg.eigh(covariance)
    there = variances > _TOLERANCE * max(variances[-1], 0.0)
    return vectors[:, there] / np.sqrt(variances[there] + ridge)
