"""The rows that are looked at are a fair choice, whatever their order."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mmvae_jax.evaluation import Context, Settings
from mmvae_jax.evaluation.sampling import fair_order, some, some_rows
from tests.evaluation import fakes


def test_fewer_rows_are_among_more_in_order_and_the_same_again():
    rows = np.arange(50, 1050)
    few, more = some(rows, 100), some(rows, 500)
    assert len(few) == 100 and len(more) == 500 and set(few) < set(more) < set(rows)
    assert (np.diff(few) > 0).all() and (np.diff(more) > 0).all()
    np.testing.assert_array_equal(few, some(rows, 100))
    np.testing.assert_array_equal(few - 50, some(np.arange(1000), 100))  # the number decides
    assert some(rows, 1000) is rows and some(rows, 2000) is rows
    np.testing.assert_array_equal(np.sort(fair_order(9)), np.arange(9))


@pytest.mark.parametrize("label", [np.arange(1000) // 100, np.arange(1000) % 10])
def test_all_classes_have_their_share_whether_sorted_or_in_turn(label):
    """Of the first rows all would be of one class, and so of those at even distances in turn."""
    count = np.bincount(label[some(np.arange(1000), 100)], minlength=10)
    # Hypergeometric: 10 of each in the mean, with a standard deviation of 2.8.
    assert abs(count - 10).max() < 4 * 2.8 and count.min() > 0
    at_first = np.bincount(label[:100], minlength=10), np.bincount(label[::10], minlength=10)
    assert min(found.min() for found in at_first) == 0


def test_every_position_is_as_likely_as_any_other():
    """Over 400 numbers of rows, at tenths of their range."""
    places = np.concatenate([10 * some(np.arange(n), 20) // n for n in range(200, 600)])
    share = np.bincount(places, minlength=10) / len(places)
    assert abs(share - 0.1).max() < 4 * np.sqrt(0.09 / len(places))


def test_splits_and_contexts_take_such_rows():
    split = fakes.split(60, 0)
    order = np.argsort(split.label, kind="stable")  # as whoever brings arrays may have sorted them
    split = split.select(order)
    found = some_rows(split, 20)
    rows = some(np.arange(60), 20)
    np.testing.assert_array_equal(found.label, split.label[rows])
    np.testing.assert_array_equal(found.x["a"], split.x["a"][rows])
    assert set(found.label) == {0, 1, 2, 3} and set(split.label[:15]) == {0}
    assert some_rows(split, 60) is split
    data = fakes.dataset()
    data = dataclasses.replace(data, splits={**data.splits, "test": split})
    settings = Settings(num_examples=20)
    given = Context(None, {}, data, settings, workdir=None, step=0)
    np.testing.assert_array_equal(given.rows.label, found.label)
