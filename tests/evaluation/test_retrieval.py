"""Ranks against their definition, and retrieval against one query at a time."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from mmvae_jax.evaluation import NotApplicable, ranks, retrieval
from tests.evaluation import fakes, placed


def orders(distances):
    """Every order in which the candidates of a query [N'] may come, equal ones in any order."""
    found = []
    for order in itertools.permutations(range(len(distances))):
        sorted_ = distances[list(order)]
        if (np.diff(sorted_) >= 0).all():
            found.append(order)
    return found


def tied(generator, count):
    """Distances with many ties, [N, N]."""
    return generator.integers(0, 4, (count, count)).astype(float)


def test_ranks_are_means_over_all_orders_of_what_is_tied(generator):
    distances = tied(generator, 6)
    relevant = generator.random((6, 6)) < 0.5
    sought = relevant | np.eye(6, dtype=bool)
    sought[0] = np.eye(6, dtype=bool)[0]
    distances[1, [0, 3]], sought[1, [0, 3]] = 0.0, True  # several that are sought are tied
    rank, recall, precision = np.zeros(6), np.zeros((7, 6)), np.zeros((7, 6))
    for query in range(6):
        every = orders(distances[query])
        wanted = np.flatnonzero(sought[query])
        places = np.array([1 + min(order.index(place) for place in wanted) for order in every])
        rank[query] = places.mean()
        for depth in range(1, 7):
            recall[depth, query] = (places <= depth).mean()
            shares = [relevant[query][list(order[:depth])].mean() for order in every]
            precision[depth, query] = np.mean(shares)
    np.testing.assert_allclose(ranks.expected_rank(distances, sought), rank)
    for depth in range(1, 7):
        np.testing.assert_allclose(ranks.recall_at(distances, sought, depth), recall[depth])
        np.testing.assert_allclose(ranks.precision_at(distances, relevant, depth), precision[depth])
    assert ((recall > 0) & (recall < 1)).any() and ((precision > 0) & (precision < 1)).any()


def test_the_error_of_a_median_is_its_spread_between_samples(generator):
    samples = generator.exponential(size=(2000, 201))
    found = np.array([ranks.median(sample) for sample in samples])
    np.testing.assert_array_equal(found[:, 0], np.median(samples, 1))
    assert found[:, 1].mean() == pytest.approx(found[:, 0].std(), rel=0.1)
    assert ranks.median(np.array([3.0])) == (3.0, 0.0)


def brute_force(rows, asking, sought, depth):
    """(recall, precision, median rank) by sorting, one query at a time."""
    both = np.flatnonzero(rows.present[asking] & rows.present[sought])
    x, y = (rows.x[name][both][:, : placed.SHARED] for name in (asking, sought))
    label = rows.label[both]
    recall, rank, precision = [], [], []
    for i in range(len(both)):
        order = np.argsort([((x[i] - y[j]) ** 2).sum() for j in range(len(both))])
        rank.append(1 + list(order).index(i))
        recall.append(rank[-1] <= depth)
        known = [j for j in order if label[j] >= 0][:depth]
        if label[i] >= 0:
            precision.append(np.mean(label[known] == label[i]))
    return recall, precision, rank


def test_retrieval_against_one_query_at_a_time(generator):
    given = placed.context(generator, count=50)
    rows = given.dataset.splits["test"]
    rows.present["b"][:20] = False
    rows.x["b"][:20] = 0.0
    found = retrieval.retrieval(given)
    names = list(placed.NAMES)
    for asking, sought in itertools.permutations(names, 2):
        place = names.index(asking), names.index(sought)
        for depth in (1, 5, 10):
            recall, precision, rank = brute_force(rows, asking, sought, depth)
            matrix = found[f"retrieval/recall@{depth}/matrix"]
            assert matrix.values[place] == pytest.approx(np.mean(recall))
            error = np.std(recall, ddof=1) / np.sqrt(len(recall))
            assert matrix.standard_error[place] == pytest.approx(error)
            assert len(recall) == (30 if "b" in (asking, sought) else 50)
            matrix = found[f"retrieval/precision@{depth}/matrix"]
            assert matrix.values[place] == pytest.approx(np.mean(precision))
        assert found["retrieval/median_rank/matrix"].values[place] == np.median(rank)
    mean = found["retrieval/recall@1/mean"]
    matrix = found["retrieval/recall@1/matrix"]
    assert np.isnan(np.diag(matrix.values)).all()
    assert mean.value == pytest.approx(np.nanmean(matrix.values)) and mean.n == 50
    assert 0 < mean.standard_error < np.nanmean(matrix.standard_error)
    assert 0.1 < mean.value < 1 and "by chance 0.02" in mean.how and "mean of 6 cells" in mean.how
    assert found["retrieval/recall@10/mean"].value > mean.value
    assert not given.skipped


def of_ten(given):
    """The same with each row's views ten times, as captions of one image, and their items."""
    rows = given.dataset.splits["test"].select(np.repeat(np.arange(len(given.rows)), 10))
    rows = dataclasses.replace(rows, item=np.arange(len(rows)) // 10)
    splits = {**given.dataset.splits, "test": rows}
    return dataclasses.replace(given, dataset=dataclasses.replace(given.dataset, splits=splits))


def test_a_caption_that_finds_its_image_by_another_caption_is_right(generator):
    """A perfect model: ten rows of an item have one posterior, which no other item has."""
    given = placed.context(generator, count=12)
    test = given.dataset.splits["test"]
    for name in placed.NAMES[1:]:
        test.x[name][:] = test.x["a"]
    found = retrieval.retrieval(of_ten(given))
    assert found["retrieval/recall@1/mean"].value == pytest.approx(1, abs=1e-12)
    assert found["retrieval/median_rank/mean"].value == 1
    assert "120 candidates" in found["retrieval/recall@1/mean"].how
    # One of ten in 120, and the first of ten among 120 in random order.
    assert "by chance 0.083;" in found["retrieval/recall@1/mean"].how
    assert "by chance 11;" in found["retrieval/median_rank/mean"].how


def test_of_repeated_rows_each_item_is_a_query_first(generator, monkeypatch):
    """Ten copies of every row change nothing while there are as many items as rows to ask."""
    monkeypatch.setattr(retrieval, "_ROWS", 50)
    given = placed.context(generator, count=50)
    once, ten = retrieval.retrieval(given), retrieval.retrieval(of_ten(given))
    assert once.keys() == ten.keys()
    for name, result in once.items():
        value, again = (x.values if x.value is None else x.value for x in (result, ten[name]))
        np.testing.assert_allclose(again, value, err_msg=name)


def test_views_that_tell_the_class_alone_find_it_and_each_other_by_chance(generator):
    """All posteriors of a class are the same: 13 or 12 of 50 rows."""
    given = placed.context(generator)
    given = dataclasses.replace(
        given,
        model=fakes.FakeModel(fakes.specs()),
        variables=fakes.variables(),
        dataset=fakes.dataset(),
    )
    found = retrieval.retrieval(given)
    assert found["retrieval/precision@10/mean"].value == 1
    assert found["retrieval/precision@10/mean"].standard_error == 0
    # 26 rows are in classes of 13, 24 in classes of 12: 1 / 13 and 1 / 12 of finding the own one.
    assert found["retrieval/recall@1/mean"].value == pytest.approx(4 / 50)
    assert found["retrieval/median_rank/mean"].value == 7


def test_without_labels_and_with_few_rows(generator):
    given = placed.context(generator, count=8, labels=False)
    found = retrieval.retrieval(given)
    assert {name.split("/")[1] for name in found} == {"recall@1", "recall@5", "median_rank"}
    assert given.skipped == {
        "retrieval/recall@10": "no pair of modalities has more than 10 candidates",
        "retrieval/precision": "the dataset 'placed' has no labels",
    }
    given = placed.context(generator, names=("a",))
    with pytest.raises(NotApplicable, match="one modality only"):
        retrieval.retrieval(given)
    given = placed.context(generator)
    for name in placed.NAMES[1:]:
        given.dataset.splits["test"].present[name][1:] = False
    with pytest.raises(NotApplicable, match="fewer than two test rows have two modalities"):
        retrieval.retrieval(given)
