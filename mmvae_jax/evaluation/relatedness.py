"""Do two modalities place one item together? Distances between their posteriors (MEME, 2022).

2-Wasserstein distances (see ``posteriors``) of the two views of one row, paired, stand against
those of different rows, unpaired. The rows are the independent units, not the distances: each
estimate is the mean of one number per row, whose spread between rows is its standard error to
first order.
"""

from __future__ import annotations

import numpy as np

from mmvae_jax.evaluation.context import Context
from mmvae_jax.evaluation.pairs import over_pairs, spread_out
from mmvae_jax.evaluation.posteriors import pairs
from mmvae_jax.evaluation.result import Result
from mmvae_jax.evaluation.sampling import some_rows

_ROWS = 1000  # at most
_MEANINGS = {
    "paired": "mean distance of the two views of one row",
    "unpaired": "mean distance of views of different rows",
    "difference": "unpaired less paired mean distance",
    "auc": "probability that a paired distance is smaller than an unpaired one",
}


def relatedness(context: Context) -> dict[str, Result]:
    """``relatedness/paired/...``, ``.../unpaired/...``, ``.../difference/...``, ``.../auc/...``.

    Of each a symmetric ``matrix`` [M, M] and the ``mean`` over pairs of modalities. Where there
    are classes, ``relatedness/classes`` [C, C] too: the mean distance between rows of two classes,
    over all pairs of modalities; NaN where a class has no row.
    """
    rows = some_rows(context.rows, _ROWS)
    cells: dict[str, dict[tuple[int, int], np.ndarray]] = {name: {} for name in _MEANINGS}
    label = None if rows.label is None else np.asarray(rows.label)
    classes = context.dataset.num_classes if label is not None else 0
    total, number = np.zeros((classes, classes)), np.zeros((classes, classes))
    for pair in pairs(context, rows):
        distances = np.sqrt(pair.distances)
        for name, values in contrast(distances).items():
            spread = spread_out(values, pair.rows, len(rows))
            cells[name][pair.first, pair.second] = spread
            cells[name][pair.second, pair.first] = spread
        if classes:
            added = between_classes(distances, label[pair.rows], label[pair.rows], classes)
            total, number = total + added[0], number + added[1]
    said = "2-Wasserstein, between shared posteriors given one modality alone"
    results: dict[str, Result] = {}
    for name, meaning in _MEANINGS.items():
        how = f"{meaning}; {said}; error over {context.settings.split} rows"
        results |= over_pairs(f"relatedness/{name}", cells[name], len(context.names), how)
    if not number.any():
        reason = f"the dataset {context.dataset.name!r} has no labels"
        context.skipped["relatedness/classes"] = reason if label is None else "no row has a class"
        return results
    with np.errstate(invalid="ignore", divide="ignore"):
        results["relatedness/classes"] = Result(
            values=total / number,
            n=int((label >= 0).sum()),
            how=f"mean distance between rows of two classes, all pairs of modalities; {said}",
        )
    return results


def contrast(distances: np.ndarray) -> dict[str, np.ndarray]:
    """Numbers per row [n] whose means are the estimates of `relatedness`, by name.

    For an estimate U they are U plus what row i adds to it, its influence: their standard error is
    U's to first order (Hajek's projection of a U-statistic).

    Args:
      distances: [n, n], n > 1, of the first view of row i from the second one of row j.
    """
    count = len(distances)
    paired = np.diagonal(distances).astype(np.float64)
    unpaired = _over_different(distances)
    off = distances[~np.eye(count, dtype=bool)]
    # Each comparison of a paired with an unpaired distance, from either side; ties count half.
    larger = 1 - _share_below(off, paired)
    smaller = np.zeros((count, count))
    smaller[~np.eye(count, dtype=bool)] = _share_below(paired, off)
    return {
        "paired": paired,
        "unpaired": unpaired,
        "difference": unpaired - paired,
        "auc": larger + _over_different(smaller) - larger.mean(),
    }


def _over_different(values: np.ndarray) -> np.ndarray:
    """Numbers per row [n] whose mean is that of ``values`` [n, n] off the diagonal."""
    count = len(values)
    off = np.where(np.eye(count, dtype=bool), 0.0, values)
    return (off.sum(0) + off.sum(1)) / (count - 1) - off.sum() / (count * (count - 1))


def _share_below(among: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The share of ``among`` that is smaller than each of ``values``; equal ones count half."""
    ordered = np.sort(among)
    below = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
    return below / (2 * len(ordered))


def between_classes(
    distances: np.ndarray, first: np.ndarray, second: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Sums of distances between rows of two classes, and their numbers: symmetric, [C, C].

    Args:
      distances: [n, n'].
      first: class of each row [n]; negative: none.
      second: the same of each column [n'].
      count: C.
    """
    one, other = (
        (np.asarray(label)[:, None] == np.arange(count)).astype(np.float64)
        for label in (first, second)
    )
    total, number = one.T @ distances @ other, np.outer(one.sum(0), other.sum(0))
    return total + total.T, number + number.T
