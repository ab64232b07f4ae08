"""polymnist from PNG files in the published layout, and every kind of bad folder."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmvae_jax import data
from mmvae_jax.data import images
from mmvae_jax.types import UserError

TINY = {"num_modalities": 2, "num_validation": 6}


def picture(part: str, m: int, j: int, digit: int) -> np.ndarray:
    return np.full((28, 28, 3), [j, 20 * digit, 100 * m + (part == "test")], np.uint8)


@pytest.fixture
def folder(tmp_path) -> Path:
    """12 training tuples of digits 3 and 8 (so that "10.3" sorts after "2.3"), 4 for the test."""
    for part, keys in (
        ("train", [(j, digit) for j in (0, 1, 2, 9, 10, 11) for digit in (3, 8)]),
        ("test", [(j, digit) for j in (0, 10) for digit in (3, 8)]),
    ):
        for m in range(2):
            path = tmp_path / part / f"m{m}"
            path.mkdir(parents=True)
            for j, digit in keys:
                Image.fromarray(picture(part, m, j, digit)).save(path / f"{j}.{digit}.png")
    return tmp_path


def load(folder: Path, **options) -> data.Dataset:
    return data.load("polymnist", TINY | {"dir": str(folder)} | options, seed=0)


def refusal(folder: Path, **options) -> str:
    with pytest.raises(UserError) as caught:
        load(folder, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_tuples_are_read_in_numerical_order_and_match(folder):
    dataset = load(folder)
    test = dataset.splits["test"]
    np.testing.assert_array_equal(test.x["m0"][:, 0, 0, 0], [0, 0, 10, 10])
    np.testing.assert_array_equal(test.label, [3, 8, 3, 8])
    for name, split in dataset.splits.items():
        np.testing.assert_array_equal(split.x["m0"][..., :2], split.x["m1"][..., :2])
        np.testing.assert_array_equal(split.x["m0"][:, 5, 5, 1], 20 * split.label)
        assert (split.x["m1"][..., 2] == 100 + (name == "test")).all()
    assert f"images read from {folder}" in dataset.provenance


def test_every_training_tuple_is_in_one_split(folder):
    splits = load(folder).splits
    keys = [
        (int(x[0, 0, 0]), int(label))
        for name in ("train", "validation")
        for x, label in zip(splits[name].x["m0"], splits[name].label, strict=True)
    ]
    assert len(splits["validation"]) == 6 and len(keys) == len(set(keys)) == 12


def test_caps_and_no_held_out_rows(folder):
    splits = load(folder, num_train=3, num_validation=0, num_test=1).splits
    assert [len(splits[name]) for name in data.SPLITS] == [3, 3, 1]
    np.testing.assert_array_equal(splits["train"].x["m1"], splits["validation"].x["m1"])


def test_images_are_read_once_then_loaded(folder, caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    first = load(folder)
    assert "polymnist-train-m0: preparing 12 rows" in caplog.text
    assert "polymnist-test-m1: preparing 4 rows" in caplog.text
    caplog.clear()
    with monkeypatch.context() as patch:
        patch.setattr(images, "read_rgb", None)  # pictures are not read again
        again = load(folder, num_train=3)
    assert "loaded" in caplog.text and "preparing" not in caplog.text
    for name in ("m0", "m1"):
        np.testing.assert_array_equal(
            again.splits["train"].x[name], first.splits["train"].x[name][:3]
        )
    path = folder / "train" / "m1" / "2.8.png"
    Image.fromarray(picture("train", 1, 77, 8)).save(path)
    os.utime(path, (0, 0))  # not the time that it had, however coarse clocks are
    caplog.clear()
    x = load(folder, num_validation=0).splits["train"].x
    assert "train-m1: preparing" in caplog.text and "train-m0: preparing" not in caplog.text
    assert (x["m1"][:, 0, 0, 0] == 77).sum() == 1 and not (x["m0"][:, 0, 0, 0] == 77).any()


def test_another_folder_for_what_is_prepared(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    found = load(folder, cache_dir=str(elsewhere))
    assert not (folder / "prepared").exists()
    assert sorted(path.name for path in elsewhere.iterdir()) == [
        f"polymnist-{part}-m{m}" for part in ("test", "train") for m in range(2)
    ]
    assert load(folder).fingerprint == found.fingerprint


def test_missing_modality_folder(folder):
    assert f"no folder {folder / 'train' / 'm2'}" in refusal(folder, num_modalities=3)


def test_missing_part(folder):
    (folder / "test").rename(folder / "old")
    assert f"no folder {folder / 'test' / 'm0'}" in refusal(folder)


def test_empty_modality_folder(folder):
    for path in (folder / "test/m0").iterdir():
        path.unlink()
    assert f"{folder / 'test' / 'm0'} holds no .png files" in refusal(folder)


@pytest.mark.parametrize("m, has, lacks", [(0, "m1", "m0"), (1, "m0", "m1")])
def test_unmatched_tuples(folder, m, has, lacks):
    (folder / f"train/m{m}/2.8.png").unlink()
    assert f"2.8.png is in {has} but not in {lacks}" in refusal(folder)


@pytest.mark.parametrize("name", ["a.png", "1.png", "1.2.3.png", "01.3.png", "1.12.png"])
def test_file_names_of_another_kind(folder, name):
    Image.new("RGB", (28, 28)).save(folder / "train/m0" / name)
    assert str(folder / "train/m0" / name) in refusal(folder)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("cut", "at byte 900 of 900 or before"),
        ("empty", "it has no bytes"),
        ("text", "of 6 or before (it starts like no format of images)"),
        ("flipped", "of 2,448 or before"),
        ("checksum", "of 2,448 or before"),
        ("no pixels", "of 45 or before"),
    ],
)
def test_damaged_png(folder, damage, said):
    path = folder / "test/m1/10.8.png"
    noise = np.random.default_rng(0).integers(0, 256, (28, 28, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    content = path.read_bytes()
    flipped, checksum = bytearray(content), bytearray(content)
    flipped[len(content) // 2] ^= 255
    checksum[-13] ^= 1  # the last byte of that of the pixels; what follows it has twelve
    damaged = {"cut": content[:900], "empty": b"", "text": b"<html>"}
    damaged |= {"flipped": bytes(flipped), "checksum": bytes(checksum)}
    damaged["no pixels"] = content[:33] + content[-12:]  # the header, and the end
    path.write_bytes(damaged[damage])
    message = refusal(folder)
    said = said.replace("2,448", f"{len(content):,}")  # what the packing makes of noise may change
    assert f"image {path} cannot be read: truncated or damaged, " in message and said in message


@pytest.mark.parametrize(
    "image, words",
    [
        (Image.new("RGB", (27, 28)), "27x28 pixels"),
        (Image.new("L", (28, 28)), "colour mode L"),
        (Image.new("RGBA", (28, 28)), "colour mode RGBA"),
    ],
)
def test_png_of_another_shape(folder, image, words):
    path = folder / "train/m0/9.3.png"
    image.save(path)
    message = refusal(folder)
    assert str(path) in message and words in message
