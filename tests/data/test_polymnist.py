"""polymnist from IDX files: the recipe, its options, and every kind of bad file."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmvae_jax import data
from mmvae_jax.data import idx, polymnist
from mmvae_jax.types import UserError
from tests.data.fake_mnist import idx_bytes, write_mnist

TINY = {"num_modalities": 3, "num_validation": 20}


def image_numbers(inverted: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Which of `digits` was drawn, from where a picture ``[N, 28, 28]`` is inverted."""
    bars = inverted.sum(2)
    row = np.arange(len(label))
    return bars[row, 2 * label] - 1 + 28 * (bars[row, 2 * label + 1] - 1)


def write_backgrounds(folder: Path, colours: list[int], size: tuple[int, int] = (40, 31)) -> Path:
    folder.mkdir(exist_ok=True)
    for number, colour in enumerate(colours):
        Image.new("RGB", size, (colour, 0, 255)).save(folder / f"{number}.png")
    return folder


def refusal(folder: Path | str, **options) -> str:
    with pytest.raises(UserError) as caught:
        data.load("polymnist", TINY | {"dir": str(folder)} | options, seed=0)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def mnist(tmp_path) -> Path:
    return write_mnist(tmp_path / "mnist")


def test_every_usual_file_name_gives_the_same_data(tmp_path):
    prints = {
        data.load("polymnist", TINY | {"dir": str(folder)}, seed=3).fingerprint
        for folder in (
            write_mnist(tmp_path / "plain"),
            write_mnist(tmp_path / "packed", packed=True),
            write_mnist(tmp_path / "dotted", dotted=True),
            write_mnist(tmp_path / "above/mnist", packed=True, dotted=True).parent,
        )
    }
    assert len(prints) == 1


def test_pictures_follow_the_recipe(mnist, tmp_path):
    folder = write_backgrounds(tmp_path / "grounds", [10, 100, 250])
    options = TINY | {"dir": str(mnist), "backgrounds": str(folder)}
    dataset = data.load("polymnist", options, seed=0)
    assert {name: len(split) for name, split in dataset.splits.items()} == {
        "train": 100,
        "validation": 20,
        "test": 40,
    }
    for split in dataset.splits.values():
        for m, colour in enumerate([10, 100, 250]):
            x = split.x[f"m{m}"]
            inverted = x[..., 0] == 255 - colour
            plain = [colour, 0, 255]
            np.testing.assert_array_equal(x[~inverted], np.broadcast_to(plain, x[~inverted].shape))
            np.testing.assert_array_equal(x[inverted][:, 1:] - [255, 0], 0)
            # The inverted pixels are the bar of the row's class, and nothing else.
            for row, label in enumerate(split.label):
                assert set(np.flatnonzero(inverted[row].any(1))) == {2 * label, 2 * label + 1}
            assert not inverted[:, 27, 27].any()


def test_items_of_a_tuple_share_the_class_and_every_image_is_used_once():
    labels = np.random.default_rng(0).integers(0, 10, 500)
    chosen = polymnist.pair(labels, 5, np.random.default_rng(1))
    assert (labels[chosen] == labels[:, None]).all()
    assert all(sorted(column) == list(range(500)) for column in chosen.T)
    assert (chosen[:, 0] != chosen[:, 1]).mean() > 0.9


def test_held_out_images_are_in_no_training_tuple(mnist, tmp_path):
    folder = write_backgrounds(tmp_path / "grounds", [10, 10, 10])
    options = TINY | {"dir": str(mnist), "backgrounds": str(folder)}
    splits = data.load("polymnist", options, seed=0).splits
    for name in ("m0", "m1", "m2"):
        shown = [
            image_numbers(splits[part].x[name][..., 0] == 245, splits[part].label)
            for part in ("train", "validation")
        ]
        # Every one of the 120 images once, on one side: nothing is shared, nothing is lost.
        assert [len(part) for part in shown] == [100, 20]
        assert sorted(np.concatenate(shown)) == list(range(120))
        if name == "m0":
            held_out = set(shown[1])
        assert set(shown[1]) == held_out


