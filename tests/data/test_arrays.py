"""The user's own arrays: what they are taken for, which rows are there, and what is refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mmvae_jax import data
from mmvae_jax.data import array_kinds, items, rows
from mmvae_jax.types import UserError

N = 40
CAPTION = {"caption": np.arange(N * 5).reshape(N, 5) % 9}


@pytest.fixture
def views(generator):
    vector = generator.normal(5.0, 2.0, (N, 3))
    vector[:10] = np.nan
    return {
        "vector": vector,
        "genes": generator.poisson(4.0, (N, 6)),
        "kind": np.arange(N) % 3,
        "flags": generator.random((N, 4)) < 0.5,
        "image": generator.integers(0, 256, (N, 8, 9), np.uint8),
        "image__present": np.arange(N) % 2 == 0,
        "label": np.arange(N) % 5,
    }


@pytest.fixture
def load(tmp_path):
    def call(arrays, **options):
        np.savez(tmp_path / "views.npz", **arrays)
        return data.load("arrays", {"path": str(tmp_path / "views.npz"), **options}, seed=3)

    return call


@pytest.fixture
def refusal(load):
    def call(arrays, **options) -> str:
        with pytest.raises(UserError) as caught:
            load(arrays, **options)
        message = str(caught.value)
        assert "\n" not in message and "views.npz" in message
        return message

    return call


def test_kinds_are_inferred(load, views):
    dataset = load(views)
    assert {name: kind for name, (kind, _) in dataset.kinds.items()} == {
        "vector": "vector",
        "genes": "counts",
        "kind": "label",
        "flags": "attributes",
        "image": "image",
    }
    specs = {spec.name: spec for spec in dataset.specs}
    found = {
        name: (spec.dtype, spec.shape, spec.likelihood, spec.num_classes)
        for name, spec in specs.items()
    }
    assert found == {
        "vector": ("float32", (3,), "normal", 0),
        "genes": ("int32", (6,), "negative_binomial", 0),
        "kind": ("int32", (), "categorical", 3),
        "flags": ("bool", (4,), "bernoulli", 0),
        "image": ("uint8", (8, 9, 1), "laplace", 0),
    }
    assert dataset.num_classes == 5
    assert specs["image"].is_image and specs["genes"].is_counts and not specs["kind"].is_counts


def test_a_folder_gives_the_same_as_an_archive(load, views, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, array in views.items():
        np.save(folder / f"{name}.npy", array)
    mapped = data.load("arrays", {"path": str(folder)}, seed=3)
    assert mapped.fingerprint == load(dict(sorted(views.items()))).fingerprint


def test_the_table_says_what_was_inferred(load, views):
    dataset = load(views)
    lines = data.table(dataset).splitlines()
    assert lines[0].split()[:2] == ["modality", "kind"]
    assert len(lines) == 7
    assert "counts" in lines[2] and "int64 [40, 6]" in lines[2] and "negative_binomial" in lines[2]
    assert "train 32, validation 4, test 4; 5 classes" in lines[-1]
    assert data.table(dataclasses.replace(dataset, kinds={})) == ""


def test_rows_keep_together_and_absent_ones_are_zero(load, views):
    dataset = load({**views, "id": np.arange(N)})
    seen = []
    for split in dataset.splits.values():
        rows = split.x["id"]
        seen += rows.tolist()
        np.testing.assert_array_equal(split.present["vector"], rows >= 10)
        np.testing.assert_array_equal(split.present["image"], rows % 2 == 0)
        there = split.present["vector"]
        np.testing.assert_allclose(split.x["vector"][there], views["vector"][rows[there]])
        assert not split.x["vector"][~there].any() and not split.x["image"][rows % 2 == 1].any()
        np.testing.assert_array_equal(split.x["genes"], views["genes"][rows])
        np.testing.assert_array_equal(split.label, rows % 5)
    assert sorted(seen) == list(range(N))


def test_the_split_follows_its_seed_and_fractions(load, views, tmp_path):
    first = load(views, validation_fraction=0.25, test_fraction=0.0)
    assert [len(first.splits[name]) for name in data.SPLITS] == [30, 10, 0]
    same = load(views, validation_fraction=0.25, test_fraction=0.0)
    assert same.fingerprint == first.fingerprint
    other = load(views, validation_fraction=0.25, test_fraction=0.0, seed=4)
    assert other.fingerprint != first.fingerprint


def test_splits_of_the_file_are_taken(load, views):
    dataset = load({**views, "id": np.arange(N), "test": np.array([3, 1]), "validation": [7]})
    assert dataset.splits["test"].x["id"].tolist() == [3, 1]
    assert dataset.splits["validation"].x["id"].tolist() == [7]
    assert len(dataset.splits["train"]) == N - 3
    masked = load({**views, "id": np.arange(N), "train": np.arange(N) < 30})
    assert masked.splits["train"].x["id"].tolist() == list(range(30))
    assert not len(masked.splits["test"]) and not len(masked.splits["validation"])


def test_units_are_fitted_on_the_present_training_rows(load, views):
    views["vector"][:, 2] = np.where(np.isnan(views["vector"][:, 2]), np.nan, 7.0)
    dataset = load({**views, "train": np.arange(25), "test": np.arange(25, N)})
    vector, genes = dataset.specs[:2]
    there = views["vector"][10:25]
    np.testing.assert_allclose(vector.location, there.mean(0), rtol=1e-5)
    np.testing.assert_allclose(vector.scale, [*there[:, :2].std(0), 1.0], rtol=1e-5)
    np.testing.assert_allclose(
        genes.location, np.log((views["genes"][:25].sum(0) + 0.5) / 25), rtol=1e-6
    )
    assert genes.library_size == pytest.approx(views["genes"][:25].sum(1).mean())
    plain = load(views, standardise=False, library_offset=False, count_likelihood="poisson")
    assert plain.specs[0].scale == () and plain.specs[1].library_size == 0
    assert plain.specs[1].likelihood == "poisson"


def test_units_are_those_of_what_a_policy_leaves(load, views):
    views = {**views, "train": np.arange(N)}
    whole = load(views)
    partial = load(views, partial="independent", observed=0.5)
    present = partial.splits["train"].present["vector"]
    assert present.sum() < whole.splits["train"].present["vector"].sum()
    np.testing.assert_allclose(
        partial.specs[0].location, views["vector"][present].mean(0), rtol=1e-5
    )
    with pytest.raises(UserError, match=r"'vector' is absent in every training row.*data\.partial"):
        load(views, partial="always", always="kind", observed=0.0)


def test_a_spec_survives_json(load, views):
    spec = load(views).specs[0]
    assert spec.scale and type(spec).from_json({**spec.to_json(), "shape": [3]}) == spec
    hash(spec)


def test_what_is_inferred_can_be_overridden(load, views):
    views["text"] = generator_tokens = np.arange(N * 2).reshape(N, 2)
    dataset = load(
        views, kinds="genes:vector,kind:skip,text:counts,label:label,flags:counts", label="label"
    )
    kinds = {name: kind for name, (kind, _) in dataset.kinds.items()}
    assert kinds["genes"] == "vector" and kinds["text"] == "counts" and "kind" not in kinds
    assert kinds["label"] == "label" and dataset.num_classes == 5
    assert dataset.splits["train"].x["text"].max() <= generator_tokens.max()
    assert load(views, kinds="text:skip", label="kind").num_classes == 3
    assert load({**views, "label": views["label"] * 1.0}, kinds="text:skip").num_classes == 5
    assert load(views, kinds="text:skip", label="").num_classes == 0


def test_texts_are_tokens_with_a_vocabulary_and_perhaps_an_end(load, views):
    views["caption"] = np.arange(N * 5).reshape(N, 5) % 9
    found = {}
    for options in ({}, {"pad_id": 0}, {"pad_id": 0, "end_id": 11}):
        dataset = load(views, **options)
        spec = next(spec for spec in dataset.specs if spec.name == "caption")
        assert dataset.kinds["caption"][0] == "tokens" and spec.is_tokens and not spec.is_counts
        assert (spec.dtype, spec.shape) == ("int32", (5,))
        found[len(options)] = (spec.likelihood, spec.num_classes, spec.pad_id, spec.end_id)
    assert found == {
        0: ("categorical", 9, -1, -1),
        1: ("tokens", 9, 0, 0),
        2: ("tokens", 12, 0, 11),
    }
    assert "tokens, vocabulary of 12" in data.table(dataset)
    for options, said in (
        ({"end_id": 1}, "data.end_id is 1, but data.pad_id, what comes behind it, is not set"),
        ({"pad_id": -2}, "data.pad_id is -2, it must be at least -1"),
    ):
        with pytest.raises(UserError, match=said):
            load(views, **options)


def test_how_many_tokens_and_classes_there_are_can_be_said(load, views):
    """Of the user's numbers none need be the largest one."""
    views["caption"] = np.arange(N * 5).reshape(N, 5) % 9
    kinds = "caption:tokens:30,kind:label:4,label:label:7"
    for options, expected in (
        ({}, ("categorical", 30, -1)),
        ({"pad_id": 29}, ("tokens", 30, 29)),
    ):
        dataset = load(views, kinds=kinds, **options)
        specs = {spec.name: spec for spec in dataset.specs}
        caption = specs["caption"]
        assert (caption.likelihood, caption.num_classes, caption.pad_id) == expected
        assert specs["kind"].num_classes == 4
        assert specs["label"].num_classes == dataset.num_classes == 7
    assert "vocabulary of 30" in data.table(dataset) and "as data.kinds says" in data.table(dataset)
    read = items.from_arrays({"caption": np.full((2, 5), 29)}, dataset.specs)
    assert read.present["caption"].all()
    assert load(views, kinds="genes:tokens:100").specs[1].num_classes == 100
    assert array_kinds.parse("a:b:counts,c:label:tokens:30,d:label:vector") == {
        "a:b": array_kinds.Said("counts"),
        "c:label": array_kinds.Said("tokens", 30),
        "d:label": array_kinds.Said("vector"),
    }
    with pytest.raises(UserError, match=r"'caption' is to be 'tokenz'.*did you mean 'tokens'"):
        array_kinds.parse("caption:tokenz:30")


