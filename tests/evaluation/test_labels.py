"""A modality that is the class label: it judges itself, and is what classification decodes."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmvae_jax import models
from mmvae_jax.evaluation import Context, NotApplicable, Settings
from mmvae_jax.evaluation.accuracy import classifier_accuracy
from mmvae_jax.evaluation.classification import class_probabilities, classification_accuracy
from mmvae_jax.evaluation.coherence import conditional_coherence, unconditional_coherence
from mmvae_jax.evaluation.probes import linear_probes
from mmvae_jax.models import latents, mmvae_plus
from mmvae_jax.types import ModalitySpec
from tests.evaluation import fakes

NAMES = ("a", "l")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def context(cache, dataset=None, names=NAMES, **model):
    settings = Settings(batch_size=16, probe_train=100, classifier_epochs=15, cache_dir=str(cache))
    return Context(
        model=fakes.FakeModel(fakes.specs(names), **model),
        variables=fakes.variables(names),
        dataset=fakes.dataset(names) if dataset is None else dataset,
        settings=settings,
        workdir=cache,
        step=0,
    )


def test_it_judges_itself_and_is_no_classifier(cache):
    given = context(cache, wrong=(("a", "l"),))
    matrix = conditional_coherence(given)["coherence/conditional/matrix"].values
    np.testing.assert_array_equal(matrix, [[1, 0], [1, 1]])
    found = classifier_accuracy(given)
    assert set(found) == {"classifier/accuracy/a", "classifier/accuracy/mean"}
    assert found["classifier/accuracy/mean"].n == 1
    assert "judges itself" in given.skipped["classifier/accuracy/l"]


@pytest.mark.parametrize("agree", [True, False])
def test_it_takes_part_in_unconditional_coherence(cache, agree):
    found = unconditional_coherence(context(cache, agree=agree))
    assert found["coherence/unconditional"].value == agree
    assert "all 2 judges" in found["coherence/unconditional"].how


def test_without_another_classifier_it_judges_alone(cache):
    names = ("s", "l")
    given = context(cache, names=names)
    matrix = conditional_coherence(given)["coherence/conditional/matrix"].values
    np.testing.assert_array_equal(matrix, [[np.nan, 1], [np.nan, 1]])
    with pytest.raises(NotApplicable, match="that a classifier is trained on"):
        classifier_accuracy(given)
    with pytest.raises(NotApplicable, match="fewer than two"):
        unconditional_coherence(given)


def test_only_a_modality_with_the_values_of_the_class_is_one(cache):
    dataset = fakes.dataset(NAMES)
    dataset.splits["test"].x["l"][3] = (dataset.splits["test"].label[3] + 1) % fakes.CLASSES
    assert context(cache, dataset).labels == ()
    dataset.splits["test"].present["l"][3] = False  # what an absent one holds says nothing
    assert context(cache, dataset).labels == ("l",)
    assert context(cache, fakes.dataset(NAMES, labels=False)).labels == ()


def test_probes_leave_it_out_and_bear_models_without_private_codes(cache):
    given = context(cache)
    specs = tuple(dataclasses.replace(spec, private_dim=0) for spec in fakes.specs(NAMES))
    given = dataclasses.replace(given, model=fakes.FakeModel(specs))
    found = linear_probes(given)
    assert set(found) == {"probe/shared/a", "probe/shared/mean"}
    assert given.skipped["probe/shared/l"] == "it is the class itself"
    assert given.skipped["probe/private/a"] == "it has no private code"
    assert "no modality has a private probe" in given.skipped["probe/private/mean"]


def test_classification_is_the_vote_of_the_other_modalities_that_are_there(cache, generator):
    names = ("a", "b", "v", "l")
    dataset = fakes.dataset(names)
    test, prototypes = dataset.splits["test"], fakes.prototypes(names)
    for name in names[:3]:
        test.x[name][:] = test.x[name][generator.permutation(len(test))]
        test.present[name][:] = generator.random(len(test)) < 0.6
    test.present["l"][::2] = False  # it is not looked at
    test.label[:4] = -1

    right = []
    for row in range(len(test)):
        votes = np.zeros(fakes.CLASSES)
        for name in names[:3]:
            scale = 255.0 if test.x[name].dtype == np.uint8 else 1.0
            apart = [np.abs(test.x[name][row] / scale - item).sum() for item in prototypes[name]]
            votes[np.argmin(apart)] += test.present[name][row]
        if votes.any() and test.label[row] >= 0:
            right.append(np.argmax(votes) == test.label[row])
    assert 30 < len(right) < 46 and 0.2 < np.mean(right) < 0.8

    found = classification_accuracy(context(cache, dataset, names))["classification/accuracy"]
    assert (found.value, found.n) == (pytest.approx(np.mean(right)), len(right))
    error = np.sqrt(np.mean(right) * (1 - np.mean(right)) / (len(right) - 1))
    assert found.standard_error == pytest.approx(error)


def test_where_there_is_nothing_to_classify_the_reason_is_said(cache):
    for names, reason in (
        (("a", "b"), "no modality is the class label"),
        (("l",), "no modality to decode the label from"),
    ):
        with pytest.raises(NotApplicable, match=reason):
            classification_accuracy(context(cache, names=names))
    with pytest.raises(NotApplicable, match="has no labels"):
        classification_accuracy(context(cache, fakes.dataset(NAMES, labels=False)))
    unseen = fakes.dataset(NAMES)
    unseen.splits["test"].label[:] = unseen.splits["train"].label.max() + 1
    with pytest.raises(NotApplicable, match="no test row is of a class that training rows have"):
        linear_probes(context(cache, unseen))
    dataset = fakes.dataset(NAMES)
    dataset.splits["test"].present["a"][:] = False
    with pytest.raises(NotApplicable, match="no test row has both a class and another modality"):
        classification_accuracy(context(cache, dataset))


def test_class_probabilities_of_a_real_model_are_the_mean_over_its_living_strata(generator):
    mlp = {"network": "mlp", "network_options": (("hidden", (6,)),), "private_dim": 2}
    specs = (
        ModalitySpec(name="x", shape=(3,), dtype="float32", likelihood="normal", **mlp),
        ModalitySpec(name="y", shape=(4,), dtype="float32", likelihood="normal", **mlp),
        ModalitySpec(
            name="l", shape=(), dtype="int32", likelihood="categorical", num_classes=5, **mlp
        ),
    )
    model = mmvae_plus.MMVAEPlus(specs=specs, shared=latents.LatentSpace(3, "normal"))
    x = {"x": generator.normal(size=(4, 3)), "y": generator.normal(size=(4, 4))}
    batch = models.prepare(
        {
            "x": {name: value.astype(np.float32) for name, value in x.items()}
            | {"l": np.array([0, 1, 2, 3], np.int32)},
            "present": {
                "x": np.array([True, True, False, False]),
                "y": np.array([True, False, True, False]),
                "l": np.ones(4, bool),
            },
        }
    )
    variables = jax.jit(model.init)(jax.random.key(0), batch)
    # A decoder that nearly ignores its code would not tell one stratum from another.
    decoder = variables["params"]["decoder"]["l"]
    variables["params"]["decoder"]["l"] = jax.tree.map(lambda value: 4.0 * value, decoder)
    found = jax.jit(class_probabilities, static_argnums=(0, 1, 2))(
        model, specs[2], ("x", "y"), variables, batch
    )

    @jax.jit
    def alone(variables):
        of = {}
        for spec in specs[:2]:
            mean = model.encode_one(variables, spec, batch["x"][spec.name])[0]["loc"]
            logits = model.decode_one(variables, specs[2], mean, jnp.zeros((4, 2)))["logits"]
            of[spec.name] = jnp.exp(logits) / jnp.exp(logits).sum(-1, keepdims=True)
        return of

    of = jax.device_get(alone(variables))
    expected = np.stack([(of["x"][0] + of["y"][0]) / 2, of["x"][1], of["y"][2]])
    assert np.abs(of["x"][0] - of["y"][0]).max() > 0.01
    np.testing.assert_allclose(found[:3], expected, atol=1e-5)
    assert np.isfinite(found[3]).all()  # nothing is given: the prior's mean is decoded
