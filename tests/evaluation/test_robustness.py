"""Filling in what is missing: masks by their properties, numbers once more by loops over rows."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmvae_jax.data import Dataset, Split
from mmvae_jax.evaluation import Context, NotApplicable, Settings
from mmvae_jax.evaluation.attributes import attribute_classification
from mmvae_jax.evaluation.classification import classification_accuracy
from mmvae_jax.evaluation.robustness import KEPT, given_instead, missing_modalities
from mmvae_jax.models.latents import Posterior
from tests.evaluation import fakes, test_attributes

NAMES = ("a", "b", "v", "l")


@dataclasses.dataclass(frozen=True)
class Listener(fakes.FakeModel):
    """Believes the first modality that is there; ``b`` tells it the next class."""

    deaf: bool = False

    def _told(self, params, batch, given):
        found = jnp.stack([self._class_of(params, batch, n) + int(n == "b") for n in self.names])
        here = jnp.stack([batch["present"][n] & (n in given) for n in self.names])
        told = jnp.take_along_axis(found, here.argmax(0)[None], 0)[0] % fakes.CLASSES
        return jax.nn.one_hot(0 * told if self.deaf else told, fakes.CLASSES)

    def sample_posterior(self, params, rng, batch, given, num_samples):
        return self._told(params, batch, given)[None], {}

    def encode(self, params, batch, given=None):
        loc = self._told(params, batch, self.names if given is None else given)[None]
        return Posterior({"loc": loc}, jnp.ones(loc.shape[:2], bool), {})


def context(model, dataset, **settings):
    given = Context(
        model=model,
        variables=fakes.variables(NAMES),
        dataset=dataset,
        settings=Settings(batch_size=16, seed=3, **settings),
        workdir=None,
        step=0,
    )
    given.__dict__["classifiers"] = fakes.perfect_judges(NAMES)  # nothing is trained
    return given


def with_gaps():
    dataset = fakes.dataset(NAMES)
    test = dataset.splits["test"]
    test.present["a"][:20] = False
    test.x["a"][:20] = test.x["a"][1:21].copy()  # would be taken for another class
    for name in NAMES[1:]:
        test.present[name][5:9] = False  # these four rows hold nothing
    return dataset


def test_what_is_given_grows_with_p_and_is_never_the_target_or_nothing():
    rows = fakes.split(400, 0, NAMES)
    rows.present["v"][:100] = False
    masks = [given_instead(rows, fakes.specs(NAMES), kept, seed=1) for kept in KEPT]
    for place, mask in enumerate(masks):
        assert mask.shape == (4, 4, 400)
        assert mask.any(1).all()  # every row has two modalities at least
        assert not mask[np.arange(4), np.arange(4)].any()
        assert not mask[:, 2, :100].any()
        assert not place or (masks[place - 1] <= mask).all()
    whole = np.stack([rows.present[name] for name in NAMES])
    for target in range(4):
        others = np.arange(4) != target
        assert (masks[-1][target][others] == whole[others]).all()
    # 0.5, and of the rows that have nothing else one more of three.
    share = masks[2][0][1:, 100:].mean()
    assert share == pytest.approx(0.5 + 0.5**3 / 3, abs=0.06)
    again = given_instead(rows, fakes.specs(NAMES), KEPT[2], seed=1)
    assert (again == masks[2]).all()
    assert (given_instead(rows, fakes.specs(NAMES), KEPT[2], seed=2) != masks[2]).any()


def test_numbers_are_those_of_a_loop_over_rows_and_targets():
    given = context(Listener(fakes.specs(NAMES)), with_gaps())
    found = missing_modalities(given)
    rows, items = given.rows, fakes.prototypes(NAMES)
    for kept in KEPT:
        masks = given_instead(rows, fakes.specs(NAMES), kept, seed=3)
        right = {name: [] for name in NAMES}
        error = {name: [] for name in NAMES}
        for target, name in enumerate(NAMES):
            for row in range(50):
                there = [
                    other for other, mask in zip(NAMES, masks[target], strict=True) if mask[row]
                ]
                if not there:
                    continue
                told = (rows.label[row] + (there[0] == "b")) % fakes.CLASSES
                right[name].append(told == rows.label[row])
                if rows.present[name][row] and name != "l":
                    unit = 255.0 if name in "ab" else 1.0
                    apart = rows.x[name][row] / unit - items[name][told]
                    error[name].append((apart**2).mean())
        coherence = found[f"robustness/coherence/{kept:g}"]
        assert coherence.value == pytest.approx(np.mean([np.mean(right[n]) for n in "abv"]))
        assert coherence.how.endswith("; judges' accuracy 1.000")
        assert coherence.n == 46 and 0.3 < coherence.value < 0.98
        label = found[f"robustness/classification/{kept:g}"]
        assert (label.value, label.n) == (pytest.approx(np.mean(right["l"])), 46)
        for name in "abv":
            result = found[f"robustness/error/{name}/{kept:g}"]
            assert result.value == pytest.approx(np.mean(error[name]), rel=1e-5)
            assert result.n == len(error[name]) and "judge" not in result.how
    # With everything given this is what is measured elsewhere.
    elsewhere = classification_accuracy(given)["classification/accuracy"]
    assert found["robustness/classification/1"].value == elsewhere.value
    assert not given.skipped and len(found) == 5 * len(KEPT)


def test_a_model_that_ignores_its_input_gains_nothing_from_it():
    found = missing_modalities(
        context(Listener(fakes.specs(NAMES), deaf=True), fakes.dataset(NAMES))
    )
    for what in ("coherence", "classification", "error/a", "error/v"):
        values = [found[f"robustness/{what}/{kept:g}"].value for kept in KEPT]
        assert len(set(values)) == 1
        if "error" not in what:
            assert values[0] == pytest.approx(13 / 50)  # the rows of class 0


def test_attributes_without_classifiers(generator):
    given = test_attributes.context(generator, ("a", "q"))
    rows = given.rows
    split = Split.complete({name: rows.x[name] for name in ("a", "q")}, rows.label)
    splits = dict.fromkeys(("train", "validation", "test"), split)
    dataset = Dataset("told", given.model.specs, splits, fakes.CLASSES)
    given = dataclasses.replace(given, dataset=dataset)
    given.__dict__["classifiers"] = {}
    found = missing_modalities(given)
    expected = attribute_classification(given)["classification/attributes/accuracy"]
    assert found["robustness/attributes/1"].value == pytest.approx(expected.value)
    assert set(found) == {"robustness/attributes/1", "robustness/error/a/1"}  # of two modalities
    assert "classifier is trained on" in given.skipped["robustness/coherence"]


def test_where_there_is_nothing_to_measure():
    names = ("a",)
    alone = Context(None, None, fakes.dataset(names), Settings(), None, 0)
    with pytest.raises(NotApplicable, match="one modality only"):
        missing_modalities(alone)
    empty = fakes.dataset(NAMES)
    for name in NAMES:
        empty.splits["test"].present[name][:] = False
    with pytest.raises(NotApplicable, match="no test row has a modality to judge and another"):
        missing_modalities(context(Listener(fakes.specs(NAMES)), empty))
