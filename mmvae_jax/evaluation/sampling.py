"""Which rows are looked at where not all of them are: a fair choice, whatever their order.

Rows may be sorted by class, or classes may take turns, so that neither the first rows nor rows at
even distances are a fair sample. Where several rows show one item (`Split.item`), few rows are of
different items. ``item`` below holds the item of every row [N]; None: each is its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_SEED = 0


def fair_order(count: int, item: np.ndarray | None = None) -> np.ndarray:
    """The numbers 0 to count - 1 in a random order [count], the same in every run.

    A row of each item comes first, then a second one of each that has so many, and so on.
    """
    order = np.random.default_rng([_SEED, count]).permutation(count)
    return order if item is None else order[np.argsort(turns(item[order]), kind="stable")]


def some(rows: np.ndarray, count: int, item: np.ndarray | None = None) -> np.ndarray:
    """So many of these row numbers [n], or all where there are no more: in their order.

    Drawn at random without replacement, the same in every run; fewer are among more of the same.
    """
    if len(rows) <= count:
        return rows
    order = fair_order(len(rows), None if item is None else item[rows])
    return rows[np.sort(order[:count])]


def some_rows(split: Any, count: int) -> Any:
    """So many rows of a split, chosen as by `some`; the split itself where there are no more."""
    if len(split) <= count:
        return split
    return split.select(some(np.arange(len(split)), count, split.item))


def one_of_each(split: Any) -> Any:
    """A random row of each item of a split; the split itself where every row is one."""
    if split.item is None:
        return split
    return some_rows(split, len(np.unique(split.item)))


def said_of_each(split: Any) -> str:
    """What `one_of_each` adds to how rows are counted, "" where every row is an item."""
    return "" if split.item is None else ", one of each item"


def same_item(rows: np.ndarray, item: np.ndarray | None) -> np.ndarray:
    """Which of these row numbers [n] show the same, bool [n, n]: each at least the same as itself.

    The numbers are different ones.
    """
    if item is None:
        return np.eye(len(rows), dtype=bool)
    return item[rows][:, None] == item[rows]


def of_other_items(rows: np.ndarray, item: np.ndarray | None) -> np.ndarray:
    """For each of these row numbers [n] a random one of them that shows another item, [n].

    There must be two items at least. The same in every run.
    """
    known = np.arange(len(rows)) if item is None else item[rows]
    place = np.argsort(known, kind="stable")
    ordered = known[place]
    first, behind = (np.searchsorted(ordered, ordered, side) for side in ("left", "right"))
    # Of the sorted rows those behind an item's last one, and on from the start, are of others.
    others = len(rows) - (behind - first)
    drawn = behind + np.random.default_rng([_SEED, len(rows)]).integers(0, others)
    found = np.empty_like(rows)
    found[place] = rows[place[drawn % len(rows)]]
    return found


def turns(values: np.ndarray) -> np.ndarray:
    """Of each value [N] how many equal ones come before it, [N]."""
    place = np.argsort(values, kind="stable")
    ordered = values[place]
    found = np.empty(len(values), np.int64)
    found[place] = np.arange(len(values)) - np.searchsorted(ordered, ordered)
    return found
