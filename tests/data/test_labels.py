"""mnist_labels and fashion_mnist_labels from IDX files, tiny ones and MNIST itself."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from mmvae_jax import data
from mmvae_jax.data import binary, idx
from mmvae_jax.types import UserError
from tests.data.fake_mnist import digits, idx_bytes, write_mnist

NAMES = ("mnist_labels", "fashion_mnist_labels")
TINY = {"num_validation": 20}

# Of the published files, as printed on many pages about MNIST; so are the checksums below.
TRAIN_COUNTS = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
TEST_COUNTS = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@pytest.fixture
def folder(tmp_path) -> Path:
    return write_mnist(tmp_path / "files")


def load(folder: Path | str, name: str = "mnist_labels", *, seed: int = 0, **options):
    return data.load(name, TINY | {"dir": str(folder)} | options, seed=seed)


def refusal(folder: Path | str, name: str = "mnist_labels", **options) -> str:
    with pytest.raises(UserError) as caught:
        load(folder, name, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_modalities_are_the_image_and_its_label(folder, name):
    dataset = load(folder, name)
    image, label = dataset.specs
    assert (image.name, image.shape, image.dtype, image.likelihood) == (
        "image", (28, 28, 1), "uint8", "bernoulli",
    )  # fmt: skip
    assert (label.name, label.shape, label.dtype, label.likelihood, label.num_classes) == (
        "label", (), "int32", "categorical", 10,
    )  # fmt: skip
    assert image.is_image and not label.is_image
    assert image.num_examples == label.num_examples == 100
    assert [len(dataset.splits[part]) for part in data.SPLITS] == [100, 20, 40]
    assert len(dataset.class_names) == dataset.num_classes == 10
    for split in dataset.splits.values():
        np.testing.assert_array_equal(split.x["label"], split.label)
        # The bars of a made-up digit stand in the rows of its class.
        bars = split.x["image"][:, :20, :, 0].any(2).argmax(1)
        np.testing.assert_array_equal(bars, 2 * split.label)


def test_class_names():
    # (Nothing is read to know them.)
    from mmvae_jax.data import labels

    assert labels._MNIST.class_names == tuple("0123456789")
    assert labels._FASHION.class_names[:3] == ("T-shirt/top", "Trouser", "Pullover")
    assert labels._FASHION.class_names[9] == "Ankle boot"


def test_rows_are_the_files_rows_each_once(folder):
    pixels, label = digits(120, 0)
    splits = load(folder).splits
    images = np.concatenate([splits[part].x["image"][..., 0] for part in ("train", "validation")])
    classes = np.concatenate([splits[part].label for part in ("train", "validation")])

    def rows(images, classes):
        return sorted((int(c), image.tobytes()) for image, c in zip(images, classes, strict=True))

    assert rows(images, classes) == rows(pixels, label)
    test_pixels, test_label = digits(40, 1)
    np.testing.assert_array_equal(splits["test"].x["image"][..., 0], test_pixels)
    np.testing.assert_array_equal(splits["test"].label, test_label)


def test_the_held_out_rows_are_the_same_for_every_seed(folder):
    assert len({load(folder, seed=seed).fingerprint for seed in (0, 1, 2)}) == 1
    partial = {"partial": "paired", "observed": 0.1}
    subsets = [load(folder, seed=seed, **partial) for seed in (0, 1)]
    held_out = [subset.splits["validation"].x["image"] for subset in subsets]
    np.testing.assert_array_equal(*held_out)
    pairs = [subset.splits["train"] for subset in subsets]
    pairs = [split.x["image"][data.groups(split)["complete"]] for split in pairs]
    assert len(pairs[0]) == len(pairs[1]) == 10
    assert not np.array_equal(*pairs)


def test_caps_cut_and_none_held_out_is_said(folder):
    whole, cut = load(folder), load(folder, num_train=30, num_test=7)
    assert [len(cut.splits[part]) for part in data.SPLITS] == [30, 20, 7]
    np.testing.assert_array_equal(cut.splits["train"].label, whole.splits["train"].label[:30])
    np.testing.assert_array_equal(cut.splits["test"].label, whole.splits["test"].label[:7])
    repeated = load(folder, num_validation=0)
    assert [len(repeated.splits[part]) for part in data.SPLITS] == [120, 120, 40]
    assert "validation repeats training rows" in repeated.provenance


def test_threshold_makes_black_and_white(tmp_path):
    folder = write_mnist(tmp_path)
    pixels = np.zeros((40, 28, 28), np.uint8)
    pixels[:, 0, :5] = [0, 1, 127, 128, 255]
    (folder / "t10k-images-idx3-ubyte").write_bytes(idx_bytes(pixels))
    grey, binary = (load(folder, binarize=kind) for kind in ("none", "threshold"))
    found = binary.splits["test"].x["image"]
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found[3, 0, :5, 0], [0, 0, 0, 255, 255])
    np.testing.assert_array_equal(grey.splits["test"].x["image"][..., 0], pixels)
    assert "binarised at one half" in binary.provenance
    assert grey.fingerprint != binary.fingerprint


def test_a_fixed_draw_has_the_grey_levels_as_its_mean():
    grey = np.array([0, 1, 51, 128, 254, 255], np.uint8)
    drawn = binary.fixed_draw(np.tile(grey, (20_000, 1)), "a")
    assert drawn.dtype == np.uint8 and set(np.unique(drawn)) == {0, 255}
    mean, deviation = grey / 255, np.sqrt(grey / 255 * (1 - grey / 255) / 20_000)
    assert (np.abs(drawn.mean(0) / 255 - mean) <= 4.5 * deviation).all()  # 0 and 255: exactly
    np.testing.assert_array_equal(drawn[:50], binary.fixed_draw(np.tile(grey, (50, 1)), "a"))
    assert (drawn != binary.fixed_draw(np.tile(grey, (20_000, 1)), "b")).any()


def test_dynamic_keeps_grey_levels_to_train_on_and_draws_what_is_evaluated_once(tmp_path):
    folder = write_mnist(tmp_path)
    generator = np.random.default_rng(0)
    for part, count in (("train", 120), ("t10k", 40)):
        pixels = generator.integers(0, 256, (count, 28, 28), np.uint8)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx_bytes(pixels))
    grey, dynamic = (load(folder, binarize=kind) for kind in ("none", "dynamic"))
    images = {part: (grey.splits[part].x, dynamic.splits[part].x) for part in data.SPLITS}
    images = {part: [x["image"] for x in pair] for part, pair in images.items()}
    assert dynamic.redrawn == ("image",) and grey.redrawn == ()
    assert "binarised by draws" in dynamic.provenance
    np.testing.assert_array_equal(*images["train"])
    for part in ("validation", "test"):
        levels, drawn = images[part]
        assert set(np.unique(drawn)) == {0, 255}
        # Whiter pixels are white more often: of uniform levels, E[level | white] = 2/3.
        assert abs(levels[drawn == 255].mean() / 255 - 2 / 3) < 0.02
    # The same in every run, whatever is asked for of the training rows.
    other = load(folder, binarize="dynamic", seed=5, num_train=30, partial="paired", observed=0.5)
    for part in ("validation", "test"):
        np.testing.assert_array_equal(other.splits[part].x["image"], images[part][1])
    assert other.redrawn == ("image",)
    # To evaluate on, training rows are binary, too, and nothing is left to be drawn.
    fixed = dynamic.drawn()
    assert set(np.unique(fixed.splits["train"].x["image"])) == {0, 255} and not fixed.redrawn
    assert fixed.drawn() is fixed and fixed.fingerprint == dynamic.fingerprint
    repeated = load(folder, binarize="dynamic", num_validation=0).splits
    np.testing.assert_array_equal(repeated["validation"].label, repeated["train"].label)
    assert set(np.unique(repeated["validation"].x["image"])) == {0, 255}


def test_bad_options_are_named(folder):
    assert "did you mean 'threshold'" in refusal(folder, binarize="treshold")
    assert "did you mean 'dynamic'" in refusal(folder, binarize="dynamics")
    assert "data.num_validation is 120" in refusal(folder, num_validation=120)
    assert "did you mean 'binarize'" in refusal(folder, binarise="none")


@pytest.mark.parametrize("name", NAMES)
def test_where_files_are_looked_for(tmp_path, monkeypatch, name):
    usual = name.removesuffix("_labels")
    monkeypatch.delenv("MMVAE_DATA_DIR", raising=False)
    assert "data.dir" in refusal("", name) and f"above {usual}/" in refusal("", name)
    monkeypatch.setenv("MMVAE_DATA_DIR", str(tmp_path))
    assert f"no folder {tmp_path / usual}" in refusal("", name)
    write_mnist(tmp_path / usual, packed=True)
    found = load("", name)
    assert str(tmp_path / usual) in found.provenance
    # Also from the folder above.
    assert load(tmp_path, name).fingerprint == found.fingerprint


def test_mnist_is_not_taken_for_fashion(tmp_path):
    write_mnist(tmp_path / "mnist")
    assert "fashion_mnist" in refusal(tmp_path, "fashion_mnist_labels")


def test_damaged_files_are_named(folder):
    path = folder / "t10k-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:20])
    assert str(path) in refusal(folder) and "truncated or damaged" in refusal(folder)
    path.unlink()
    assert "t10k-labels-idx1-ubyte" in refusal(folder)
    path.write_bytes(idx_bytes(np.zeros(0)))
    (folder / "t10k-images-idx3-ubyte").write_bytes(idx_bytes(np.zeros((0, 28, 28))))
    assert "t10k files in" in refusal(folder)


# --- MNIST itself -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real_folder() -> Path:
    folder = Path(os.environ.get("MMVAE_DATA_DIR", ""), "mnist")
    if not os.environ.get("MMVAE_DATA_DIR") or not folder.is_dir():
        pytest.skip("MMVAE_DATA_DIR names no folder with mnist/")
    return folder


def test_real_mnist_has_its_class_counts_and_checksums(real_folder):
    images, labels = idx.read_mnist(real_folder, "train")
    assert images.shape == (60_000, 28, 28)
    assert list(np.bincount(labels)) == TRAIN_COUNTS
    assert _md5(images) == "6bbc9ace898e44ae57da46a324031adb"
    assert _md5(labels) == "a25bea736e30d166cdddb491f175f624"
    images, labels = idx.read_mnist(real_folder, "t10k")
    assert list(np.bincount(labels)) == TEST_COUNTS
    assert _md5(images) == "2646ac647ad5339dbf082846283269ea"
    assert _md5(labels) == "27ae3e4e09519cfbb04c329615203637"


def _md5(values: np.ndarray) -> str:
    """Of the file, unpacked, that holds the values."""
    return hashlib.md5(idx_bytes(values), usedforsecurity=False).hexdigest()


def test_real_mnist_whole(real_folder):
    dataset = data.load("mnist_labels", {"dir": str(real_folder)})
    splits = dataset.splits
    assert [len(splits[part]) for part in data.SPLITS] == [50_000, 10_000, 10_000]
    counts = {part: np.bincount(splits[part].label) for part in data.SPLITS}
    np.testing.assert_array_equal(counts["train"] + counts["validation"], TRAIN_COUNTS)
    np.testing.assert_array_equal(counts["test"], TEST_COUNTS)
    assert [spec.num_examples for spec in dataset.specs] == [50_000, 50_000]


def test_real_mnist_with_few_labels(real_folder):
    options = {"dir": str(real_folder), "partial": "paired"}
    for observed, pairs in ((0.001, 50), (0.002, 100)):
        dataset = data.load("mnist_labels", {**options, "observed": observed}, seed=1)
        found = data.groups(dataset.splits["train"])
        assert {name: len(rows) for name, rows in found.items()} == {
            "complete": pairs,
            "image": 50_000 - pairs,
            "label": 50_000 - pairs,
        }
        assert [spec.num_examples for spec in dataset.specs] == [50_000, 50_000]
    options = {**options, "partial": "labels_per_class", "labels_per_class": 10}
    train = data.load("mnist_labels", options).splits["train"]
    labelled = train.label[data.groups(train)["complete"]]
    assert list(np.bincount(labelled)) == [10] * 10
