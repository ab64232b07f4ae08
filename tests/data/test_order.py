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


# --- set proportions --------------------------------------------------------------------------

mixes = st.dictionaries(
    st.sampled_from(["complete", "image", "label", "other"]),
    st.tuples(st.integers(1, 30), st.integers(0, 12)),
    min_size=1,
)


def groups_of(mix: dict) -> dict:
    """Distinct rows, so that each tells its group: those of the i-th begin at 1000 i."""
    return {
        name: (1000 * number + np.arange(size), count)
        for number, (name, (size, count)) in enumerate(sorted(mix.items()))
    }


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**63),
    start=st.integers(0, 10_000),
    cuts=st.lists(st.integers(0, 7), max_size=5),
    mix=mixes,
)
def test_any_split_of_the_steps_gives_the_same_mixed_batches(seed, start, cuts, mix):
    groups = groups_of(mix)
    whole = data.mixed_batch_indices(seed, start, sum(cuts), groups)
    assert whole.dtype == np.int32
    assert whole.shape == (sum(cuts), sum(count for _, count in groups.values()))
    parts, step = [whole[:0]], start
    for count in cuts:
        parts.append(data.mixed_batch_indices(seed, step, count, groups))
        step += count
    np.testing.assert_array_equal(whole, np.concatenate(parts))


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**31), num_steps=st.integers(1, 40), mix=mixes)
def test_every_batch_holds_the_counts_and_rows_take_turns(seed, num_steps, mix):
    groups = groups_of(mix)
    indices = data.mixed_batch_indices(seed, 0, num_steps, groups)
    for rows, count in groups.values():
        inside = np.isin(indices, rows)
        assert (inside.sum(1) == count).all()
        drawn = indices[inside]
        # Permutation after permutation: each row equally often, give or take one.
        times = np.bincount(drawn - rows[0], minlength=len(rows))
        assert times.max() - times.min() <= 1
        for turn in range(len(drawn) // len(rows)):
            assert sorted(drawn[turn * len(rows) :][: len(rows)]) == list(rows)


def test_a_group_is_drawn_alike_whatever_the_others_are():
    few, many = np.arange(30), np.arange(30, 1000)
    both = data.mixed_batch_indices(4, 7, 9, {"image": (many, 5), "complete": (few, 3)})
    alone = data.mixed_batch_indices(4, 7, 9, {"complete": (few, 3)})
    np.testing.assert_array_equal(both[:, :3], alone)
    other = data.mixed_batch_indices(4, 7, 9, {"other": (few, 3)})
    assert not np.array_equal(other, alone)
    assert not np.array_equal(data.mixed_batch_indices(5, 7, 9, {"complete": (few, 3)}), alone)
    # Permutations follow each other and differ.
    turns = data.mixed_batch_indices(4, 0, 20, {"complete": (few, 3)}).reshape(2, 30)
    assert sorted(turns[0]) == sorted(turns[1]) and (turns[0] != turns[1]).any()


def test_impossible_mixes_are_refused():
    with pytest.raises(ValueError, match="group 'label' has no rows"):
        data.mixed_batch_indices(0, 0, 1, {"label": (np.arange(0), 2)})
    with pytest.raises(ValueError, match="negative"):
        data.mixed_batch_indices(0, -1, 1, {"label": (np.arange(3), 2)})
    nothing = data.mixed_batch_indices(0, 0, 2, {"label": (np.arange(0), 0)})
    assert nothing.shape == (2, 0)
