from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import f1_score

from mmvae_jax import data
from mmvae_jax.evaluation import Context, NotApplicable, Settings
from mmvae_jax.evaluation.attributes import attribute_classification, f1_scores
from mmvae_jax.types import ModalitySpec
from tests.evaluation import fakes

NAMES = ("a", "q", "r")
# What is told of each class: four attributes, and one more in a modality of its own.
TOLD = {
    "q": np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]], bool),
    "r": np.array([[0], [1], [1], [0]], bool),
}


class Teller(fakes.FakeModel):
    def _show(self, params, name, classes):
        if name == "a":
            return super()._show(params, name, classes)
        return 0.2 + 0.6 * params["params"][name][classes % fakes.CLASSES]


def context(generator, names=NAMES):
    specs = {s.name: s for s in fakes.specs(("a",))}
    for name, told in TOLD.items():
        specs[name] = ModalitySpec(
            name=name, shape=told.shape[1:], dtype="bool", likelihood="bernoulli"
        )
    one = fakes.split(50, 2, ("a",))
    x = {
        name: told[one.label] ^ (generator.random((50, told.shape[1])) < 0.2)
        for name, told in TOLD.items()
    }
    x["q"][:, 2:] = False  # never true; the last two are never found either
    split = data.Split.complete({"a": one.x["a"], **x}, one.label)
    chosen = tuple(specs[name] for name in names)
    variables = {"params": {name: jnp.asarray(told, jnp.float32) for name, told in TOLD.items()}}
    variables["params"]["a"] = jnp.asarray(fakes.prototypes(("a",))["a"])
    splits = dict.fromkeys(("train", "validation", "test"), split)
    return Context(
        model=Teller(chosen),
        variables=variables,
        dataset=data.Dataset("told", tuple(specs.values()), splits, fakes.CLASSES),
        settings=Settings(batch_size=16),
        workdir=None,
        step=0,
    )


def test_accuracy_and_f1_of_attributes(generator):
    given = context(generator)
    present = given.rows.present
    present["a"][:5] = False
    present["q"][5:15] = False
    found = attribute_classification(given)
    rows = {"q": np.arange(15, 50), "r": np.arange(5, 50)}
    accuracy, f1 = [], []
    for name, chosen in rows.items():
        truth, told = given.rows.x[name][chosen], TOLD[name][given.rows.label[chosen]]
        accuracy += list((truth == told).mean(0))
        f1 += [
            f1_score(t, f) if t.any() or f.any() else np.nan
            for t, f in zip(truth.T, told.T, strict=True)
        ]
    label = "classification/attributes"
    np.testing.assert_allclose(found[f"{label}/accuracy_each"].values, accuracy)
    np.testing.assert_allclose(found[f"{label}/f1_each"].values, f1)
    assert np.isnan(f1).sum() == 2
    assert found[f"{label}/accuracy"].value == pytest.approx(np.mean(accuracy))
    assert found[f"{label}/f1"].value == pytest.approx(np.nanmean(f1))
    assert found[f"{label}/f1"].n == 45
    assert "q, r decoded from the posterior mean given a" in found[f"{label}/f1"].how


def test_error_of_f1_against_resampled_rows(generator):
    truth = generator.random((300, 3)) < 0.3
    found = truth ^ (generator.random((300, 3)) < 0.2)
    _, value, error = f1_scores(truth, found)
    resampled = []
    for _ in range(1500):
        rows = generator.integers(0, 300, 300)
        resampled.append(f1_scores(truth[rows], found[rows])[1])
    assert value == pytest.approx(np.mean([f1_score(truth[:, i], found[:, i]) for i in range(3)]))
    assert error == pytest.approx(np.std(resampled), rel=0.1)


def test_where_there_are_no_attributes_or_nothing_else(generator):
    for names, reason in ((("a",), "no modality holds attributes"), (("q",), "nothing but attrib")):
        with pytest.raises(NotApplicable, match=reason):
            attribute_classification(context(generator, names))
