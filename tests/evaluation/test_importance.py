"""Which dimensions a sparse classifier needs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mmvae_jax.evaluation import NotApplicable, importance
from tests.evaluation import fakes, placed


def test_dimensions_that_tell_nothing_weigh_nothing(generator):
    """Dimension 0 tells class 2 from the others, 1 and 2 tell 0 from 1; the scale is no matter."""
    label = generator.integers(0, 3, 600)
    inputs = generator.normal(size=(600, 6))
    inputs[:, 0] += 4 * (label == 2)
    inputs[:, 1] += 3 * (label == 0)
    inputs[:, 2] += 1 * (label == 0)
    inputs[:, 2] *= 1e3
    weights, right = importance.sparse_machine(inputs[:400], label[:400], inputs[400:], label[400:])
    assert weights.sum() == pytest.approx(1)
    np.testing.assert_array_equal(weights[3:], 0)
    assert weights[1] > 2 * weights[2] > 0 and weights[0] > 0.3
    assert right.shape == (200,) and right.mean() > 0.85
    again = inputs[:400] * np.array([1, 1, 1e-3, 1, 1, 1])
    same, _ = importance.sparse_machine(again, label[:400], inputs[400:], label[400:])
    np.testing.assert_allclose(weights, same, atol=1e-3)


def test_two_classes_and_codes_of_noise(generator):
    label = np.arange(100) % 2
    weights, _ = importance.sparse_machine(np.eye(2)[label], label, np.eye(2)[label], label)
    assert weights.shape == (2,) and weights.sum() == pytest.approx(1)
    noise = generator.normal(size=(5000, 4))
    weights, _ = importance.sparse_machine(noise, np.arange(5000) % 2, noise, np.arange(5000) % 2)
    np.testing.assert_array_equal(weights, 0)


def test_importance_of_shared_and_private_codes(generator):
    """The class is in the shared numbers; classes 3 and 4 would be in the private ones."""
    given = placed.context(generator, count=60)
    found = importance.factor_importance(given)
    weights = found["importance/weights/a"]
    assert weights.values.shape == (placed.SHARED + placed.OWN,)
    assert weights.values.sum() == pytest.approx(1)
    assert (weights.values[: placed.SHARED] > 0.2).all()
    train = given.dataset.splits["train"]
    assert (
        weights.n == (train.label >= 0).sum() and f"C = {0.15 / weights.n**0.5:.3g}," in weights.how
    )
    private = found["importance/private/a"].value
    assert private == pytest.approx(weights.values[placed.SHARED :].sum()) and private < 0.1
    used = found["importance/dimensions/a"]
    assert used.value == (weights.values > 0).sum() and "of 5" in used.how
    accuracy = found["importance/accuracy/b"]
    assert accuracy.n == (given.dataset.splits["test"].label >= 0).sum()
    assert 0.6 < accuracy.value < 1 and accuracy.standard_error > 0
    assert found["importance/weights/b"].values.shape == (placed.SHARED,)
    assert given.skipped == {
        f"importance/private/{name}": "it has no private code" for name in ("b", "c")
    }


def test_labels_are_needed_and_are_no_modality_of_it(generator):
    with pytest.raises(NotApplicable, match="has no labels"):
        importance.factor_importance(placed.context(generator, labels=False))
    names = ("a", "l")
    given = placed.context(generator)
    given = dataclasses.replace(
        given,
        model=fakes.FakeModel(fakes.specs(names)),
        variables=fakes.variables(names),
        dataset=fakes.dataset(names),
    )
    found = importance.factor_importance(given)
    assert given.skipped == {"importance/l": "it is the class itself"}
    assert found["importance/accuracy/a"].value == 1
    np.testing.assert_array_equal(found["importance/weights/a"].values[fakes.CLASSES :], 0)
