"""Coherence given several modalities, and by where the two codes come from."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmvae_jax.evaluation import Context, NotApplicable, Settings, classifiers
from mmvae_jax.evaluation.accuracy import classifier_accuracy
from mmvae_jax.evaluation.coherence import conditional_coherence
from mmvae_jax.evaluation.coherence_instances import instance_coherence
from mmvae_jax.evaluation.coherence_subsets import subset_coherence
from mmvae_jax.evaluation.result import mean_of_cells, unequal
from tests.evaluation import fakes

NAMES = ("a", "b", "v", "l")


@dataclasses.dataclass(frozen=True)
class Confused(fakes.FakeModel):
    """Takes the next class given `confusing`; the private code of ``own`` says 2 more.

    Drawn from the prior, private codes say nothing.
    """

    confusing: tuple[str, ...] = ()

    def sample_posterior(self, params, rng, batch, given, num_samples):
        found = self._class_of(params, batch, given[0]) + int(tuple(given) == self.confusing)
        shared = 10.0 * jax.nn.one_hot(found % fakes.CLASSES, fakes.CLASSES)[None]
        marks = {
            spec.name: 9.0 + 0.0 * shared
            for spec in self.specs
            if spec.private_dim and spec.name in given
        }
        return shared, {
            spec.name: marks.get(spec.name, 0.0 * shared) for spec in self.specs if spec.private_dim
        }

    def decode_one(self, params, spec, shared, private):
        shift = 0 if private is None else jnp.where(private[..., 0] > 8, 2, 0)
        return {"loc": self._show(params, spec.name, shared.argmax(-1) + shift)}


def context(dataset, names, model):
    given = Context(
        model=model,
        variables=fakes.variables(names),
        dataset=dataset,
        settings=Settings(batch_size=16, coherence_subsets=0),
        workdir=None,
        step=0,
    )
    given.__dict__["classifiers"] = fakes.perfect_judges(names)  # nothing is trained
    return given


def test_every_subset_to_every_absent_target():
    dataset = fakes.dataset(NAMES)
    test = dataset.splits["test"]
    test.present["a"][:20] = False
    test.x["a"][:20] = test.x["a"][1:21].copy()  # would be taken for another class
    model = Confused(fakes.specs(NAMES), confusing=("b", "v"))
    given = context(dataset, NAMES, model)
    found = subset_coherence(given)
    matrix = found["coherence/given/matrix"]
    n = np.nan
    # Rows: ab av al bv bl vl, abv abl avl bvl; columns: a b v l.
    expected = [[n, n, 1, 1], [n, 1, n, 1], [n, 1, 1, n], [0, n, n, 0], [1, n, 1, n], [1, 1, n, n]]
    expected += [[n, n, n, 1], [n, n, 1, n], [n, 1, n, n], [1, n, n, n]]
    np.testing.assert_array_equal(matrix.values, expected)
    assert matrix.n == 50 and "error over test rows, 30 to 50 in a cell;" in matrix.how
    assert "a+b, a+v, a+l, b+v, b+l, v+l, a+b+v" in matrix.how
    assert all("; judges' accuracy 1.000" in result.how for result in found.values())
    two, three = found["coherence/given/2"], found["coherence/given/3"]
    assert (two.value, three.value) == (pytest.approx(10 / 12), 1)
    assert two.standard_error == 0 and two.n == 50
    np.testing.assert_allclose(
        found["coherence/given/by_class"].values, [[10 / 12] * 4, [1] * 4], rtol=1e-12
    )
    assert not given.skipped


def test_judges_are_judged_once_by_the_real_items_that_they_have(monkeypatch):
    dataset = fakes.dataset(NAMES, test=52)
    test = dataset.splits["test"]
    test.present["v"][:] = False
    test.label[:2] = -1
    given = context(dataset, NAMES, fakes.FakeModel(fakes.specs(NAMES)))
    # b takes class 3 for class 0 and the other way round.
    items = given.classifiers["b"].variables["judge"]["items"]
    swapped = {"judge": {"items": items[jnp.array([3, 1, 2, 0])]}}
    given.classifiers["b"] = dataclasses.replace(given.classifiers["b"], variables=swapped)
    calls = []
    ask = classifiers.classify_rows
    monkeypatch.setattr(classifiers, "classify_rows", lambda *asked: calls.append(1) or ask(*asked))
    wrong = 12 + 13  # of the 50 rows with a class, those of class 0 and of class 3
    assert given.judges_accuracy(("a",)) == "; judges' accuracy 1.000"
    assert given.judges_accuracy(("b",)) == f"; judges' accuracy {1 - wrong / 50:.3f}"
    both = f"; judges' accuracy {1 - wrong / 100:.3f}"
    assert given.judges_accuracy(NAMES) == both  # v has no items, l judges itself
    assert given.judges_accuracy(("v", "l")) == given.judges_accuracy(()) == ""
    accuracy = classifier_accuracy(given)
    assert accuracy["classifier/accuracy/mean"].value == pytest.approx(1 - wrong / 100)
    assert "classifier/accuracy/v" in given.skipped
    assert len(calls) == 2  # a and b, each once, in batches of 16 rows


def test_no_subsets_of_two_modalities():
    names = ("a", "b")
    given = context(fakes.dataset(names), names, fakes.FakeModel(fakes.specs(names)))
    with pytest.raises(NotApplicable, match="has 2 modalities, not 3 to 7"):
        subset_coherence(given)


def test_six_instances():
    names = ("a", "b", "v")
    dataset = fakes.dataset(names)
    test = dataset.splits["test"]
    test.present["v"][:30] = False
    test.x["v"][:30] = test.x["v"][1:31].copy()
    model = Confused(fakes.specs(names), confusing=("a",))
    found = instance_coherence(context(dataset, names, model))
    values = {name.removeprefix("coherence/instance/"): r.value for name, r in found.items()}
    # Targets a and b have private codes. Given a, the class is wrong: 1 of 2 selves, 1 of 4
    # crossings (a to b).
    assert values == {
        "self/own": 0,
        "self/prior": 0.5,
        "joint/own": 0,
        "joint/prior": 1,
        "cross/own": 0,
        "cross/prior": 0.75,
    }
    assert {result.n for result in found.values()} == {50}
    assert "mean of 4 cells" in found["coherence/instance/cross/own"].how
    assert all(result.how.endswith("; judges' accuracy 1.000") for result in found.values())
    shared_only = tuple(dataclasses.replace(s, private_dim=0) for s in fakes.specs(names))
    with pytest.raises(NotApplicable, match="no modality has a private code"):
        instance_coherence(context(dataset, names, fakes.FakeModel(shared_only)))


def test_by_class_of_one_given():
    """Classes 1 and 2 are never shown right when a is given."""

    class Classes(fakes.FakeModel):
        def conditional(self, params, rng, batch, given, num_samples, private="prior"):
            shown = super().conditional(params, rng, batch, given, num_samples)
            wrong = (batch["label"] == 1) | (batch["label"] == 2)
            blank = params["params"]["b"][3][None, None]
            shown["b"] = jnp.where(wrong[None, :, None, None, None], blank, shown["b"])
            return shown

    names = ("a", "b")
    given = context(fakes.dataset(names), names, Classes(fakes.specs(names)))
    found = conditional_coherence(given)["coherence/conditional/by_class"]
    np.testing.assert_allclose(found.values, [1, 0.5, 0.5, 1])
    np.testing.assert_allclose(found.standard_error, 0, atol=1e-12)
    assert found.how.endswith("; judges' accuracy 1.000")


def test_error_of_a_mean_of_cells_against_resampled_rows():
    generator = np.random.default_rng(0)
    row = generator.normal(size=400)
    values = np.stack([row + 0.3 * generator.normal(size=400), 2 * row, np.full(400, np.nan)])
    weight = np.stack([generator.random(400) < 0.6, np.ones(400), np.zeros(400)]).astype(float)
    result = mean_of_cells(values, weight, "")

    def estimate(rows):
        w, v = weight[:2, rows], values[:2, rows]
        return ((w * v).sum(1) / w.sum(1)).mean()

    assert result.value == pytest.approx(estimate(np.arange(400)))
    resampled = [estimate(generator.integers(0, 400, 400)) for _ in range(2000)]
    assert result.standard_error == pytest.approx(np.std(resampled), rel=0.08)
    with pytest.raises(NotApplicable):
        mean_of_cells(values[2:], weight[2:], "")


def test_one_row_has_no_standard_error():
    """The error is over rows: of one it is not known, and not 0."""
    one = mean_of_cells(np.array([[0.5, 7.0], [1.0, 7.0]]), np.array([[1.0, 0], [1, 0]]), "")
    assert (one.value, one.standard_error, one.n) == (0.75, None, 1)
    two = mean_of_cells(np.array([[0.0, 1.0]]), np.ones((1, 2)), "")
    assert two.standard_error == pytest.approx(0.5**0.5 / 2)
    names = ("a", "b")
    given = context(fakes.dataset(names, test=1), names, fakes.FakeModel(fakes.specs(names)))
    found = conditional_coherence(given)
    assert found["coherence/conditional/mean"].standard_error is None
    assert np.isnan(found["coherence/conditional/matrix"].standard_error).all()
    assert np.isnan(found["coherence/conditional/by_class"].standard_error).all()


@pytest.mark.parametrize(
    ("counts", "said"),
    [([[50, 0], [50, 50]], ""), ([30.0, 50.0], ", 30 to 50 in a cell"), ([], ""), ([0], "")],
)
def test_different_numbers_of_rows_are_said(counts, said):
    assert unequal(np.array(counts)) == said