def test_seed_decides_and_caps_cut(mnist):
    options = TINY | {"dir": str(mnist)}
    first = data.load("polymnist", options, seed=0)
    assert data.load("polymnist", options, seed=0).fingerprint == first.fingerprint
    assert data.load("polymnist", options, seed=1).fingerprint != first.fingerprint
    cut = data.load("polymnist", options | {"num_train": 30, "num_test": 7}, seed=0)
    assert [len(cut.splits[name]) for name in data.SPLITS] == [30, 20, 7]
    np.testing.assert_array_equal(cut.splits["train"].label, first.splits["train"].label[:30])


def test_without_held_out_rows_validation_repeats_training_and_says_so(mnist):
    dataset = data.load("polymnist", TINY | {"dir": str(mnist), "num_validation": 0}, seed=0)
    train, validation = dataset.splits["train"], dataset.splits["validation"]
    assert len(train) == len(validation) == 120
    np.testing.assert_array_equal(train.x["m1"], validation.x["m1"])
    assert "validation repeats training tuples" in dataset.provenance


def test_bundled_backgrounds_are_five_different_ones_and_named_as_unpublished(mnist):
    options = TINY | {"dir": str(mnist), "num_modalities": 5}
    dataset = data.load("polymnist", options, seed=0)
    assert "not the published data" in dataset.provenance
    means = [dataset.splits["train"].x[f"m{m}"].mean((0, 1, 2)).round(1) for m in range(5)]
    assert len({tuple(mean) for mean in means}) == 5


def test_folder_from_the_environment(mnist, monkeypatch):
    monkeypatch.setenv("MMVAE_DATA_DIR", str(mnist.parent))
    found = data.load("polymnist", TINY, seed=0)
    assert found.fingerprint == data.load("polymnist", TINY | {"dir": str(mnist)}).fingerprint


def test_no_folder_named(monkeypatch):
    monkeypatch.delenv("MMVAE_DATA_DIR", raising=False)
    assert "data.dir" in refusal("") and "train-images-idx3-ubyte" in refusal("")


def test_folder_that_is_not_there(tmp_path):
    assert f"no folder {tmp_path / 'x'}" in refusal(tmp_path / "x")


def test_folder_without_the_files_names_them(tmp_path):
    message = refusal(tmp_path)
    for name in ("train-images-idx3-ubyte", "train-images.idx3-ubyte", "-ubyte.gz"):
        assert name in message
    write_mnist(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    assert "t10k-labels-idx1-ubyte" in refusal(tmp_path)


@pytest.mark.parametrize("keep", [100, 10])
def test_truncated_idx(mnist, keep):
    path = mnist / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:keep])
    message = refusal(mnist)
    assert str(path) in message and f"{keep} bytes" in message
    if keep == 100:
        assert str(16 + 120 * 784) in message


def test_idx_with_bytes_to_spare(mnist):
    path = mnist / "train-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes() + b"\0")
    assert f"{path} holds 129 bytes, its header announces 128" in refusal(mnist)


@pytest.mark.parametrize("keep", [0.5, 5])
def test_truncated_gzip(tmp_path, keep):
    write_mnist(tmp_path, packed=True)
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if keep < 1 else keep])
    message = refusal(tmp_path)
    assert str(path) in message and ("announces" in message or "cut off after 5 bytes" in message)


def test_gzip_that_is_none(tmp_path):
    write_mnist(tmp_path, packed=True)
    path = tmp_path / "train-labels-idx1-ubyte.gz"
    path.write_bytes(b"<html>not found</html>")
    assert f"{path} is not a sound gzip file" in refusal(tmp_path)


def test_gzip_with_a_flipped_byte(tmp_path):
    write_mnist(tmp_path, packed=True)
    path = tmp_path / "train-labels-idx1-ubyte.gz"
    content = bytearray(path.read_bytes())
    content[-6] ^= 1  # in the checksum at the end
    path.write_bytes(content)
    end = f"{len(content):,}"
    assert f"{path} is not a sound gzip file: damaged at byte {end} of {end}" in refusal(tmp_path)


