"""The order of training is a function of (seed, step): no split of the steps changes it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmvae_jax import data

sizes = {"num_examples": st.integers(1, 60), "batch_size": st.integers(1, 20)}


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**63),
    start=st.integers(0, 200),
    cuts=st.lists(st.integers(0, 12), max_size=6),
    **sizes,
)
def test_any_split_of_the_steps_gives_the_same_batches(seed, start, cuts, num_examples, batch_size):
    size = {"num_examples": num_examples, "batch_size": batch_size}
    whole = data.batch_indices(seed, start, sum(cuts), **size)
    parts, step = [np.empty((0, batch_size), np.int32)], start
    for count in cuts:
        parts.append(data.batch_indices(seed, step, count, **size))
        step += count
    assert whole.dtype == np.int32
    np.testing.assert_array_equal(whole, np.concatenate(parts))


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**31), epoch=st.integers(0, 5), **sizes)
def test_an_epoch_covers_each_example_at_most_once(seed, epoch, num_examples, batch_size):
    steps = data.steps_per_epoch(num_examples, batch_size)
    indices = data.batch_indices(
        seed, epoch * steps, steps, num_examples=num_examples, batch_size=batch_size
    )
    rows = indices[indices >= 0]
    assert len(np.unique(rows)) == len(rows) and rows.max() < num_examples
    if num_examples >= batch_size:
        assert indices.min() >= 0
        assert len(rows) == num_examples - num_examples % batch_size
    else:
        assert steps == 1 and sorted(rows) == list(range(num_examples))


def test_epochs_and_seeds_differ():
    size = {"num_examples": 100, "batch_size": 10}
    first, second = np.split(data.batch_indices(0, 0, 20, **size), 2)
    assert (first != second).any()
    assert (first != data.batch_indices(1, 0, 10, **size)).any()
    assert sorted(first.ravel()) == sorted(second.ravel()) == list(range(100))


def test_impossible_requests_are_refused():
    with pytest.raises(ValueError, match="batches of 0"):
        data.steps_per_epoch(10, 0)
    with pytest.raises(ValueError, match="negative"):
        data.batch_indices(0, -1, 1, num_examples=4, batch_size=2)
