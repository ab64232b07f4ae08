"""flowers from made-up files in the original's layout, with features that say what they are of."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from mmvae_jax import data
from mmvae_jax.data import flowers, frozen_features
from mmvae_jax.types import UserError
from tests.data import fake_captioned as fake

# Row i of the images' features is [i, 1, i % 2], row j of the captions' is [j, -j].
IMAGE = np.stack([np.arange(12), np.ones(12), np.arange(12) % 2], 1).astype(np.float32)
CAPTION = np.stack([np.arange(120), -np.arange(120)], 1).astype(np.float32)


def put(folder: Path, kind: str, values: np.ndarray) -> None:
    found = flowers.files(str(folder))
    settings = {"network": "a network"}
    frozen_features.store(found, kind, "", values.shape[1:], settings, lambda: iter([values]))


@pytest.fixture
def folder(tmp_path) -> Path:
    return fake.write_flowers(tmp_path / "flowers")


@pytest.fixture(scope="module")
def ready(tmp_path_factory) -> Path:
    """With features; tests leave it as it is."""
    made = fake.write_flowers(tmp_path_factory.mktemp("plants") / "flowers")
    put(made, "image-normalised", IMAGE)
    put(made, "caption-mean", CAPTION)
    put(made, "caption-tokens", np.repeat(CAPTION[:, None], 30, 1))
    return made


def load(folder: Path | str, **options):
    return data.load("flowers", {"dir": str(folder)} | options)


def refusal(folder: Path | str, **options) -> str:
    with pytest.raises(UserError) as caught:
        load(folder, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_official_splits_of_captions_with_their_images_and_classes(ready):
    dataset = load(ready)
    assert [spec.shape for spec in dataset.specs] == [(3,), (2,)]
    assert {(spec.dtype, spec.likelihood) for spec in dataset.specs} == {("float32", "normal")}
    for part, key in (("train", "trnid"), ("validation", "valid"), ("test", "tstid")):
        split = dataset.splits[part]
        caption = np.asarray(split.x["caption"])[:, 0].astype(int)
        numbers = caption // 10
        assert len(set(caption)) == len(caption)
        assert Counter(numbers.tolist()) == {number - 1: 10 for number in fake.PARTS[key]}
        np.testing.assert_array_equal(split.x["image"], IMAGE[numbers])
        np.testing.assert_array_equal(split.label, fake.LABELS[numbers] - 1)
        np.testing.assert_array_equal(split.item, numbers)
    assert dataset.num_classes == 3 and dataset.class_names == ("1", "2", "3")
    assert "normalised features of a network" in dataset.provenance


def test_no_class_in_two_splits_as_an_option(ready):
    """The second class is tested; every image of the others is trained on, or held out."""
    dataset = load(ready, split="classes")
    for part, classes in (("train", {0, 2}), ("test", {1})):
        split = dataset.splits[part]
        numbers = np.asarray(split.x["caption"])[:, 0].astype(int) // 10
        expected = np.flatnonzero(np.isin(fake.LABELS - 1, list(classes)))
        assert Counter(numbers.tolist()) == dict.fromkeys(expected.tolist(), 10)
        np.testing.assert_array_equal(split.x["image"], IMAGE[numbers])
        np.testing.assert_array_equal(split.label, fake.LABELS[numbers] - 1)
    assert "no test class among those of training rows" in dataset.provenance
    assert dataset.fingerprint != load(ready).fingerprint
    held = load(ready, split="classes", num_validation=3)
    found = {
        part: set((np.asarray(held.splits[part].x["caption"])[:, 0] // 10).tolist())
        for part in data.SPLITS
    }
    assert len(found["validation"]) == 3 and len(held.splits["validation"]) == 30
    assert not found["train"] & found["validation"]
    assert found["train"] | found["validation"] == set(np.flatnonzero(fake.LABELS != 2).tolist())


def test_vectors_are_standardised_by_training_rows(ready):
    """With the deviation of a column that does not vary set to 1."""
    dataset = load(ready, num_train=20)
    for spec in dataset.specs:
        rows = np.asarray(dataset.splits["train"].x[spec.name], np.float64)
        spread = rows.std(0)
        np.testing.assert_allclose(spec.location, rows.mean(0), rtol=1e-6)
        np.testing.assert_allclose(spec.scale, np.where(spread > 0, spread, 1), rtol=1e-6)
    assert dataset.specs[0].location != load(ready).specs[0].location


def test_every_token_as_an_option(ready):
    dataset = load(ready, captions="tokens")
    spec = dataset.specs[1]
    assert (spec.shape, spec.likelihood, spec.scale) == ((30, 2), "normal", ())
    whole = load(ready).splits["test"].x["caption"]
    np.testing.assert_array_equal(
        dataset.splits["test"].x["caption"][np.arange(9)][:, 4], whole[:9]
    )
    assert dataset.fingerprint != load(ready).fingerprint


def test_pixels_as_an_option(ready):
    dataset = load(ready, images="raw")
    spec = dataset.specs[0]
    assert (spec.shape, spec.dtype, spec.likelihood) == ((64, 64, 3), "uint8", "laplace")
    split = dataset.splits["test"]
    numbers = np.asarray(split.x["caption"])[:, 0].astype(int) // 10
    np.testing.assert_array_equal(fake.number_of(np.asarray(split.x["image"])), numbers)


def test_caps(ready):
    dataset = load(ready, num_train=7, num_validation=11, num_test=30)
    assert [len(dataset.splits[part]) for part in data.SPLITS] == [7, 11, 30]


def test_half_of_the_rows_without_a_caption(ready):
    """Units are those of what is present."""
    dataset = load(ready, partial="always", always="image", observed=0.5)
    train = dataset.splits["train"]
    present = train.present["caption"]
    assert present.sum() == 15 and train.present["image"].all()
    np.testing.assert_array_equal(IMAGE[train.item], train.x["image"])
    rows = np.asarray(train.x["caption"])[present]
    np.testing.assert_allclose(dataset.specs[1].location, rows.mean(0), rtol=1e-6)
    assert load(ready, partial="always", always="image", observed=0.0).specs[1].location == ()


# --- bad input ------------------------------------------------------------------------------------


def test_missing_features_are_refused_with_the_command(folder):
    line = refusal(folder)
    assert "--dataset=flowers --kind=image-normalised" in line
    put(folder, "image-normalised", IMAGE)
    line = refusal(folder)
    assert "--kind=caption-mean" in line and "--weights=bert-base-uncased" in line


def test_features_of_other_captions_are_refused(folder):
    put(folder, "image-normalised", IMAGE)
    put(folder, "caption-mean", CAPTION)
    path = folder / "text_c10" / "class_00001" / "image_00001.txt"
    path.write_text(path.read_text().replace("red", "blue", 1))
    assert "features of other captions than those in" in refusal(folder)


def test_bad_options_are_named(ready):
    assert "did you mean 'tokens'" in refusal(ready, captions="token")
    assert "did you mean 'features'" in refusal(ready, images="feature")
    assert "did you mean 'classes'" in refusal(ready, split="class")


def test_missing_files_are_named(folder, monkeypatch):
    monkeypatch.delenv("MMVAE_DATA_DIR", raising=False)
    for name in ("imagelabels.mat", "setid.mat", "text_c10", "jpg/"):
        assert name in refusal("")
    for name in ("setid.mat", "imagelabels.mat"):
        (folder / name).unlink()
        assert f"holds no {name}" in refusal(folder)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("testclasses.txt", None, "holds no testclasses.txt"),
        ("testclasses.txt", "", "names no class: truncated"),
        ("testclasses.txt", "class_00003", "the class class_00003 is in trainvalclasses.txt alr"),
        ("testclasses.txt", "class_00007", "no image of text_c10 is of the class 'class_00007'"),
        ("trainvalclasses.txt", "class_00001", "class_00003 nowhere (1 of 3 classes): truncated"),
    ],
)
def test_lists_of_classes_that_do_not_fit_are_named(folder, name, text, said):
    path = folder / "cvpr2016_flowers" / name
    path.unlink() if text is None else path.write_text(text)
    line = refusal(folder, split="classes")
    assert said in line and name in line


def test_missing_images_and_captions_are_named(folder):
    (folder / "jpg" / "image_00007.jpg").unlink()
    assert "lacks image_00007.jpg (1 of 12 images)" in refusal(folder, images="raw")
    (folder / "text_c10" / "class_00001" / "image_00004.txt").unlink()
    assert "image_00004.txt (1 of 12 images have no captions)" in refusal(folder)


def test_damaged_files_are_named(folder):
    for name in ("setid.mat", "imagelabels.mat"):
        path = folder / name
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        assert str(path) in refusal(folder)
        path.write_bytes(b"")
        assert "cannot be read as a file of MATLAB 5, at byte" in refusal(folder)
        path.write_bytes(content)
    path = folder / "text_c10" / "class_00002" / "image_00002.txt"
    path.write_text("one caption\n")
    assert f"{path} holds 1 captions, an image has 10" in refusal(folder)


@pytest.mark.parametrize(
    ("name", "arrays", "said"),
    [
        ("imagelabels.mat", {"labels": np.arange(12)}, "numbered from 1, there is 0"),
        ("imagelabels.mat", {"labels": np.ones(12) / 2}, "labels must be whole numbers"),
        ("imagelabels.mat", {"labels": np.ones(11)}, "names image 12, imagelabels.mat has the"),
        ("imagelabels.mat", {"label": np.ones(12)}, "has no array 'labels'"),
        ("setid.mat", {**fake.PARTS, "valid": [2]}, "names image 2 2 times"),
        ("setid.mat", {**fake.PARTS, "valid": [0]}, "valid names image 0"),
        ("setid.mat", {**fake.PARTS, "tstid": []}, "tstid must be whole numbers"),
    ],
)
def test_lists_that_do_not_fit_are_named(folder, name, arrays, said):
    scipy.io.savemat(folder / name, {key: np.atleast_2d(value) for key, value in arrays.items()})
    line = refusal(folder)
    assert said in line and name in line
