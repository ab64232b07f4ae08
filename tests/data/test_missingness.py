"""Partial training data: shares, determinism, and that no row loses everything."""

from __future__ import annotations

import numpy as np
import pytest

from mmvae_jax import data
from mmvae_jax.data import missingness
from mmvae_jax.types import UserError


def complete(rows: int, modalities: int = 3) -> data.Split:
    return data.Split.complete({f"m{i}": np.zeros((rows, 2), np.uint8) for i in range(modalities)})


def mask(split: data.Split) -> np.ndarray:
    return np.stack(list(split.present.values()), 1)


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_each_modality_is_left_out_with_the_probability(probability):
    """A row that would lose all three, p^3 of them, keeps one: p - p^3 / 3 is absent."""
    found = 1 - mask(missingness.drop(complete(20_000), probability, 0)).mean(0)
    expected = probability - probability**3 / 3
    error = np.sqrt(expected * (1 - expected) / 20_000)
    np.testing.assert_allclose(found, expected, atol=4 * error)


def test_no_row_loses_everything():
    assert mask(missingness.drop(complete(5000), 0.95, 1)).any(1).all()


def test_what_is_absent_stays_absent():
    split = complete(100)
    split.present["m1"][:50] = False
    assert not missingness.drop(split, 0.3, 0).present["m1"][:50].any()


def test_a_longer_split_begins_like_a_shorter_one():
    short, long = (mask(missingness.drop(complete(n), 0.5, 7)) for n in (50, 500))
    np.testing.assert_array_equal(long[:50], short)
    other = mask(missingness.drop(complete(500), 0.5, 8))
    assert not np.array_equal(other, long)


def test_the_option_makes_the_training_split_partial_and_no_other():
    sizes = {"num_train": 200, "num_validation": 20, "num_test": 20}
    whole = data.load("polydigits", sizes, seed=0)
    partial = data.load("polydigits", {**sizes, "missing": 0.5}, seed=0)
    assert 0.3 < mask(partial.splits["train"]).mean() < 0.7
    assert mask(partial.splits["validation"]).all()
    assert mask(partial.splits["test"]).all()
    assert partial.fingerprint != whole.fingerprint
    assert "50% of the training modalities left out" in partial.provenance
    np.testing.assert_array_equal(partial.splits["train"].x["m1"], whole.splits["train"].x["m1"])


@pytest.mark.parametrize("value", [1.0, -0.1, "half", True])
def test_what_is_no_probability_is_refused(value):
    with pytest.raises(UserError, match="must be a probability below 1"):
        data.load("polydigits", {"missing": value})
