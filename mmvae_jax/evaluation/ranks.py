"""How high does a search rank what it should find? From distances [N, N'], on the host.

Row i holds the distances of query i from N' candidates. Candidates at the same distance are taken
to come in random order: every number is the expectation over these orders.
"""

from __future__ import annotations

import math

import numpy as np


def places(distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each query i how many candidates are nearer than candidate i, and how many as near: [N].

    The latter count candidate i itself: its rank is one of nearer + 1, ..., nearer + equal.
    """
    own = np.diagonal(distances)[:, None]
    return (distances < own).sum(1), (distances == own).sum(1)


def expected_rank(distances: np.ndarray) -> np.ndarray:
    """The rank of candidate i for query i, from 1 on, [N]."""
    nearer, equal = places(distances)
    return nearer + (equal + 1) / 2


def recall_at(distances: np.ndarray, depth: int) -> np.ndarray:
    """The probability that candidate i is among the first ``depth`` for query i, [N]."""
    nearer, equal = places(distances)
    return np.clip((depth - nearer) / equal, 0.0, 1.0)


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
