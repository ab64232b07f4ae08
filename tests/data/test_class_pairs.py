"""MNIST paired by class with SVHN, with text and with FashionMNIST, from tiny files."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest

from mmvae_jax import data
from mmvae_jax.data import characters, class_pairs, gathered, idx, svhn
from mmvae_jax.data.gathered import Gathered
from mmvae_jax.types import UserError
from tests.data import fake_svhn
from tests.data.fake_mnist import digits, idx_bytes, write_mnist

# Of SVHN's published files, digits 0 to 9.
SVHN_TRAIN = [4948, 13861, 10585, 8497, 7458, 6882, 5727, 5595, 5045, 4659]
SVHN_TEST = [1744, 5099, 4149, 2882, 2523, 2384, 1977, 2019, 1660, 1595]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    above = tmp_path_factory.mktemp("sets")
    write_mnist(above / "mnist", packed=True)  # 120 and 40 images
    fake_svhn.write_svhn(above / "svhn")  # 90 and 70
    return above


def load(folder: Path | str, name: str = "mnist_svhn", *, seed: int = 0, **options):
    return data.load(name, {"dir": str(folder)} | options, seed=seed)


def refusal(folder: Path | str, name: str = "mnist_svhn", **options) -> str:
    with pytest.raises(UserError) as caught:
        load(folder, name, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def mnist_class(images: np.ndarray) -> np.ndarray:
    """The bars of a made-up digit stand in the rows of its class."""
    return np.asarray(images)[:, :20, :, 0].any(2).argmax(1) // 2


def svhn_class(images: np.ndarray) -> np.ndarray:
    return np.asarray(images)[:, 5, 5, 0] // 20


def keys(images: np.ndarray) -> list[bytes]:
    """What names each image."""
    return [image.tobytes() for image in np.asarray(images)]


def test_pairs_are_of_one_class_and_as_many_as_the_formula_says(folder):
    dataset = load(folder, dm=3)
    assert [spec.name for spec in dataset.specs] == ["mnist", "svhn"]
    assert [spec.shape for spec in dataset.specs] == [(28, 28, 1), (32, 32, 3)]
    # Of each class MNIST has 12 and 4 images, SVHN 9 and 7.
    assert len(dataset.splits["train"]) == 3 * 10 * 9
    assert len(dataset.splits["test"]) == 3 * 10 * 4
    for part in ("train", "test"):
        split = dataset.splits[part]
        np.testing.assert_array_equal(mnist_class(split.x["mnist"]), split.label)
        np.testing.assert_array_equal(svhn_class(split.x["svhn"]), split.label)
        for name in ("mnist", "svhn"):
            times = np.unique(keys(split.x[name]), return_counts=True)[1]
            assert (times == 3).all()
    assert (np.asarray(dataset.splits["train"].x["svhn"])[:, 0, 31] == 255).all()
    assert "validation repeats training pairs" in dataset.provenance


def test_the_first_images_of_a_class_are_used(folder):
    train = load(folder, max_d=5, dm=1).splits["train"]
    pixels, labels = digits(120, 0)
    first = np.concatenate([np.flatnonzero(labels == c)[:5] for c in range(10)])
    assert sorted(keys(train.x["mnist"])) == sorted(keys(pixels[first][..., None]))
    assert len(train) == 50


def test_published_numbers_of_pairs():
    """The facts' counts from the two sets' published class counts."""
    mnist = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    labels = [np.repeat(np.arange(10), counts) for counts in (mnist, SVHN_TRAIN)]
    for dm, count in ((1, 56_068), (20, 1_121_360), (30, 1_682_040)):
        rng = np.random.default_rng(0)
        rows = class_pairs.pair(labels, max_d=10_000, dm=dm, order="random", rng=rng)
        assert [len(found) for found in rows] == [count, count]
        np.testing.assert_array_equal(labels[0][rows[0]], labels[1][rows[1]])


def test_pairing_is_by_seed(folder):
    same, again, other = (load(folder, seed=seed, dm=2) for seed in (0, 0, 1))
    assert same.fingerprint == again.fingerprint != other.fingerprint
    np.testing.assert_array_equal(same.splits["train"].x["svhn"], again.splits["train"].x["svhn"])
    cut = load(folder, dm=2, num_train=30, num_test=7)
    assert [len(cut.splits[part]) for part in ("train", "test")] == [30, 7]
    np.testing.assert_array_equal(
        cut.splits["train"].x["mnist"], np.asarray(same.splits["train"].x["mnist"])[:30]
    )
    # The first pairs are of all classes, not of the first one.
    assert len(np.unique(cut.splits["train"].label)) > 5


def test_order_by_index(folder):
    train = load(folder, dm=1, order="index").splits["train"]
    pixels, labels = digits(120, 0)
    numbers, found = fake_svhn.numbers(90, 2)
    for c in range(10):
        mine = train.label == c
        place = {key: j for j, key in enumerate(keys(pixels[labels == c][..., None]))}
        other = {key: j for j, key in enumerate(keys(numbers[found == c]))}
        first = [place[key] for key in keys(train.x["mnist"][mine])]
        second = [other[key] for key in keys(train.x["svhn"][mine])]
        assert first == second and sorted(first) == list(range(9))


def test_held_out_images_are_in_no_training_pair(folder):
    splits = load(folder, num_validation=40, dm=2).splits
    for name in ("mnist", "svhn"):
        sets = [set(keys(splits[part].x[name])) for part in data.SPLITS]
        assert not sets[0] & sets[1] and sets[1]
    other = load(folder, num_validation=40, dm=2, seed=5).splits
    for name in ("mnist", "svhn"):
        held = [set(keys(found["validation"].x[name])) for found in (splits, other)]
        # The same images are held out; which of them are in pairs is theirs, too.
        assert held[0] == held[1]


def test_test_pairs_hold_test_images(folder):
    test = load(folder).splits["test"]
    assert set(keys(test.x["svhn"])) <= set(keys(fake_svhn.numbers(70, 3)[0]))
    assert set(keys(test.x["mnist"])) <= set(keys(digits(40, 1)[0][..., None]))


def test_images_are_kept_once(folder):
    train = load(folder, dm=30).splits["train"]
    assert isinstance(train.x["svhn"], Gathered)
    assert len(train.x["svhn"].pool) == 90 and len(train) == 30 * 90
    assert train.x["svhn"].nbytes == 30 * 90 * 32 * 32 * 3


def test_rows_by_number_are_what_their_copy_is():
    rng = np.random.default_rng(0)
    pool, rows = rng.integers(0, 255, (7, 2, 3)).astype(np.uint8), rng.integers(0, 7, 20)
    found, whole = Gathered(pool, rows), pool[rows]
    np.testing.assert_array_equal(found, whole)
    assert (found.shape, found.dtype, found.ndim, found.nbytes, len(found)) == (
        whole.shape, whole.dtype, whole.ndim, whole.nbytes, len(whole),
    )  # fmt: skip
    for key in (slice(2, 9), np.array([3, 0, 3]), rows > 2, 5, slice(None, None, -1)):
        np.testing.assert_array_equal(found[key], whole[key])
    assert isinstance(found[2:9], Gathered)
    with pytest.raises(ValueError, match="copy"):
        np.asarray(found, copy=False)
    split = data.Split.complete({"a": found}, rows)
    batch = next(data.batches(split, 6))
    np.testing.assert_array_equal(batch["x"]["a"], whole[:6])
    other = pool.copy()
    other[rows[0]] += 1
    splits = [
        data.Split.complete({"a": values})
        for values in (found, Gathered(pool.copy(), rows), Gathered(other, rows), found[::-1])
    ]
    splits.append(dataclasses.replace(splits[0], item=rows))
    prints = [gathered.fingerprint(dict.fromkeys(data.SPLITS, part)) for part in splits]
    assert prints[0] == prints[1] and len(set(prints)) == 4


def test_partial_training_pairs(folder):
    dataset = load(folder, dm=1, partial="paired", observed=0.5)
    groups = data.groups(dataset.splits["train"])
    assert {name: len(rows) for name, rows in groups.items()} == {
        "complete": 45, "mnist": 45, "svhn": 45,
    }  # fmt: skip


# --- text -----------------------------------------------------------------------------------------


def test_text_is_the_name_of_the_digit(folder):
    dataset = load(folder, "mnist_svhn_text", dm=2)
    spec = dataset.specs[2]
    assert (spec.name, spec.shape, spec.num_classes) == ("text", (8,), 71)
    pairs = load(folder, dm=2)
    for part in data.SPLITS:
        split = dataset.splits[part]
        words = [characters.decode(row) for row in split.x["text"]]
        assert words == [characters.DIGITS[c] for c in split.label]
        np.testing.assert_array_equal(split.x["svhn"], pairs.splits[part].x["svhn"])
    assert dataset.fingerprint != pairs.fingerprint
    other = load(folder, "mnist_svhn_text", dm=2, seed=1)
    assert other.fingerprint != dataset.fingerprint


def test_words_stand_anywhere_where_they_fit():
    which = np.repeat([3, 6], 400)  # "three" has four places, "six" six
    rows = characters.placed(characters.DIGITS, which, 8, np.random.default_rng(0))
    start = (rows != characters.SPACE).argmax(1)
    assert (rows != characters.SPACE).sum(1).tolist() == [5] * 400 + [3] * 400
    assert list(np.bincount(start[:400])) == pytest.approx([100] * 4, abs=40)
    assert list(np.bincount(start[400:])) == pytest.approx([400 / 6] * 6, abs=40)
    assert len(characters.ALPHABET) == 71 and len(set(characters.ALPHABET)) == 70


def test_characters_there_and_back():
    assert characters.decode(characters.encode("a-b c?", 9)) == "a-b c?"
    for text, said in (("nine", "room for 3"), ("É", "'É' at 0")):
        with pytest.raises(UserError, match=said):
            characters.encode(text, 3)


# --- MNIST and FashionMNIST -----------------------------------------------------------------------


def test_mnist_and_fashion(tmp_path):
    write_mnist(tmp_path / "mnist", num_train=120)
    write_mnist(tmp_path / "fashion_mnist", num_train=80, packed=True)
    dataset = load(tmp_path, "mnist_fashion", num_validation=0)
    assert [spec.name for spec in dataset.specs] == ["mnist", "fashion"]
    assert [len(dataset.splits[part]) for part in ("train", "test")] == [80, 40]
    for split in dataset.splits.values():
        for images in split.x.values():
            np.testing.assert_array_equal(mnist_class(images), split.label)
    # Lying about in one folder the two sets cannot be told apart.
    assert "'fashion_mnist'" in refusal(
        tmp_path / "mnist", "mnist_fashion"
    ) or "'mnist'" in refusal(tmp_path / "mnist", "mnist_fashion")


# --- bad input ------------------------------------------------------------------------------------


def test_bad_options_are_named(folder):
    assert "data.dm is 0" in refusal(folder, dm=0)
    assert "data.max_d is 0" in refusal(folder, max_d=0)
    assert "did you mean 'index'" in refusal(folder, order="indx")
    assert "set data.dm to 1" in refusal(folder, order="index", dm=20)
    assert "data.num_validation is 90" in refusal(folder, num_validation=90)


def test_missing_files_are_named(tmp_path, monkeypatch):
    monkeypatch.delenv("MMVAE_DATA_DIR", raising=False)
    said = refusal("")
    assert "train_32x32.mat" in said and "train-images-idx3-ubyte.gz" in said
    assert "MMVAE_DATA_DIR" in said
    assert "train-images-idx3-ubyte" in refusal(tmp_path)
    write_mnist(tmp_path / "mnist")
    said = refusal(tmp_path)
    assert "no train_32x32.mat" in said and str(tmp_path / "svhn") in said
    assert "fashion_mnist" in refusal(tmp_path, "mnist_fashion", num_validation=0)
    fake_svhn.write_svhn(tmp_path)  # also beside mnist/
    monkeypatch.setenv("MMVAE_DATA_DIR", str(tmp_path))
    assert len(load("", dm=1).splits["train"]) == 90


@pytest.mark.parametrize("kept", [0, 60, 200, 0.5, 0.99])
def test_truncated_mat_files_are_named(tmp_path, kept):
    path = fake_svhn.write_svhn(tmp_path / "svhn") / "train_32x32.mat"
    content = path.read_bytes()
    path.write_bytes(content[: kept if kept > 1 else int(kept * len(content))])
    with pytest.raises(UserError) as caught:
        svhn.read(tmp_path, "train")
    said = str(caught.value)
    assert str(path) in said and "\n" not in said
    assert "byte" in said


def test_damaged_mat_files_are_named(tmp_path):
    path = tmp_path / "test_32x32.mat"
    images, labels = fake_svhn.numbers(20, 0)

    def said() -> str:
        with pytest.raises(UserError) as caught:
            svhn.read(tmp_path, "test")
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
        return str(caught.value)

    fake_svhn.write(path, images, np.where(np.arange(20) == 4, 12, labels))
    assert "label 12 of image 4" in said()
    fake_svhn.write(path, images[:, :30], labels)
    assert "[30, 32, 3, 20]" in said()
    fake_svhn.write(path, images, labels[:19])
    assert "20 images, but 19 labels" in said()
    fake_svhn.write(path, images.astype(np.float32), labels)
    assert "X is float32" in said()
    fake_svhn.write(path, images, labels)
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0xFF
    path.write_bytes(content)
    assert "cannot be read as a file of MATLAB 5, at byte" in said()
    path.write_bytes(b"<html>not found</html>" * 20)
    assert "cannot be read as a file of MATLAB 5" in said()


def test_sets_without_a_common_class(tmp_path):
    write_mnist(tmp_path / "mnist")
    for prefix, count in (("train", 120), ("t10k", 40)):
        path = tmp_path / "mnist" / f"{prefix}-labels-idx1-ubyte"
        path.write_bytes(idx_bytes(np.zeros(count)))
    fake_svhn.write_svhn(tmp_path / "svhn")
    for part in ("train", "test"):
        images = fake_svhn.numbers(10, 0)[0]
        fake_svhn.write(tmp_path / "svhn" / f"{part}_32x32.mat", images, np.ones(10))
    assert "no class in common" in refusal(tmp_path)


# --- MNIST itself ---------------------------------------------------------------------------------


def test_real_mnist_beside_the_published_class_counts_of_svhn():
    above = os.environ.get("MMVAE_DATA_DIR", "")
    if not above or not Path(above, "mnist").is_dir():
        pytest.skip("MMVAE_DATA_DIR names no folder with mnist/")
    wanted = {
        "train": (SVHN_TRAIN, [4948, 6742, 5958, 6131, 5842, 5421, 5727, 5595, 5045, 4659]),
        # All of MNIST's test images: no class is rarer in SVHN.
        "t10k": (SVHN_TEST, [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]),
    }
    for prefix, (counts, expected) in wanted.items():
        label = idx.read_mnist(Path(above), prefix)[1]
        other = np.repeat(np.arange(10), counts)
        rng = np.random.default_rng(0)
        rows = class_pairs.pair([label, other], max_d=10_000, dm=1, order="random", rng=rng)
        assert list(np.bincount(label[rows[0]])) == expected
        assert len(rows[0]) == {"train": 56_068, "t10k": 10_000}[prefix]