def test_a_row_of_one_number_is_a_column(load, views):
    dataset = load({"a": views["vector"][:, 0], "b": views["flags"][:, 0]}, label="")
    assert [spec.shape for spec in dataset.specs] == [(1,), (1,)]


def test_rows_with_nothing_are_counted(load, views):
    nothing = {"a": np.full((N, 2), np.nan), "b": np.full((N, 2), np.nan)}
    nothing["a"][5:], nothing["b"][3:] = 1.0, 2.0
    assert "3 items have nothing present and count for nothing" in data.table(load(nothing))


def test_negative_classes_are_none(load, views):
    label = np.where(np.arange(N) < 5, -7, views["label"])
    dataset = load({**views, "id": np.arange(N), "label": label})
    for split in dataset.splits.values():
        expected = np.where(split.x["id"] < 5, -1, split.x["id"] % 5)
        np.testing.assert_array_equal(split.label, expected)
    missing = load({**views, "label": np.where(np.arange(N) < 5, np.nan, views["label"])})
    assert missing.num_classes == 5


def test_gaps_in_a_row(load, refusal, views):
    views["vector"][20, 1] = np.nan
    message = refusal(views)
    assert "'vector' holds NaN in row 20 (column 1)" in message and "data.nan=absent" in message
    dataset = load({**views, "train": np.arange(N)}, nan="absent")
    present = dataset.splits["train"].present["vector"]
    assert not present[20] and present.sum() == N - 11
    assert np.isfinite(dataset.splits["train"].x["vector"]).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        ({"genes": np.zeros((N - 1, 2), int)}, {}, "different numbers of rows: 'vector' has 40, "),
        ({"vector": np.full((N, 2), np.inf)}, {}, "'vector' holds inf in row 0 (column 0)"),
        ({"vector": np.full((N, 2), 1e39)}, {}, "holds 1e+39 in row 0 (column 0): it must be fin"),
        ({"vector": np.full((N, 2), np.nan)}, {}, "'vector' is absent in every row"),
        ({"vector": np.zeros((N, 0))}, {}, "'vector' of shape [40, 0] is empty"),
        ({"vector__present": np.ones(N, bool)}, {}, "NaN in row 0"),
        ({"vector": np.zeros((N, 2), complex)}, {}, "'vector' holds complex128, not numbers"),
        ({"kind": np.array(["a"] * N)}, {}, "np.unique(..., return_inverse=True)"),
        ({"image": np.zeros((N, 3, 32, 32), np.uint8)}, {}, "channels come last"),
        ({"image": np.zeros((N, 7, 8), np.uint8)}, {}, "8 to 256 pixels high and wide"),
        ({"image": np.zeros((N, 8, 257), np.uint8)}, {}, "8 to 256 pixels high and wide"),
        ({"image": np.zeros((N, 8, 8), np.float32)}, {}, "which is of no kind"),
        ({"genes": np.full((N, 2), -1)}, {}, "'genes' holds -1 in row 0 (column 0): it must not"),
        ({"genes": np.full((N, 2), 2**31)}, {}, "must be at most 2,147,483,647"),
        ({"genes": np.full((N, 2), 0.5)}, {"kinds": "genes:counts"}, "must be whole for counts"),
        ({"kind": np.full(N, 2)}, {"kinds": "kind:attributes"}, "must be 0 or 1 for attributes"),
        ({"kind": np.arange(N) - 1}, {}, "'kind' holds -1 in row 0"),
        ({"kind": np.zeros(N, int)}, {}, "as a label it would have 1 classes"),
        ({"kind": np.arange(N) + 10**6}, {}, "would have 1,000,040 classes, there may be 2 to 1,"),
        ({"kind": np.ones((N, 2), int)}, {"kinds": "kind:label"}, "a label is one integer per row"),
        ({"label": np.arange(N) + 10**6}, {}, "it is the class of each item; data.label names"),
        ({"label": np.full(N, -1)}, {}, "'label' has no class in any row"),
        ({"label": np.zeros((N, 2), int)}, {}, "a label is one integer per row"),
        ({"caption": np.full((N, 5), -1)}, {}, "must not be negative for tokens"),
        ({"caption": np.full((N, 5), 0.5)}, {"kinds": "caption:tokens"}, "whole for tokens"),
        ({"caption": np.full((N, 5), 50_000)}, {}, "of 50,001, there may be 2 to 50,000"),
        ({"caption": np.zeros((N, 5), int)}, {}, "values up to 0: as tokens it would have a voc"),
        ({"kind": np.full(N, 60_000, np.float16)}, {"kinds": "kind:label"}, "have 60,001 classes"),
        ({"caption": np.zeros((N, 5), int)}, {"kinds": "caption:image"}, "image must be uint8"),
        (CAPTION, {"kinds": "caption:tokens:3"}, "'caption' holds 3 in row 0 (column 3): it must "
         "be at most 2, for there are 3 tokens"),
        (CAPTION, {"kinds": "caption:tokens:9", "pad_id": 0, "end_id": 9}, "data.end_id is 9, but "
         "by data.kinds the tokens of 'caption' are 0 to 8"),
        ({}, {"kinds": "kind:label:2"}, "'kind' holds 2 in row 2 (column 0): it must be at most 1, "
         "for there are 2 classes"),
        ({}, {"kinds": "label:label:4"}, "'label' holds 4 in row 4 (column 0)"),
        ({}, {"kinds": "kind:label:1"}, "'kind' is to have '1' classes, there may be 2 to 1,000"),
        ({}, {"kinds": "genes:tokens:x"}, "to have 'x' tokens, there may be 2 to 50,000"),
        ({}, {"kinds": "genes:tokens:"}, "to have '' tokens, there may be 2 to 50,000"),
        ({}, {"kinds": "genes:counts:9"}, "counts of size '9': only label and tokens have one"),
        ({"image__present": np.ones(N)}, {}, "'image__present' must be bool [40], is float64"),
        ({"img__present": np.ones(N, bool)}, {}, "not there; did you mean 'image'?"),
        ({"a__b": np.ones(N)}, {}, "'a__b': of names with '__' only NAME__present means something"),
        ({"one": np.float64(3.0)}, {}, "'one' is a single number"),
        ({"test": np.array([N])}, {}, "'test' names row 40, the rows are 0 to 39"),
        ({"test": np.array([1, 1])}, {}, "row 1 is in 'test' twice"),
        ({"test": np.array([1]), "train": np.array([0, 1])}, {}, "row 1 is in "),
        ({"test": np.array([0.5])}, {}, "it must be bool [40] or whole numbers"),
        ({"test": np.arange(N)}, {}, "there are no training rows"),
        ({"train": np.arange(10)}, {}, "'vector' is absent in every training row"),
        ({}, {"kinds": "gene:counts"}, "names 'gene', there is none; did you mean 'genes'?"),
        ({}, {"kinds": "genes:count"}, "must be one of image, vector, counts"),
        ({}, {"kinds": "genes"}, "'genes' must be NAME:KIND"),
        ({}, {"label": "labels"}, "data.label is 'labels', there is none; did you mean 'label'?"),
        ({}, {"test_fraction": 0.95}, "nothing is left to train on"),
        ({}, {"kinds": "vector:skip,genes:skip,kind:skip,flags:skip,image:skip"}, "0 modalities"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_line(refusal, views, change, options, said):
    assert said in refusal({**views, **change}, **options)


def test_options_of_the_wrong_kind():
    for options, said in (
        ({}, "data.path is empty"),
        ({"path": "x", "nan": "absnt"}, "did you mean 'absent'"),
        ({"path": "x", "count_likelihood": "poison"}, "did you mean 'poisson'"),
        ({"path": "none.npz"}, "there is no such file"),
        ({"dir": "x"}, "reads data.path; leave it empty"),
        ({"path": "x", "test_fraction": -0.5}, "must not be negative"),
    ):
        with pytest.raises(UserError, match=said):
            data.load("arrays", options)


def test_one_modality_is_not_enough(refusal, views):
    message = refusal({"vector": views["vector"], "label": views["label"]})
    assert "1 modalities found (vector)" in message and "data.kinds=label:label" in message


def test_rows_are_looked_at_in_blocks(load, refusal, views, monkeypatch):
    expected = load(views)
    monkeypatch.setattr(rows, "BLOCK", 16)
    assert load(views).fingerprint == expected.fingerprint
    views["vector"][33, 2] = np.nan
    assert "row 33 (column 2)" in refusal(views)
    views["vector"][33, 2] = np.inf
    assert "row 33 (column 2)" in refusal(views)
