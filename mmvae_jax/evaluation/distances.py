"""How far apart are two sets of feature vectors? In float64, on the host.

The Frechet distance of Gaussians (FID when the features are those of Inception-v3: Heusel et al.
2017), the kernel distance (KID: Binkowski et al. 2018) and precision and recall (Sajjadi et al.
2018).
"""

from __future__ import annotations

import numpy as np

from mmvae_jax.evaluation.sampling import fair_order

_RESAMPLED = 50  # times, for the errors of precision and recall


def frechet(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) of two sets' moments, and its standard error.

    Too large where there are few rows: sets of different sizes do not compare. The error is the
    infinitesimal jackknife's: how the distance moves with the weight of each row, to first order.
    It tells how much other rows would have changed the number and nothing of its bias. On draws
    from known distributions it was right where they differ and up to half too large where they
    are the same.

    Args:
      first: features [N, F], at least 2.
      second: [N', F]; where N' = N, a row and its partner are taken to be drawn together.
    """
    sets = [np.asarray(x, np.float64) for x in (first, second)]
    apart = sets[0].mean(0) - sets[1].mean(0)
    centred = [x - x.mean(0) for x in sets]
    # C = R^T R, where Q R are the centred rows over the root of N - 1.
    (q_1, r_1), (q_2, r_2) = (np.linalg.qr(x / np.sqrt(len(x) - 1)) for x in centred)
    # tr (C1 C2)^(1/2) is the sum of the singular values of R1 R2^T = U S V^T. Its derivative by
    # the logarithm of a row's weight is half of sum_k S_k (Q U)_k^2 of that row.
    u, s, v = np.linalg.svd(r_1 @ r_2.T, full_matrices=False)
    value = (apart**2).sum() + (r_1**2).sum() + (r_2**2).sum() - 2 * s.sum()
    moved = []
    for x, axes, sign in zip(centred, (q_1 @ u, q_2 @ v.T), (1, -1), strict=True):
        size = len(x)
        by_row = 2 * sign * x @ apart + size * ((x**2).sum(1) / (size - 1) - axes**2 @ s)
        moved.append((by_row - by_row.mean()) / np.sqrt(size * (size - 1)))
    if len(sets[0]) == len(sets[1]):
        moved = [moved[0] + moved[1]]
    return float(value), float(np.sqrt(sum((part**2).sum() for part in moved)))


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
    real: np.ndarray, generated: np.ndarray, *, clusters: int = 20, runs: int = 10, seed: int = 0
) -> tuple[tuple[float, float], tuple[float, float]]:
    """How much of what is generated is like real items, and how much of those is generated.

    The largest F_(1/8) and F_8 on the curve of Sajjadi et al., whose distributions are the shares
    of ``clusters`` clusters of both sets together: means over ``runs`` of mini-batch k-means. Too
    low where there are few rows. The standard error has two parts: what other rows would have
    changed (a bootstrap of pairs of rows, in the clusters that were found), and what other runs
    would have.

    Args:
      real: features [N, F].
      generated: as many; a row and its partner are taken to be drawn together.
      clusters: of k-means.
      runs: of k-means.
      seed: of k-means and the bootstrap.

    Returns:
      (value, standard error) of precision and of recall.
    """
    from sklearn.cluster import MiniBatchKMeans  # here: it takes a second to import

    both = np.concatenate([real, generated]).astype(np.float64)
    count = min(clusters, len(both))
    places = [
        MiniBatchKMeans(count, n_init=3, random_state=seed + run).fit_predict(both)
        for run in range(runs)
    ]
    size = len(real)

    def summaries(rows: np.ndarray) -> np.ndarray:
        """[runs, 2] of these rows of both sets."""
        found = []
        for place in places:
            sets = (place[:size][rows], place[size:][rows])
            shares = (np.bincount(part, minlength=count) / size for part in sets)
            found.append(summary_of_curve(*shares))
        return np.array(found)

    found = summaries(np.arange(size))
    generator = np.random.default_rng(seed)
    others = [summaries(generator.integers(0, size, size)).mean(0) for _ in range(_RESAMPLED)]
    variance = np.var(others, 0, ddof=1)
    if runs > 1:
        variance = variance + found.var(0, ddof=1) / runs
    precision, recall = zip(found.mean(0).tolist(), np.sqrt(variance).tolist(), strict=True)
    return precision, recall


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
