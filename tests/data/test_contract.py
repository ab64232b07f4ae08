"""Splits, datasets, and the exact pass over a split."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mmvae_jax import data
from mmvae_jax.types import ModalitySpec

SPECS = (
    ModalitySpec(name="a", shape=(2, 3)),
    ModalitySpec(name="b", shape=(4,), dtype="float32", likelihood="normal"),
)


def make_split(count: int = 7, *, labelled: bool = True) -> data.Split:
    rng = np.random.default_rng(count)
    x = {
        "a": rng.integers(0, 256, (count, 2, 3), dtype=np.uint8),
        "b": rng.normal(size=(count, 4)).astype(np.float32),
    }
    present = {"a": np.ones(count, bool), "b": np.arange(count) % 2 == 0}
    return data.Split(x, present, np.arange(count, dtype=np.int32) if labelled else None)


def make_dataset(**splits: data.Split) -> data.Dataset:
    default = {"train": make_split(7), "validation": make_split(3), "test": make_split(4)}
    return data.Dataset(name="toy", specs=SPECS, splits=default | splits, num_classes=7)


@pytest.mark.parametrize("count, batch_size", [(7, 3), (6, 3), (2, 5), (1, 1)])
def test_batches_are_one_exact_pass(count, batch_size):
    split = make_split(count)
    passed = list(data.batches(split, batch_size))
    assert all(len(batch["weight"]) == batch_size for batch in passed)
    assert len(passed) == -(-count // batch_size)
    weight = np.concatenate([batch["weight"] for batch in passed])
    assert weight.dtype == np.float32 and weight.sum() == count
    for path in (("x", "a"), ("x", "b"), ("present", "b")):
        rows = np.concatenate([batch[path[0]][path[1]] for batch in passed])
        source = getattr(split, path[0])[path[1]]
        np.testing.assert_array_equal(rows[weight > 0], source)
        padding = np.broadcast_to(source[:1], rows[weight == 0].shape)
        np.testing.assert_array_equal(rows[weight == 0], padding)
    label = np.concatenate([batch["label"] for batch in passed])
    np.testing.assert_array_equal(label[weight > 0], split.label)


def test_take_gives_rows_in_order_and_padding_no_weight():
    split = make_split(5)
    batch = data.take(split, np.array([4, 1, -1], np.int32))
    np.testing.assert_array_equal(batch["x"]["b"], split.x["b"][[4, 1, 0]])
    np.testing.assert_array_equal(batch["weight"], [1, 1, 0])
    np.testing.assert_array_equal(batch["label"], [4, 1, 0])
    assert batch["x"]["a"].dtype == np.uint8


def test_without_labels_a_batch_has_none():
    assert "label" not in data.take(make_split(labelled=False), np.array([0]))


def test_a_pass_of_no_rows_at_a_time_is_refused():
    with pytest.raises(ValueError, match="batch_size is 0"):
        next(data.batches(make_split(), 0))


def test_arrays_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="one length"):
        data.Split.complete({"a": np.zeros((2, 2, 3)), "b": np.zeros((3, 4))})


def test_arrays_that_contradict_the_specs_are_refused():
    wrong = make_split()
    wrong.x["b"] = wrong.x["b"].astype(np.float64)
    with pytest.raises(ValueError, match="train/b: float64"):
        make_dataset(train=wrong)


def test_fingerprint_follows_content_alone():
    dataset = make_dataset()
    assert dataset.fingerprint == make_dataset().fingerprint
    for change in ("x", "present", "label"):
        other = make_split()
        if change == "x":
            other.x["a"][3, 1, 2] ^= 1
        elif change == "present":
            other.present["b"][3] ^= True
        else:
            other.label[3] += 1
        assert make_dataset(train=other).fingerprint != dataset.fingerprint, change
    renamed = dataclasses.replace(dataset, name="other")
    assert renamed.fingerprint == dataset.fingerprint


def test_rows_of_one_item_stay_so():
    item = np.array([0, 0, 3, 3, 1])
    split = dataclasses.replace(make_split(5), item=item)
    for rows in (slice(1, 4), np.array([4, 2, 3]), item == 3):
        np.testing.assert_array_equal(split.select(rows).item, item[rows])
    assert make_split(5).select(slice(2)).item is None
    assert "item" not in data.take(split, np.array([0]))  # models know the rest alone
    whole = data.Split.complete(split.x, item=item)
    assert whole.item is item and whole.label is None and whole.present["b"].all()
    with pytest.raises(ValueError, match="'item': 4"):
        dataclasses.replace(split, item=item[:4])
    dataset = make_dataset(train=make_split(5))
    marked = make_dataset(train=split)
    other = make_dataset(train=dataclasses.replace(split, item=np.array([0, 0, 3, 1, 1])))
    assert len({part.fingerprint for part in (dataset, marked, other)}) == 3
    drawn = dataclasses.replace(marked, redrawn=("a",)).drawn()
    assert drawn.splits["train"].item is item


def test_repr_tells_sizes_shapes_and_gaps():
    text = repr(make_dataset())
    assert "toy: train 7, validation 3, test 4" in text and "b float32[4] normal" in text
    assert "b float32[4] (57% present)" in repr(make_split())