def test_damage_in_a_gzip_has_a_place(tmp_path, monkeypatch):
    """The first byte of the packed content is spoilt: that comes out in the piece it is in."""
    monkeypatch.setattr(idx, "_PIECE", 16)
    write_mnist(tmp_path, packed=True)
    path = tmp_path / "train-labels-idx1-ubyte.gz"
    content = bytearray(gzip.compress(gzip.decompress(path.read_bytes()), mtime=0))
    assert content[3] == 0 and len(content) > 64  # a header of ten bytes without a name
    content[10] |= 0b110  # a kind of block that there is not
    path.write_bytes(content)
    assert f"damaged at byte 16 of {len(content):,} or before" in refusal(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\x89PNG....", bytes([0, 0, 8, 1, 0, 0, 0, 0])])
def test_wrong_magic(mnist, content):
    path = mnist / "train-images-idx3-ubyte"
    path.write_bytes(content)
    assert f"{path} starts with" in refusal(mnist) and "00 00 08 03" in refusal(mnist)


def test_labels_and_images_of_different_counts(mnist):
    (mnist / "train-labels-idx1-ubyte").write_bytes(idx_bytes(np.zeros(119)))
    message = refusal(mnist)
    assert "120 images" in message and "119 labels" in message


def test_values_that_are_not_mnist(mnist):
    (mnist / "train-labels-idx1-ubyte").write_bytes(idx_bytes(np.full(120, 10)))
    assert "label 10" in refusal(mnist)
    (mnist / "train-images-idx3-ubyte").write_bytes(idx_bytes(np.zeros((120, 8, 8))))
    assert "8x8" in refusal(mnist)


def test_holding_out_everything(mnist):
    assert "data.num_validation is 120" in refusal(mnist, num_validation=120)


def test_background_folder_missing_or_too_small(mnist, tmp_path):
    folder = write_backgrounds(tmp_path / "grounds", [0, 0])
    assert "holds 2 images" in refusal(mnist, backgrounds=str(folder))
    assert "no folder" in refusal(mnist, backgrounds=str(tmp_path / "none"))


def test_background_smaller_than_a_crop(mnist, tmp_path):
    folder = write_backgrounds(tmp_path / "grounds", [0, 0, 0], size=(40, 27))
    message = refusal(mnist, backgrounds=str(folder))
    assert "0.png has 40x27 pixels" in message and "28x28" in message


def test_background_of_exactly_a_crop_in_grey(mnist, tmp_path):
    folder = write_backgrounds(tmp_path / "grounds", [0, 0], size=(28, 28))
    Image.new("L", (28, 28), 7).save(folder / "2.jpg")
    options = TINY | {"dir": str(mnist), "backgrounds": str(folder)}
    assert len(data.load("polymnist", options, seed=0).splits["test"]) == 40


def test_background_that_is_no_image(mnist, tmp_path):
    folder = write_backgrounds(tmp_path / "grounds", [0, 0, 0])
    path = folder / "1.png"
    path.write_bytes(path.read_bytes()[:60])
    said = f"image {path} cannot be read: truncated or damaged, at byte 60 of 60 or before"
    assert said in refusal(mnist, backgrounds=str(folder))


def test_real_mnist():
    root = os.environ.get("MMVAE_DATA_DIR", "")
    if not root or not (Path(root) / "mnist").is_dir():
        pytest.skip("MMVAE_DATA_DIR names no folder with mnist/")
    images, labels = idx.read_mnist(Path(root) / "mnist", "t10k")
    # The test set's class counts, as printed on many pages about MNIST.
    assert list(np.bincount(labels)) == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    options = {"num_train": 500, "num_validation": 200, "num_test": 300}
    dataset = data.load("polymnist", options, seed=0)
    assert [len(dataset.splits[name]) for name in data.SPLITS] == [500, 200, 300]
    assert np.bincount(dataset.splits["train"].label).min() > 20
    assert images.shape == (10_000, 28, 28)
