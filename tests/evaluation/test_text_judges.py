"""Judges of texts and of counts: what they see, what they learn, and who asks them."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmvae_jax.data import characters
from mmvae_jax.evaluation import Context, Settings, classifiers, distances, quality
from mmvae_jax.evaluation.accuracy import classifier_accuracy
from mmvae_jax.evaluation.cache import Cache
from mmvae_jax.evaluation.coherence import conditional_coherence, unconditional_coherence
from mmvae_jax.evaluation.coherence_subsets import subset_coherence
from mmvae_jax.evaluation.judge_networks import CountNet, TextNet
from mmvae_jax.evaluation.robustness import missing_modalities
from mmvae_jax.types import ModalitySpec
from tests.evaluation import fakes

NAMES = ("v", "t", "c")
END, PAD, VOCABULARY = 2, 3, 6
TEXT = ModalitySpec(
    name="words", shape=(5,), dtype="int32", num_classes=VOCABULARY, end_id=END, pad_id=PAD
)


@pytest.fixture(scope="module")
def untrained():
    """A network and its first weights: nothing of what it sees depends on training."""
    network = classifiers.network_for(TEXT, 4)
    return network, classifiers._init(network, TEXT.shape, np.uint32(0))


def probabilities(tokens, generator, most=0.3):
    """Probabilities [..., V] of which these tokens are the likeliest."""
    others = generator.random((*np.shape(tokens), VOCABULARY)) * most
    return np.float32(others + np.eye(VOCABULARY)[tokens])


def test_real_and_generated_texts_are_seen_alike(untrained, generator):
    tokens = generator.integers(0, VOCABULARY, (8, 5)).astype(np.int32)
    judge = classifiers.Classifier(*untrained)
    real = classifiers.of_stored(classifiers.features, judge, tokens, 4)
    shown = jnp.asarray(probabilities(tokens, generator))
    features = jax.jit(classifiers.features, static_argnums=0)
    np.testing.assert_allclose(features(*untrained, shown), real, rtol=1e-5, atol=1e-6)
    # With further axes in front; the classes, too.
    twice = shown.reshape(2, 4, 5, VOCABULARY)
    np.testing.assert_allclose(
        features(*untrained, twice), real.reshape(2, 4, -1), rtol=1e-5, atol=1e-6
    )
    classes = classifiers.classify_all(judge, tokens, 3)
    np.testing.assert_array_equal(judge(twice), classes.reshape(2, 4))


def test_what_stands_behind_the_end_is_not_seen(untrained):
    judge = classifiers.Classifier(*untrained)

    def seen(*texts):
        return classifiers.of_stored(classifiers.features, judge, np.int32(texts), 1)

    short, padded, longer, other = seen(
        [4, 5, END, 0, 4], [4, 5, END, PAD, PAD], [4, 5, 0, END, PAD], [5, 5, END, PAD, PAD]
    )
    np.testing.assert_array_equal(short, padded)
    assert np.abs(longer - padded).max() > 1e-3 and np.abs(other - padded).max() > 1e-3


def test_every_text_has_a_judge_of_its_own_end_and_padding():
    assert classifiers.network_for(TEXT, 4) == TextNet(4, VOCABULARY, END, PAD)
    plain = dataclasses.replace(TEXT, end_id=-1, pad_id=-1)
    assert classifiers.network_for(plain, 4) == TextNet(4, VOCABULARY)
    counts = ModalitySpec(name="c", shape=(6,), dtype="int32")
    assert classifiers.network_for(counts, 4) == CountNet(4)


def test_names_of_digits_at_random_places_are_learnt(tmp_path):
    """The third modality of MoPoE: 8 characters, of which some spell the class."""
    generator = np.random.default_rng(0)
    label = (np.arange(2000) % 10).astype(np.int32)
    x = characters.placed(characters.DIGITS, label, 8, generator)
    network = TextNet(10, len(characters.ALPHABET))
    judge = classifiers.train(network, x, label, epochs=6, seed=0)
    others = characters.placed(characters.DIGITS, label, 8, np.random.default_rng(1))
    assert (classifiers.classify_all(judge, others, 500) == label).mean() > 0.999
    # A letter that is wrong does not make another digit of most words.
    place = generator.integers(0, 8, len(others))
    others[np.arange(len(others)), place] = generator.integers(0, network.vocabulary, len(others))
    assert (classifiers.classify_all(judge, others, 500) == label).mean() > 0.8


def test_counts_are_learnt_by_their_logarithms():
    generator = np.random.default_rng(0)
    label = (np.arange(400) % 4).astype(np.int32)
    rates = np.exp(generator.normal(size=(4, 6)) + 1)
    x = generator.poisson(rates[label] + 1).astype(np.int32)
    judge = classifiers.train(CountNet(4), x, label, epochs=20, seed=0)
    standard = judge.variables["standard"]
    np.testing.assert_allclose(standard["location"], np.log1p(x).mean(0), rtol=1e-5)
    np.testing.assert_allclose(standard["scale"], np.log1p(x).std(0), rtol=1e-5)
    assert (classifiers.classify_all(judge, x, 100) == label).mean() > 0.9
    rates_shown = jnp.asarray(rates + 1, jnp.float32)  # means are no whole numbers
    np.testing.assert_array_equal(judge(rates_shown), np.arange(4))


@pytest.fixture(scope="module")
def judges(tmp_path_factory):
    """`Context.classifiers`, of which those of texts and counts are trained, and found again."""
    folder, dataset = tmp_path_factory.mktemp("judges"), fakes.dataset(NAMES)
    known = fakes.perfect_judges(NAMES)
    for spec in dataset.specs[1:]:
        known[spec.name], again = (
            classifiers.obtain(dataset, spec, cache=Cache(folder), epochs=20, seed=0)
            for _ in range(2)
        )
        jax.tree.map(np.testing.assert_array_equal, again.variables, known[spec.name].variables)
    assert len(list(folder.iterdir())) == 2
    return {name: known[name] for name in NAMES}


def context(judges, wrong=()):
    given = Context(
        model=fakes.FakeModel(fakes.specs(NAMES), wrong=wrong),
        variables=fakes.variables(NAMES),
        dataset=fakes.dataset(NAMES, test=60),
        settings=Settings(batch_size=20),
        workdir=None,
        step=0,
    )
    given.__dict__["classifiers"] = judges
    return given


def test_texts_and_counts_take_part_in_coherence(judges):
    given = context(judges, wrong=(("v", "t"), ("t", "c")))
    matrix = conditional_coherence(given)["coherence/conditional/matrix"].values
    np.testing.assert_array_equal(matrix, [[1, 0, 1], [1, 1, 0], [1, 1, 1]])
    assert classifier_accuracy(given)["classifier/accuracy/t"].value == 1
    assert unconditional_coherence(given)["coherence/unconditional"].value == 1
    model = dataclasses.replace(given.model, agree=False)
    apart = dataclasses.replace(given, model=model)
    apart.__dict__["classifiers"] = given.classifiers
    assert unconditional_coherence(apart)["coherence/unconditional"].value == 0


def test_texts_are_judged_given_several_and_where_others_are_missing(judges):
    given = context(judges)
    matrix = subset_coherence(given)["coherence/given/matrix"].values
    n = np.nan
    np.testing.assert_array_equal(matrix, [[n, n, 1], [n, 1, n], [1, n, n]])
    found = missing_modalities(given)
    assert "classifier" not in str(given.skipped)
    assert found["robustness/coherence/1"].n == 60


def test_texts_have_features_that_distances_compare(judges, monkeypatch):
    monkeypatch.setattr(distances, "precision_and_recall", lambda *_, **__: ((1, 0), (1, 0)))
    given = context(judges)
    matrix = quality.classifier_quality(given)["quality/classifier_frechet/conditional/matrix"]
    # Real texts and counts are the prototypes that are shown, vectors are noisy.
    np.testing.assert_allclose(matrix.values[:, 1:], 0, atol=1e-3)
    assert (matrix.values[:, 0] > 1e-3).all()
