"""The files that scikit-learn ships, against scikit-learn's own loaders."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import datasets

from mmvae_jax.data import bundled


@pytest.fixture(params=["files", "elsewhere"])
def read(request, monkeypatch):
    """Functions that have cached nothing; in a release that keeps its files elsewhere, too."""
    if request.param == "elsewhere":
        monkeypatch.setattr(bundled, "_file", lambda name: None)
    return bundled.digits.__wrapped__, bundled.photographs.__wrapped__


def test_digits_and_photographs_are_those_of_scikit_learn(read):
    digits, photographs = read
    images, labels = digits()
    expected = datasets.load_digits()
    np.testing.assert_array_equal(images, expected.images)
    np.testing.assert_array_equal(labels, expected.target)
    assert labels.dtype == np.int32
    for found, wanted in zip(photographs(), datasets.load_sample_images().images, strict=True):
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, wanted)


def test_the_files_are_found():
    assert bundled._file("data/digits.csv.gz") and not bundled._file("data/nothing.csv")
