"""Canonical correlations, vectors of words and sentences, and what they say of a known model."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg

from mmvae_jax.data import Dataset, Split
from mmvae_jax.evaluation import (
    Context,
    NotApplicable,
    Settings,
    classifiers,
    judge_networks,
    word_vectors,
)
from mmvae_jax.evaluation.canonical_correlation import cca
from mmvae_jax.evaluation.cca import caption_correlation
from mmvae_jax.evaluation.classifiers import Classifier
from mmvae_jax.types import ModalitySpec, UserError
from tests.evaluation import fakes, test_captions

END, PAD = 1, 0
TEXT = ModalitySpec(
    name="t",
    shape=(5,),
    dtype="int32",
    likelihood="tokens",
    num_classes=7,
    end_id=END,
    pad_id=PAD,
)
# --- the analysis --------------------------------------------------------------------------------


def pairs(generator, count, correlations):
    """Two views whose canonical correlations are known, mixed by random maps."""
    rho = np.array(correlations)
    first = generator.normal(size=(count, len(rho)))
    second = rho * first + np.sqrt(1 - rho**2) * generator.normal(size=first.shape)
    second = np.concatenate([second, generator.normal(size=(count, 1))], 1)
    mixing = [generator.normal(size=(view.shape[1],) * 2) for view in (first, second)]
    return first @ mixing[0] + 3.0, second @ mixing[1]


def test_known_correlations_are_found_whatever_the_views_units(generator):
    x, y = pairs(generator, 20_000, (0.9, 0.5, 0.0))
    found = cca(x, y, 3)
    np.testing.assert_allclose(found.correlations, [0.9, 0.5, 0.0], atol=0.02)
    scaled = cca(100 * x, y - 5, 2)
    np.testing.assert_allclose(scaled.correlations, found.correlations[:2])
    projected = (y - found.means[1]) @ found.directions[1]
    np.testing.assert_allclose(projected.T @ projected / len(y), np.eye(3), atol=1e-8)


def test_against_the_generalised_eigenproblem(generator):
    x, y = pairs(generator, 300, (0.8, 0.6, 0.1))
    ridge, k = 0.3, 2
    found = cca(x, y, k, ridge)
    joint = np.cov(np.concatenate([x, y], 1).T, bias=True)
    within = linalg.block_diag(joint[:3, :3], joint[3:, 3:]) + ridge * np.eye(7)
    between = joint.copy()
    between[:3, :3] = between[3:, 3:] = 0
    values, vectors = linalg.eigh(between, within)
    np.testing.assert_allclose(found.correlations, values[::-1][:k])
    # Each half of such a vector has half of its unit length.
    vectors = np.sqrt(2) * vectors[:, ::-1][:, :k]
    signs = np.sign((vectors[:3] * found.directions[0]).sum(0))
    np.testing.assert_allclose(found.directions[0], signs * vectors[:3], atol=1e-8)
    np.testing.assert_allclose(found.directions[1], signs * vectors[3:], atol=1e-8)
    left, right = (x - x.mean(0)) @ vectors[:3], (y - y.mean(0)) @ vectors[3:]
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    np.testing.assert_allclose(found.cosines(x, y), (left * right).sum(1) / lengths)


def test_views_of_few_directions(generator):
    x, _ = pairs(generator, 50, (0.5, 0.5))
    doubled = np.concatenate([x, x, np.ones((50, 1))], 1)
    found = cca(doubled, x[:, :1], 5)
    assert found.directions[0].shape == (5, 1)
    np.testing.assert_allclose(found.correlations, 1)
    np.testing.assert_allclose(cca(doubled, x, 5).cosines(doubled, x), 1)
    for wrong in ((x, x[:9], 1), (x[:1], x[:1], 1), (x, x, 0), (x, np.ones((50, 2)), 1)):
        with pytest.raises(ValueError, match=r"rows|vary"):
            cca(*wrong)


# --- words and sentences -------------------------------------------------------------------------

TOKENS = np.array(
    [
        [2, 3, 4, END, PAD],
        [2, 3, END, 5, 6],  # what follows an end is no word
        [3, 4, 2, 2, END],
        [4, 2, 3, 4, 3],  # without an end
        [6, END, PAD, PAD, PAD],
        [END, PAD, PAD, PAD, PAD],
        [2, 3, 3, END, PAD],
    ]
)
WORDS = [[2, 3, 4], [2, 3], [3, 4, 2, 2], [4, 2, 3, 4, 3], [6], [], [2, 3, 3]]


def information():
    """PPMI of the words that come three times at least, by loops."""
    near = np.zeros((7, 7))
    for text in WORDS:
        for i, first in enumerate(text):
            for j, second in enumerate(text):
                near[first, second] += abs(i - j) <= 3
    near = near[2:5, 2:5]
    shares = near / near.sum()
    single = shares.sum(1)
    with np.errstate(divide="ignore"):
        return np.maximum(np.log(shares / single[:, None] / single[None]), 0)


def test_vectors_of_words_hold_their_mutual_information():
    expected = information()
    assert (expected > 0).any() and (expected == 0).any()
    found = word_vectors.learn(TEXT, TOKENS)
    assert found.shape == (7, 3) and not found[[0, 1, 5, 6]].any()
    left, values, _ = np.linalg.svd(expected)
    gram = left @ np.diag(values) @ left.T
    np.testing.assert_allclose(found[2:5] @ found[2:5].T, gram, atol=1e-10)
    np.testing.assert_array_equal(found, word_vectors.learn(TEXT, TOKENS))
    assert not word_vectors.learn(TEXT, TOKENS[4:6]).any()  # too few words


@pytest.fixture
def vectors(generator):
    return generator.normal(size=(7, 4))


def test_sentences_are_weighted_means_less_their_common_direction(vectors):
    count = {word: sum(text.count(word) for text in WORDS) for word in range(7)}
    total = sum(count.values())
    raw = []
    for text, tokens in zip(WORDS, TOKENS, strict=True):
        length = len(text) + (END in tokens)
        weighted = [1e-3 / (1e-3 + count[word] / total) * vectors[word] for word in text]
        raw.append(sum(weighted, np.zeros(4)) / length)
    raw = np.array(raw)
    common = np.linalg.svd(raw)[2][0]
    found = word_vectors.weighted_sentences(TEXT, vectors, TOKENS)
    np.testing.assert_allclose(found(TOKENS), raw - np.outer(raw @ common, common), atol=1e-12)


def test_plain_means(vectors):
    found = word_vectors.mean_sentences(TEXT, vectors)(TOKENS)
    expected = [vectors[text].mean(0) if text else np.zeros(4) for text in WORDS]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_vectors_are_read_from_a_text_file(tmp_path):
    path = tmp_path / "words.vec"
    path.write_text("3 2\nred 1 2\nthe -1.5 1e-2\n\nelse x y\n")
    found, known = word_vectors.read(path, ("<pad>", "the", "red", "blue"))
    np.testing.assert_array_equal(found, [[0, 0], [-1.5, 0.01], [1, 2], [0, 0]])
    assert known == 2
    for text, said in (
        ("red 1 2\nblue 1\n", "line 2 has 1 numbers, the lines before it 2"),
        ("red 1 x\n", "line 1 holds something that is no number"),
        ("red 1 nan\n", "line 1 holds a number that is not finite"),
        ("green 1 2\n", "none of the captions' 2 words"),
        ("", "none of the captions' 2 words"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=said):
            word_vectors.read(path, ("red", "blue"))
    with pytest.raises(UserError, match=r"cannot be read \(No such file"):
        word_vectors.read(tmp_path / "none.vec", ("red",))


# --- the metric ----------------------------------------------------------------------------------

NAMES = ("features", "words")


@dataclasses.dataclass(frozen=True)
class Describer(test_captions.Describer):
    """With a vector in place of the picture; it may be deaf, and knows how often things are."""

    deaf: bool = False

    def conditional(self, variables, rng, batch, given, num_samples, private="prior"):
        x = batch["x"][given[0]]
        known = variables["captions" if given == ("words",) else "features"]
        apart = (known[None].astype(jnp.float32) - x[:, None].astype(jnp.float32)) ** 2
        return self._said(
            variables, 0 * apart.sum(-1).argmin(1) if self.deaf else apart.sum(-1).argmin(1)
        )

    def generate(self, variables, rng, n, private_scale=1.0):
        kind = jax.random.randint(rng, (n,), 0, test_captions.KINDS)
        return {name: shown[0] for name, shown in self._said(variables, kind).items()}

    def _said(self, variables, kind):
        words = jax.nn.one_hot(variables["captions"][kind], test_captions.VOCABULARY)
        return {"features": variables["features"][kind][None], "words": words[None]}


def split(count, seed):
    generator = np.random.default_rng(seed)
    kind = np.arange(count) % test_captions.KINDS
    noisy = meanings()[kind] + 0.1 * generator.normal(size=(count, 4))
    words = np.array([test_captions.write(k, False) for k in kind], np.int32)
    return Split.complete({"features": noisy.astype(np.float32), "words": words})


def meanings():
    """What each kind looks like: the sum of what its attributes look like."""
    first, second = (np.random.default_rng(i).normal(size=(n, 4)) for i, n in ((0, 2), (1, 3)))
    return (first[:, None] + second[None]).reshape(-1, 4).astype(np.float32)


def context(tmp_path, *, deaf=False, vocabulary=True, **settings):
    specs = (
        ModalitySpec(name="features", shape=(4,), dtype="float32", likelihood="normal"),
        test_captions.SPECS[1],
    )
    words = tuple(f"w{i}" for i in range(test_captions.VOCABULARY))
    captions = [test_captions.write(kind, False) for kind in range(test_captions.KINDS)]
    splits = {"train": split(200, 0), "validation": split(6, 1), "test": split(50, 2)}
    return Context(
        Describer(specs, deaf=deaf),
        {"features": jnp.asarray(meanings()), "captions": jnp.asarray(captions)},
        Dataset("told", specs, splits, vocabularies={"words": words} if vocabulary else {}),
        Settings(batch_size=16, cache_dir=str(tmp_path), **settings),
        tmp_path,
        0,
    )


def test_a_model_that_says_what_it_sees_scores_as_real_pairs_do(tmp_path):
    given = context(tmp_path)
    for name in NAMES:
        given.dataset.splits["test"].present[name][:] = np.arange(50) % 7 != NAMES.index(name)
    found = caption_correlation(given)
    real = found["cca/real/features+words"]
    assert real.value > 0.9 and real.n == 50 - 8 - 7
    for name in (
        "cca/cross/words|features",
        "cca/cross/features|words",
        "cca/joint/features+words",
    ):
        assert found[name].value > real.value - 0.02
    assert found["cca/cross/words|features"].n == 42 and found["cca/cross/features|words"].n == 43
    assert found["cca/joint/features+words"].n == 1000
    assert abs(found["cca/unpaired/features+words"].value) < 0.5
    correlations = found["cca/correlations/features+words"].values
    assert (np.diff(correlations) < 0).all() and 0.9 < correlations[0] <= 1
    assert "not FastText: not comparable" in real.how and not given.skipped


def test_unpaired_captions_are_those_of_other_items(tmp_path):
    """Of rows of one kind after the other, each ten captions of one image, as birds are."""
    given = context(tmp_path)
    kind = np.repeat(np.arange(test_captions.KINDS), 10)
    words = np.array([test_captions.write(k, False) for k in kind], np.int32)
    rows = Split.complete({"features": meanings()[kind], "words": words}, item=kind)
    splits = {**given.dataset.splits, "test": rows}
    given = dataclasses.replace(given, dataset=dataclasses.replace(given.dataset, splits=splits))
    found = caption_correlation(given)
    assert found["cca/real/features+words"].value > 0.9
    assert abs(found["cca/unpaired/features+words"].value) < 0.5
    rows.item[:] = 0
    found = caption_correlation(given)
    assert "cca/real/features+words" in found and "cca/unpaired/features+words" not in found
    assert given.skipped == {"cca/unpaired/features+words": "all test rows show one item"}


def test_a_model_that_does_not_listen_scores_as_unpaired_items_do(tmp_path):
    found = caption_correlation(context(tmp_path, deaf=True, sentence_vectors="mean"))
    assert found["cca/real/features+words"].value > 0.9
    assert "plain mean" in found["cca/real/features+words"].how
    for name in ("cca/cross/words|features", "cca/cross/features|words"):
        assert abs(found[name].value) < 0.4
    # By hand: what it says is always the caption of the first kind.
    given = context(tmp_path, deaf=True, sentence_vectors="mean")
    test, train = given.dataset.splits["test"].x, given.dataset.splits["train"].x
    spec = given.dataset.specs[1]
    sentences = word_vectors.mean_sentences(spec, word_vectors.learn(spec, train["words"]))
    views = train["features"].astype(float), sentences(train["words"])
    scales = [view.std(0) + 1e9 * (view.std(0) < 1e-8) for view in views]
    space = cca(views[0] / scales[0], views[1] / scales[1], 40, 1e-4)
    always = sentences(np.repeat(test["words"][:1], 50, 0)) / scales[1]
    expected = space.cosines(test["features"] / scales[0], always).mean()
    assert found["cca/cross/words|features"].value == pytest.approx(expected, abs=1e-6)


@pytest.fixture(scope="module")
def judge():
    """A classifier of the attributes of pictures that has learnt nothing."""
    network = judge_networks.AttributeNet(test_captions.SIZES)
    return Classifier(network, classifiers._init(network, (8, 8, 3), np.uint32(0)))


def test_pictures_are_seen_by_the_judge_of_attributes(tmp_path, monkeypatch, judge):
    class Painter(test_captions.Describer):
        def generate(self, variables, rng, n, private_scale=1.0):
            kind = jax.random.randint(rng, (n,), 0, test_captions.KINDS)
            words = jax.nn.one_hot(variables["captions"][kind], test_captions.VOCABULARY)
            return {"picture": variables["pictures"][kind], "words": words}

    monkeypatch.setattr(classifiers, "obtain_attributes", lambda *args, **kwargs: judge)
    words = tuple(f"w{i}" for i in range(test_captions.VOCABULARY))
    dataset = dataclasses.replace(test_captions.dataset(), vocabularies={"words": words})
    settings = Settings(batch_size=60, cache_dir=str(tmp_path))
    given = Context(Painter(), test_captions.variables(), dataset, settings, tmp_path, 0)
    found = caption_correlation(given)
    assert found["cca/real/picture+words"].value > 0.7
    # It describes two kinds of six wrongly, and paints one.
    assert 0.2 < found["cca/cross/words|picture"].value < found["cca/real/picture+words"].value
    assert "last hidden layer" in found["cca/real/picture+words"].how


def test_features_of_the_judge_of_attributes_are_what_its_last_layer_sees(judge):
    x = np.random.default_rng(0).random((60, 8, 8, 3), np.float32)
    seen = classifiers.of_stored(classifiers.features, judge, x, 60)
    last = judge.variables["params"]["ImageNet_0"]["Dense_2"]
    scores = (seen @ np.asarray(last["kernel"])).reshape(60, 2, 3)
    scores[:, 0, 2] = -np.inf  # the first attribute has two values
    found = classifiers.of_stored(classifiers.classify, judge, x, 60)
    np.testing.assert_array_equal(scores.argmax(-1), found)
    assert len(np.unique(found)) > 1


def test_what_has_no_captions_or_no_other_view_is_skipped_with_the_reason(tmp_path):
    with pytest.raises(NotApplicable, match="'told' has no captions"):
        caption_correlation(context(tmp_path, vocabulary=False))
    given = context(tmp_path)
    given.dataset.splits["train"].present["features"][1:] = False
    with pytest.raises(NotApplicable, match="no modality beside the captions"):
        caption_correlation(given)
    assert "fewer than 2 training rows" in given.skipped["cca/real/features+words"]
    unlabelled = fakes.dataset(("a", "t"), labels=False)
    unlabelled = dataclasses.replace(unlabelled, vocabularies={"t": tuple("abcdefg")})
    with pytest.raises(NotApplicable, match="no modality beside the captions"):
        caption_correlation(
            dataclasses.replace(
                given,
                dataset=unlabelled,
                model=fakes.FakeModel(unlabelled.specs),
                variables=fakes.variables(("a", "t")),
            )
        )
