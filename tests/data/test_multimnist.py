"""Several digits on a canvas, from tiny IDX files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmvae_jax import data
from mmvae_jax.data import multimnist
from mmvae_jax.types import UserError
from tests.data.fake_mnist import write_mnist

TINY = {"num_validation": 20, "num_train": 300, "num_test": 50}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_mnist(tmp_path_factory.mktemp("digits") / "mnist")


def load(folder: Path | str, *, seed: int = 0, **options):
    return data.load("multimnist", TINY | {"dir": str(folder)} | options, seed=seed)


def test_canvas_and_string(folder):
    dataset = load(folder)
    image, text = dataset.specs
    assert (image.name, image.shape, image.likelihood) == ("image", (50, 50, 1), "bernoulli")
    assert (text.name, text.shape, text.num_classes) == ("text", (4,), 12)
    assert [len(dataset.splits[part]) for part in data.SPLITS] == [300, 20, 50]
    train = dataset.splits["train"]
    # As many digits as the class says, then nothing.
    there = train.x["text"] != multimnist.FILL
    np.testing.assert_array_equal(there.sum(1), train.label)
    np.testing.assert_array_equal(there, np.arange(4) < train.label[:, None])
    assert train.x["text"][there].max() <= 9
    assert not train.x["image"][train.label == 0].any()
    # 0 to 4 digits alike: 60 of each, 7 standard errors.
    assert np.abs(np.bincount(train.label) - 60).max() < 49
    assert load(folder).fingerprint == dataset.fingerprint != load(folder, seed=1).fingerprint


def test_digits_stand_at_their_places():
    rng = np.random.default_rng(0)
    digits = np.zeros((3, 21, 21), np.uint8)
    digits[:, 2:18, 2:18] = np.array([50, 100, 200])[:, None, None]
    count = np.array([0, 1, 2, 3, 4] * 4)
    canvases, text = multimnist.draw(digits, np.array([5, 6, 7]), count, rng)
    level = {5: 50, 6: 100, 7: 200, multimnist.FILL: 0}
    for canvas, string in zip(canvases, text, strict=True):
        expected = np.zeros((50, 50), int)
        for (top, left), symbol in zip(((4, 4), (4, 23), (23, 4), (23, 23)), string, strict=True):
            expected[top + 2 : top + 18, left + 2 : left + 18] += level[symbol]
        np.testing.assert_array_equal(canvas, expected)


def test_what_overlaps_to_more_than_white_is_drawn_again():
    digits = np.zeros((2, 21, 21), np.uint8)
    digits[0] = 200  # reaches its edges, where a neighbour adds to it
    digits[1, 5:15, 5:15] = 255
    count = np.full(200, 2)
    canvases, text = multimnist.draw(digits, np.array([0, 1]), count, np.random.default_rng(1))
    # Two of the first kind would give 400 where they overlap.
    assert not (text[:, :2] == 0).all(1).any()
    assert len(np.unique(text[:, :2], axis=0)) == 3
    assert canvases.max() == 255


def test_shrinking_keeps_the_place_and_the_amount_of_ink():
    digits = np.zeros((1, 28, 28), np.uint8)
    digits[0, 8:20, 12:24] = 255
    small = multimnist.shrink(digits)[0].astype(float)
    assert small.shape == (21, 21)
    assert small.sum() == pytest.approx(digits.sum() * (21 / 28) ** 2, rel=0.02)
    centre = (small.sum(1) @ np.arange(21) / small.sum() + 0.5) / 21
    assert centre == pytest.approx(14 / 28, abs=0.01)


def test_options_and_files(folder, tmp_path, monkeypatch):
    repeated = load(folder, num_validation=0, num_train=0)
    assert [len(repeated.splits[part]) for part in data.SPLITS] == [120, 120, 50]
    assert "validation repeats training canvases" in repeated.provenance
    monkeypatch.delenv("MMVAE_DATA_DIR", raising=False)
    for place, said in ((tmp_path, "train-images-idx3-ubyte"), ("", "MMVAE_DATA_DIR")):
        with pytest.raises(UserError, match=said):
            load(place)
