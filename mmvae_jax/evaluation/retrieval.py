"""Does one modality find the other? Every row's posterior seeks its partner among all rows'.

Queries and candidates are the same rows, each as the shared posterior given one modality alone;
the nearest by 2-Wasserstein distance come first (see ``posteriors``), with nothing fitted. What is
sought is the row's own partner, or any row that shows the same item (`Split.item`: ten captions of
one image), the best of which counts. Where modalities are paired by class alone (polydigits,
MNIST-SVHN) nothing tells it from others of its class: there the class of what comes first counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mmvae_jax.evaluation import ranks
from mmvae_jax.evaluation.context import Context
from mmvae_jax.evaluation.pairs import over_pairs, spread_out
from mmvae_jax.evaluation.posteriors import Pair, pairs
from mmvae_jax.evaluation.result import Result
from mmvae_jax.evaluation.sampling import same_item, some_rows

_ROWS = 1000  # at most: queries, and candidates
_DEPTHS = (1, 5, 10)
_DISTANCE = "2-Wasserstein distance of shared posteriors given one modality, ties by expectation"


def retrieval(context: Context) -> dict[str, Result]:
    """``retrieval/recall@<k>/...``, ``retrieval/precision@<k>/...`` and ``.../median_rank/...``.

    For k = 1, 5, 10; of each a ``matrix`` [M queries, M candidates] and the ``mean`` of its cells.
    Rows that have both modalities are queries and candidates. Recall: the share of queries that
    find their own item among the first k. Precision: the share of the query's class among the
    first k, over rows that have a class. Pairs with k candidates or fewer are left out.
    """
    rows = some_rows(context.rows, _ROWS)
    searches = [way for pair in pairs(context, rows) for way in (pair, pair.turned)]
    largest = max(searches, key=lambda search: len(search.rows))
    size, alike = len(largest.rows), same_item(largest.rows, rows.item)
    said = f"{size} candidates; {_DISTANCE}; error over {context.settings.split} rows; rows: query"
    results: dict[str, Result] = {}

    def add(label: str, found: Sequence[Pair], depth: int, score: Score, how: str) -> None:
        deep = [search for search in found if len(search.rows) > depth]
        if not deep:
            context.skipped[label] = f"no pair of modalities has more than {depth} candidates"
            return
        cells = {
            (search.first, search.second): spread_out(score(search), search.rows, len(rows))
            for search in deep
        }
        results.update(over_pairs(label, cells, len(context.names), f"{how}; {said}"))

    for depth in _DEPTHS:
        add(
            f"retrieval/recall@{depth}",
            searches,
            depth,
            lambda search, depth=depth: ranks.recall_at(
                search.distances, same_item(search.rows, rows.item), depth
            ),
            f"share of queries that find their own item among the first {depth}, "
            f"by chance {ranks.recall_at(0.0 * alike, alike, depth).mean():.2g}",
        )
    chance = ranks.expected_rank(0.0 * alike, alike).mean()
    found = [
        ranks.expected_rank(search.distances, same_item(search.rows, rows.item))
        for search in searches
    ]
    results |= _median_ranks(searches, found, len(context.names), f"{chance:g}; {said}")
    if rows.label is None:
        reason = f"the dataset {context.dataset.name!r} has no labels"
        context.skipped["retrieval/precision"] = reason
        return results
    label = np.asarray(rows.label)
    searches = [search.among(label >= 0) for search in searches]
    for depth in _DEPTHS:
        add(
            f"retrieval/precision@{depth}",
            searches,
            depth,
            lambda search, depth=depth: ranks.precision_at(
                search.distances, label[search.rows][:, None] == label[search.rows], depth
            ),
            f"share of the query's class among its first {depth}, by chance {_chance(label):.2g}",
        )
    return results


Score = Callable[[Pair], np.ndarray]  # one number per query, [n]


def _chance(label: np.ndarray) -> float:
    """The mean share of a row's class among all rows that have one; 0 where none has."""
    share = np.bincount(label[label >= 0]) / max(1, (label >= 0).sum())
    return float((share**2).sum())


def _median_ranks(
    searches: Sequence[Pair], found: Sequence[np.ndarray], count: int, chance: str
) -> dict[str, Result]:
    """From the rank for each query of each search, ``found``."""
    values = np.full((count, count), np.nan)
    errors = np.full((count, count), np.nan)
    for search, rank in zip(searches, found, strict=True):
        place = search.first, search.second
        values[place], errors[place] = ranks.median(rank)
    cells = np.isfinite(values)
    n = len(np.unique(np.concatenate([search.rows for search in searches])))
    how = f"median over queries of the rank of their own item, from 1 on, by chance {chance}"
    return {
        "retrieval/median_rank/matrix": Result(values=values, standard_error=errors, n=n, how=how),
        "retrieval/median_rank/mean": Result(
            value=float(values[cells].mean()),
            # Cells share their rows: this holds even if they all err together.
            standard_error=float(errors[cells].mean()),
            n=n,
            how=f"mean of {int(cells.sum())} cells of its matrix, error at most; {how}",
        ),
    }
