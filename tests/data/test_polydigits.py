"""polydigits: same class, other digits; test digits unseen in training; readable; repeatable."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from mmvae_jax import data
from mmvae_jax.data import polydigits

SMALL = {"num_modalities": 5, "num_train": 400, "num_validation": 50, "num_test": 100}


@pytest.fixture(scope="module")
def dataset() -> data.Dataset:
    return data.load("polydigits", SMALL, seed=0)


def test_shapes_sizes_and_specs(dataset):
    assert [spec.name for spec in dataset.specs] == ["m0", "m1", "m2", "m3", "m4"]
    assert all(spec.shape == (16, 16, 3) and spec.dtype == "uint8" for spec in dataset.specs)
    assert {name: len(split) for name, split in dataset.splits.items()} == {
        "train": 400,
        "validation": 50,
        "test": 100,
    }
    for split in dataset.splits.values():
        assert all(values.dtype == np.uint8 for values in split.x.values())
        assert all(present.all() for present in split.present.values())
        assert split.label.dtype == np.int32
        assert set(np.bincount(split.label)) == {len(split) // 10}
    assert "not a published data set" in dataset.provenance and dataset.num_classes == 10


def test_same_seed_same_bytes_other_seed_other_bytes(dataset):
    assert data.load("polydigits", SMALL, seed=0).fingerprint == dataset.fingerprint
    assert data.load("polydigits", SMALL, seed=1).fingerprint != dataset.fingerprint
    assert data.load("polydigits", SMALL | {"seed": 0}, seed=1).fingerprint == dataset.fingerprint


def test_more_modalities_leave_the_first_as_they_are(dataset):
    fewer = data.load("polydigits", SMALL | {"num_modalities": 2}, seed=0)
    for name in ("m0", "m1"):
        np.testing.assert_array_equal(fewer.splits["test"].x[name], dataset.splits["test"].x[name])


def test_digits_are_divided_by_class_without_overlap():
    parts = polydigits.divide(0)
    labels = load_digits().target
    together = np.concatenate(list(parts.values()))
    assert sorted(together) == list(range(1797))
    assert {name: len(part) for name, part in parts.items()} == {
        "train": 1329,
        "validation": 109,
        "test": 359,
    }
    for name, share in (("train", 0.74), ("validation", 0.06), ("test", 0.2)):
        counts = np.bincount(labels[parts[name]])
        assert abs(counts / np.bincount(labels) - share).max() < 0.01


def test_a_tuple_shows_different_digits_of_its_class():
    labels = load_digits().target
    originals = polydigits.divide(0)["validation"]
    label = np.arange(300) % 10
    chosen = polydigits.choose(originals, label, np.random.default_rng(0))
    assert (labels[chosen] == label[:, None]).all() and np.isin(chosen, originals).all()
    assert all(len(set(row)) == len(row) for row in chosen)


def test_training_digits_are_augmented_and_test_digits_are_not():
    # Black ground and no crop in m0: un-augmented pictures repeat, augmented ones do not.
    splits = data.load("polydigits", {"num_train": 2000, "num_test": 2000}, seed=0).splits
    unique = {name: len(np.unique(splits[name].x["m0"], axis=0)) for name in ("train", "test")}
    assert unique["train"] == 2000 and unique["test"] <= 359


def test_inversion_mirrors_the_colours_of_the_photograph():
    # In m3 the margin shows the photograph; across the digit's edge many colours turn over, so
    # ink on the (bright) sky is dark: pictures with a bright border have dark pixels inside.
    x = data.load("polydigits", SMALL, seed=0).splits["test"].x["m3"].astype(int)
    border = np.concatenate([x[:, 0], x[:, -1], x[:, :, 0], x[:, :, -1]], 1)
    sky = border.min((1, 2)) > 200
    assert sky.sum() > 5 and (x[sky].min((1, 2, 3)) < 60).all()


def test_digits_can_be_read():
    # A floor for a quick classifier; a small convolutional network reaches 0.99 on m0.
    splits = data.load("polydigits", {"num_train": 4000}, seed=0).splits
    train, test = (splits[name] for name in ("train", "test"))
    network = MLPClassifier((64,), max_iter=12, learning_rate_init=0.003, random_state=0)

    def flat(split: data.Split) -> np.ndarray:
        return split.x["m0"][..., 0].reshape(len(split), -1) / 255

    with pytest.warns(match="Maximum iterations"):
        network.fit(flat(train), train.label)
    assert network.score(flat(test), test.label) > 0.95
