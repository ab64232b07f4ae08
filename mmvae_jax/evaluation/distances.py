"""How far apart are two sets of feature vectors? In float64, on the host.

The Frechet distance of Gaussians (FID when the features are those of Inception-v3: Heusel et al.
2017), the kernel distance (KID: Binkowski et al. 2018) and precision and recall (Sajjadi et al.
2018).
"""

from __future__ import annotations

import numpy as np

from mmvae_jax.evaluation.sampling import fair_order


def frechet(first: np.ndarray, second: np.ndarray) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) of the moments of features [N, F] and [N', F].

    Too large where there are few rows: sets of different sizes do not compare.
    """
    first, second = (np.asarray(x, np.float64) for x in (first, second))
    root_1, root_2 = _root(first), _root(second)
    # tr (C1 C2)^(1/2) is the sum of the singular values of R1 R2^T where C = R^T R.
    cross = np.linalg.svd(root_1 @ root_2.T, compute_uv=False).sum()
    trace = (root_1**2).sum() + (root_2**2).sum() - 2 * cross
    return float(((first.mean(0) - second.mean(0)) ** 2).sum() + trace)


def _root(x: np.ndarray) -> np.ndarray:
    """R [min(N, F), F] with R^T R the covariance of features [N, F]."""
    return np.linalg.qr((x - x.mean(0)) / np.sqrt(len(x) - 1), mode="r")


def kernel_distance(
    first: np.ndarray, second: np.ndarray, block: int
) -> tuple[float, float | None]:
    """Squared maximum mean discrepancy for the kernel (x . y / F + 1)^3, and its standard error.

    The mean of unbiased estimates on disjoint blocks of at least ``block`` rows; one of them may be
    below 0. Blocks are drawn at random, the same in every run: of rows sorted by class each would
    hold one class only, in one set and not in the other. A row of ``first`` is never compared with
    its partner in ``second``, which may be the item that it was generated from. No error where
    there is one block.

    Args:
      first: features [N, F], at least 2.
      second: as many.
      block: rows in a block; those that fill none are shared out among the blocks.
    """
    found = []
    for rows in np.array_split(fair_order(len(first)), max(1, len(first) // block)):
        x, y = (np.asarray(part[rows], np.float64) for part in (first, second))
        across = _kernel(x, y)
        total = _kernel(x, x) + _kernel(y, y) - across - across.T
        np.fill_diagonal(total, 0.0)
        found.append(total.sum() / (len(rows) * (len(rows) - 1)))
    error = np.std(found, ddof=1) / np.sqrt(len(found)) if len(found) > 1 else None
    return float(np.mean(found)), None if error is None else float(error)


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x @ y.T / x.shape[1] + 1.0) ** 3


def precision_and_recall(
    real: np.ndarray, generated: np.ndarray, *, clusters: int = 20, runs: int = 5, seed: int = 0
) -> tuple[float, float]:
    """How much of what is generated is like real items, and how much of those is generated.

    The largest F_(1/8) and F_8 on the curve of Sajjadi et al., whose distributions are the shares
    of ``clusters`` k-means clusters of both sets together; means over ``runs``. Features [N, F],
    the same number of both.
    """
    from sklearn.cluster import MiniBatchKMeans  # here: it takes a second to import

    both = np.concatenate([real, generated]).astype(np.float64)
    found = []
    for run in range(runs):
        means = MiniBatchKMeans(min(clusters, len(both)), n_init=3, random_state=seed + run)
        place = means.fit_predict(both)
        shares = [
            np.bincount(part, minlength=means.n_clusters) / len(part)
            for part in (place[: len(real)], place[len(real) :])
        ]
        found.append(summary_of_curve(*shares))
    precision, recall = np.mean(found, 0)
    return float(precision), float(recall)


def summary_of_curve(real: np.ndarray, generated: np.ndarray) -> tuple[float, float]:
    """The largest F_(1/8) and F_8 on the curve of precision and recall of two histograms [C]."""
    slope = np.tan(np.linspace(1e-6, np.pi / 2 - 1e-6, 1001))[:, None]
    precision = np.minimum(slope * real, generated).sum(-1)
    recall = np.minimum(real, generated / slope).sum(-1)

    def largest(beta: float) -> float:
        below = beta**2 * precision + recall
        score = (1 + beta**2) * precision * recall / np.where(below > 0, below, 1.0)
        return float(score.max())

    return largest(1 / 8), largest(8)
