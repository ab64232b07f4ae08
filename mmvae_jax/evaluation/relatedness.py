"""Do two modalities place one item together? Distances between their posteriors (MEME, 2022).

2-Wasserstein distances (see ``posteriors``) of the two views of one row, paired, stand against
those of different items, unpaired (rows may show the same one: `Split.item`). The rows are the
independent units, not the distances: each estimate is the mean of one number per row, whose spread
between rows is its standard error to first order.
"""

from __future__ import annotations

import numpy as np

from mmvae_jax.evaluation.context import Context
from mmvae_jax.evaluation.pairs import over_pairs, spread_out
from mmvae_jax.evaluation.posteriors import pairs
from mmvae_jax.evaluation.result import NotApplicable, Result
from mmvae_jax.evaluation.sampling import same_item, some_rows

_ROWS = 1000  # at most
_MEANINGS = {
    "paired": "mean distance of the two views of one row",
    "unpaired": "mean distance of views of different items",
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
    found = pairs(context, rows)
    alike = [same_item(pair.rows, rows.item) for pair in found]
    if all(same.all() for same in alike):
        raise NotApplicable(f"the {context.settings.split} rows show one item only")
    for pair, same in zip(found, alike, strict=True):
        distances = np.sqrt(pair.distances)
        for name, values in contrast(distances, same).items():
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


def contrast(distances: np.ndarray, same: np.ndarray) -> dict[str, np.ndarray]:
    """Numbers per row [n] whose means are the estimates of `relatedness`, by name.

    For an estimate U they are U plus what row i adds to it, its influence: their standard error is
    U's to first order (Hajek's projection of a U-statistic).

    Args:
      distances: [n, n], n > 1, of the first view of row i from the second one of row j.
      same: symmetric bool [n, n], which rows show the same item; the diagonal is true. Where all is
        the estimates of other items are NaN.
    """
    paired = np.diagonal(distances).astype(np.float64)
    if same.all():
        nothing = np.full(len(paired), np.nan)
        return {name: paired if name == "paired" else nothing for name in _MEANINGS}
    unpaired = _over_different(distances, same)
    off = distances[~same]
    # Each comparison of a paired with an unpaired distance, from either side; ties count half.
    larger = 1 - _share_below(off, paired)
    smaller = np.zeros(distances.shape)
    smaller[~same] = _share_below(paired, off)
    return {
        "paired": paired,
        "unpaired": unpaired,
        "difference": unpaired - paired,
        "auc": larger + _over_different(smaller, same) - larger.mean(),
    }


def _over_different(values: np.ndarray, same: np.ndarray) -> np.ndarray:
    """Numbers per row [n] whose mean is that of ``values`` [n, n] where not the same."""
    off, other = np.where(same, 0.0, values), ~same
    average = off.sum() / other.sum()
    share = len(values) / other.sum()
    # What row i adds to the sum of values less what it adds to their number.
    added = off.sum(0) + off.sum(1) - average * (other.sum(0) + other.sum(1))
    return average + share * added


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
