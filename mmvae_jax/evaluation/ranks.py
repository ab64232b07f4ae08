"""How high does a search rank what it should find? From distances [N, N'], on the host.

Row i holds the distances of query i from N' candidates; which of them it should find is ``sought``,
bool [N, N'], one at least. Candidates at the same distance are taken to come in random order: every
number is the expectation over these orders.
"""

from __future__ import annotations

import math

import numpy as np


def places(distances: np.ndarray, sought: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each query how many candidates are nearer than the nearest sought one, and as near: [N].

    The latter count that one itself; the third number is how many of them are sought.
    """
    best = np.where(sought, distances, np.inf).min(1, keepdims=True)
    level = distances == best
    return (distances < best).sum(1), level.sum(1), (level & sought).sum(1)


def expected_rank(distances: np.ndarray, sought: np.ndarray) -> np.ndarray:
    """The rank of the first candidate that is sought, from 1 on, [N].

    Of h among e in random order the first is the (e + 1) / (h + 1)-th in the mean.
    """
    nearer, equal, hits = places(distances, sought)
    return nearer + (equal + 1) / (hits + 1)


def recall_at(distances: np.ndarray, sought: np.ndarray, depth: int) -> np.ndarray:
    """The probability that one that is sought is among the first ``depth``, [N]."""
    nearer, equal, hits = places(distances, sought)
    drawn = np.clip(depth - nearer, 0, equal)  # of the equal ones so many come so early
    missed = np.ones(len(distances))
    for hit in range(hits.max(initial=0)):  # hit by hit: the next one is not among those, either
        left = np.maximum(equal - hit, 1)
        missed *= np.where(hit < hits, np.maximum(left - drawn, 0) / left, 1.0)
    return 1.0 - missed


def precision_at(distances: np.ndarray, relevant: np.ndarray, depth: int) -> np.ndarray:
    """The share of relevant ones among each query's first ``depth`` candidates, [N].

    Args:
      distances: [N, N'].
      relevant: bool [N, N'].
      depth: at most N'.
    """
    limit = np.partition(distances, depth - 1, axis=1)[:, depth - 1 : depth]
    nearer, level = distances < limit, distances == limit
    # Of those at the limit only so many as are left over find a place.
    share = (depth - nearer.sum(1)) / level.sum(1)
    return ((nearer & relevant).sum(1) + share * (level & relevant).sum(1)) / depth


def median(values: np.ndarray) -> tuple[float, float]:
    """The median of [N] numbers and its standard error.

    The error is half the distance between the order statistics sqrt(N) / 2 places below and above
    the middle: the number of values below the true median is binomial, whatever their
    distribution.
    """
    ordered = np.sort(np.asarray(values, np.float64))
    count = len(ordered)
    middle, around = (count - 1) / 2, math.sqrt(count) / 2
    low, high = max(0, math.floor(middle - around)), min(count - 1, math.ceil(middle + around))
    return float(np.median(ordered)), float(ordered[high] - ordered[low]) / 2
