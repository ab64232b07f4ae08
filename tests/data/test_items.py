"""What people bring to a trained model, and how its gaps are filled."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mmvae_jax import data
from mmvae_jax.data import items
from mmvae_jax.types import ModalitySpec, UserError

N = 6
SPECS = (
    ModalitySpec(name="vector", shape=(2,), dtype="float32", likelihood="normal"),
    ModalitySpec(name="genes", shape=(3,), dtype="int32", likelihood="poisson"),
    ModalitySpec(name="kind", shape=(), dtype="int32", likelihood="categorical", num_classes=3),
    ModalitySpec(name="flag", shape=(1,), dtype="bool", likelihood="bernoulli"),
    ModalitySpec(name="image", shape=(8, 9, 1)),
)
MEANS = {
    "vector": np.full((N, 2), 0.1, np.float32),
    "genes": np.full((N, 3), 2.7, np.float32),
    "kind": np.tile(np.float32([0.2, 0.5, 0.3]), (N, 1)),
    "flag": np.full((N, 1), 0.6, np.float32),
    "image": np.full((N, 8, 9, 1), 0.5, np.float32),
}
OPTIONS = {"name": "arrays", "label": "label", "kinds": "notes:skip", "nan": "error"}


@pytest.fixture
def views(generator):
    """As they may come: wider types, an image without channels, a column without its axis."""
    vector = generator.normal(size=(N, 2))
    vector[0] = np.nan
    return {
        "vector": vector,
        "genes": generator.integers(0, 9, (N, 3)).astype(np.uint16),
        "kind": np.array([0.0, 1, 2, np.nan, 1, 0]),
        "flag": np.arange(N) % 2 == 0,
        "image": generator.integers(0, 256, (N, 8, 9), np.uint8),
        **{f"{name}__present": np.arange(N) != 4 for name in ("genes", "flag", "image")},
    }


def test_what_came_is_kept_bit_for_bit_and_the_rest_filled(views):
    read = items.from_arrays(views, SPECS)
    assert read.present["vector"].tolist() == [False] + [True] * 5
    assert read.present["kind"].tolist() == [True] * 3 + [False] + [True] * 2
    gone = {"vector": 0, "kind": 3, "genes": 4, "flag": 4, "image": 4}
    expected = {"vector": np.float32(0.1), "kind": 1, "genes": 3, "flag": True, "image": 128}
    for spec in SPECS:
        name, stored = spec.name, read.batch["x"][spec.name]
        assert stored.shape == (N, *spec.shape) and stored.dtype == spec.dtype
        assert not stored[gone[name]].any()
        filled = read.filled(spec, MEANS[name])
        assert filled.dtype == views[name].dtype and filled.shape == views[name].shape
        others = np.arange(N) != gone[name]
        assert filled[others].tobytes() == views[name][others].tobytes()
        assert np.all(filled[gone[name]] == expected[name])


def test_what_did_not_come_is_filled_in_its_stored_type():
    read = items.from_arrays({"flag": np.ones(N, bool)}, SPECS)
    for spec in SPECS[:3]:
        filled = read.filled(spec, MEANS[spec.name])
        assert filled.dtype == spec.dtype and filled.shape == (N, *spec.shape)


def test_of_a_row_with_gaps_only_the_gaps_are_filled(views):
    views["vector"][2, 1] = np.nan
    with pytest.raises(UserError, match=r"'vector' holds NaN in row 2 \(column 1\)"):
        items.from_arrays(views, SPECS)
    read = items.from_arrays(views, SPECS, nan="absent")
    assert not read.present["vector"][2] and not read.batch["x"]["vector"][2].any()
    filled = read.filled(SPECS[0], MEANS["vector"])
    assert filled[2, 0] == views["vector"][2, 0] and filled[2, 1] == np.float32(0.1)
    marked = items.from_arrays(
        {**views, "vector__present": np.arange(N) > 2}, SPECS, nan="absent"
    ).filled(SPECS[0], MEANS["vector"])
    assert np.all(marked[:3] == np.float32(0.1)) and np.all(marked[3:] == views["vector"][3:])


def test_filled_counts_and_bytes_stay_in_their_range():
    assert items.as_data(np.float32([[-0.2, 300.7]]), SPECS[1], np.uint8).tolist() == [[0, 255]]
    assert items.as_data(np.float32([[-0.2, 3e12]]), SPECS[1]).tolist() == [[0, 2**31 - 1]]
    assert items.as_data(np.float32([-1.0, 0.5, 2.0]), SPECS[4]).tolist() == [0, 128, 255]
    assert items.as_data(np.float32([[2.25]]), SPECS[1], np.float64).tolist() == [[2.25]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"kind": np.arange(N)},
            "'kind' holds 3 in row 3 (column 0): it must be at most 2, for there are 3 classes",
        ),
        ({"kind": np.arange(N) - 1}, "'kind' holds -1 in row 0"),
        ({"genes": np.full((N, 3), 0.5)}, "it must be whole for counts"),
        ({"vector": np.full((N, 2), np.inf)}, "'vector' holds inf in row 0"),
        ({"vector": np.zeros((N, 2), "S1")}, "must be float32, is |S1"),
        ({"image": np.zeros((N, 9, 8), np.uint8)}, "must have shape [N, 8, 9, 1]"),
        ({"label": np.zeros(N, int)}, "'label' is no modality of this model"),
    ],
)
def test_what_does_not_fit_is_named(views, change, said):
    with pytest.raises(UserError) as error:
        items.from_arrays({**views, **change}, SPECS)
    assert said in str(error.value)


def test_the_file_that_was_trained_on_can_be_filled(views, tmp_path):
    beside = {"label": np.arange(N), "train": np.arange(3), "notes": np.zeros((9, 9))}
    np.savez(tmp_path / "views.npz", **views, **beside)
    read = data.read_items(tmp_path / "views.npz", SPECS, OPTIONS)
    assert set(read.beside) == set(beside)
    with pytest.raises(UserError, match=r"views\.npz: array 'label' is no modality"):
        data.read_items(tmp_path / "views.npz", SPECS)
    labelled = (*SPECS, dataclasses.replace(SPECS[2], name="label"))
    with pytest.raises(UserError, match="'label' holds 3 in row 3"):
        data.read_items(tmp_path / "views.npz", labelled, OPTIONS)
