"""The rows that are looked at are a fair choice, whatever their order."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mmvae_jax.evaluation import (
    Context,
    Settings,
    diversity,
    information,
    likelihood,
    relatedness,
    retrieval,
    robustness,
)
from mmvae_jax.evaluation.sampling import (
    fair_order,
    of_other_items,
    one_of_each,
    same_item,
    some,
    some_rows,
    turns,
)
from tests.evaluation import fakes, placed


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


@pytest.mark.parametrize("sizes", [[10] * 30, [1, 5, 2, 9, 1, 40]])
def test_few_rows_are_of_different_items(generator, sizes):
    item = generator.permutation(np.repeat(generator.permutation(len(sizes)), sizes))
    rows = 7 + np.arange(len(item))
    whole = np.concatenate([np.full(7, -1), item])
    for count in (len(sizes) - 1, len(sizes), len(sizes) + 3):
        chosen = some(rows, count, whole)
        held = np.bincount(whole[chosen], minlength=len(sizes))
        assert len(set(chosen)) == count and set(chosen) < set(rows)
        assert held.sum() == count and np.count_nonzero(held) == min(count, len(sizes))
    assert set(some(rows, 3, whole)) < set(some(rows, 9, whole))
    np.testing.assert_array_equal(np.sort(fair_order(len(item), item)), np.arange(len(item)))
    # Rows beyond the first of each: one more of each item that has two, and so on.
    turn = turns(item[fair_order(len(item), item)])
    assert (np.diff(turn) >= 0).all() and turn.max() == max(sizes) - 1


def test_other_items_are_drawn_alike(generator):
    item = generator.permutation(np.repeat(np.arange(4), [300, 600, 100, 1000]))
    rows = 5 + generator.permutation(len(item))
    whole = np.concatenate([np.full(5, -1), item])
    found = of_other_items(rows, whole)
    assert set(found) <= set(rows) and (whole[found] != whole[rows]).all()
    drawn = whole[found[whole[rows] == 3]]
    share = np.bincount(drawn) / len(drawn)
    assert abs(share - [0.3, 0.6, 0.1]).max() < 4 * np.sqrt(0.25 / 1000)
    np.testing.assert_array_equal(found, of_other_items(rows, whole))
    alone = of_other_items(np.arange(3), None)
    assert (alone != np.arange(3)).all()
    np.testing.assert_array_equal(of_other_items(np.array([4, 9]), None), [9, 4])
    np.testing.assert_array_equal(same_item(np.array([4, 9]), None), np.eye(2, dtype=bool))
    same = same_item(np.array([0, 2, 3]), np.array([1, 7, 2, 1]))
    np.testing.assert_array_equal(same, [[1, 0, 1], [0, 1, 0], [1, 0, 1]])


def test_one_of_each_item():
    split = fakes.split(40, 0)
    assert one_of_each(split) is split
    split = dataclasses.replace(split, item=np.arange(40) // 10)
    found = one_of_each(split)
    np.testing.assert_array_equal(found.item, [0, 1, 2, 3])
    assert one_of_each(found) is found


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


def in_order_of_classes(given):
    """A context of the same rows, sorted by class."""
    splits = {
        part: split.select(np.argsort(split.label, kind="stable"))
        for part, split in given.dataset.splits.items()
    }
    return dataclasses.replace(given, dataset=dataclasses.replace(given.dataset, splits=splits))


def classes_seen(monkeypatch, given, *metrics):
    """Of each metric the classes of the rows that it looked at."""
    found = {}
    passed = Context.batches
    for metric in metrics:
        seen = found[metric.__name__] = set()

        def batches(self, split, batch_size=None, seen=seen):
            seen |= set(np.asarray(split.label).tolist())
            return passed(self, split, batch_size)

        monkeypatch.setattr(Context, "batches", batches)
        metric(given)
    monkeypatch.setattr(Context, "batches", passed)
    return found


def test_metrics_on_some_of_sorted_rows_see_all_classes(generator, monkeypatch):
    """Of the first 20 of these rows most classes would have none."""
    for module in (diversity, information, relatedness, retrieval):
        monkeypatch.setattr(module, "_ROWS", 20)
    given = in_order_of_classes(placed.context(generator, count=120))
    assert len(set(given.rows.label[:20])) == 1
    metrics = (retrieval.retrieval, relatedness.relatedness, information.information)
    for name, seen in classes_seen(monkeypatch, given, *metrics).items():
        assert seen == {-1, 0, 1, 2}, name
    names = ("a", "b", "v")
    given = Context(
        model=fakes.FakeModel(fakes.specs(names)),
        variables=fakes.variables(names),
        dataset=fakes.dataset(names, test=120),
        settings=Settings(batch_size=20, likelihood_examples=20, robustness_examples=20),
        workdir=None,
        step=0,
    )
    given = in_order_of_classes(given)
    assert len(set(given.rows.label[:20])) == 1
    given.__dict__["classifiers"] = fakes.perfect_judges(names)  # nothing is trained
    metrics = (
        diversity.conditional_diversity,
        likelihood.log_likelihoods,
        robustness.missing_modalities,
    )
    for name, seen in classes_seen(monkeypatch, given, *metrics).items():
        assert seen == {0, 1, 2, 3}, name
