"""Captions against images: shares counted once more by loops, with a model of known mistakes."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmvae_jax.data import Dataset, Split
from mmvae_jax.data.contract import Captions
from mmvae_jax.evaluation import Context, NotApplicable, Settings
from mmvae_jax.evaluation.captions import caption_accuracy
from mmvae_jax.types import ModalitySpec
from tests.evaluation import fakes

SIZES = (2, 3)  # values of the two attributes
KINDS = 6  # their combinations
# Two words, one of each attribute, in either order; END and padding behind them.
PAD, END, FIRST, SECOND = 0, 1, 2, 4
VOCABULARY = SECOND + SIZES[1]
# Kinds of rows of which something is wrong.
WRONG_WORD, NONSENSE, WRONG_IMAGE = 1, 2, 3

SPECS = (
    ModalitySpec(name="picture", shape=(8, 8, 3)),
    ModalitySpec(
        name="words",
        shape=(5,),
        dtype="int32",
        likelihood="tokens",
        num_classes=VOCABULARY,
        end_id=END,
        pad_id=PAD,
    ),
)


def write(kind: int, turned: bool) -> list[int]:
    words = [FIRST + kind // SIZES[1], SECOND + kind % SIZES[1]]
    return [*(words[::-1] if turned else words), END, PAD, PAD]


def parse(tokens: np.ndarray) -> np.ndarray:
    """By looking at each text; padding must follow the end."""
    found = []
    for row in tokens:
        first = [token - FIRST for token in row if FIRST <= token < SECOND]
        second = [token - SECOND for token in row if token >= SECOND]
        whole = len(first) == len(second) == 1 and row[2:].tolist() == [END, PAD, PAD]
        found.append([first[0], second[0]] if whole else [-1, -1])
    return np.array(found, np.int32)


def prototypes() -> np.ndarray:
    generator = np.random.default_rng(3)
    return generator.integers(0, 2, (KINDS, 8, 8, 3)).astype(np.float32) * 0.8 + 0.1


@dataclasses.dataclass(frozen=True)
class Describer:
    """Tells the kind of what it is given, and is wrong about some kinds."""

    specs: tuple[ModalitySpec, ...] = SPECS

    def conditional(self, variables, rng, batch, given, num_samples, private="prior"):
        assert private == "prior" and num_samples == 1 and len(given) == 1
        known = variables["pictures"]
        if given == ("picture",):
            apart = (batch["x"]["picture"][:, None] - known[None]) ** 2
            kind = jnp.argmin(apart.sum((2, 3, 4)), 1)
        else:
            words = batch["x"]["words"]
            first = jnp.where((words >= FIRST) & (words < SECOND), words - FIRST, 0).sum(1)
            second = jnp.where(words >= SECOND, words - SECOND, 0).sum(1)
            kind = SIZES[1] * first + second
        said = variables["captions"][kind]
        shown = known[jnp.where(kind == WRONG_IMAGE, 0, kind)]
        probabilities = jax.nn.one_hot(said, VOCABULARY)
        return {"picture": shown[None], "words": 0.2 + probabilities[None]}


def variables() -> dict:
    captions = [write(kind, bool(kind % 2)) for kind in range(KINDS)]
    captions[WRONG_WORD] = write(0, True)
    captions[NONSENSE] = [FIRST, FIRST, END, PAD, PAD]
    # What stands behind an end does not matter.
    captions[4] = [*captions[4][:3], FIRST, SECOND]
    return {"pictures": jnp.asarray(prototypes()), "captions": jnp.asarray(captions)}


def split(count: int, seed: int) -> Split:
    generator = np.random.default_rng(seed)
    kind = np.arange(count) % KINDS
    noisy = prototypes()[kind] + 0.05 * generator.normal(size=(count, 8, 8, 3))
    turned = generator.integers(2, size=count)
    words = [write(k, bool(turn)) for k, turn in zip(kind, turned, strict=True)]
    x = {
        "picture": (np.clip(noisy, 0, 1) * 255).round().astype(np.uint8),
        "words": np.array(words, np.int32),
    }
    attributes = np.stack(np.unravel_index(kind, SIZES), 1).astype(np.int32)
    return dataclasses.replace(Split.complete(x), attributes=attributes)


def dataset() -> Dataset:
    return Dataset(
        "described",
        SPECS,
        {"train": split(360, 0), "validation": split(10, 1), "test": split(50, 2)},
        captions=Captions(
            "picture", "words", ("first", "second"), (("a", "b"), tuple("cde")), parse
        ),
    )


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def context(cache, data) -> Context:
    settings = Settings(batch_size=16, classifier_epochs=12, cache_dir=str(cache))
    return Context(Describer(), variables(), data, settings, cache, 0)


def test_shares_are_those_of_a_loop_over_the_rows_that_are_there(cache, generator):
    data = dataset()
    test = data.splits["test"]
    for name in test.present:
        test.present[name][:] = generator.random(len(test)) < 0.8
    said, drawn = [], []
    for row in range(len(test)):
        truth = test.attributes[row].tolist()
        kind = SIZES[1] * truth[0] + truth[1]
        if test.present["picture"][row]:
            claimed = {WRONG_WORD: [0, 0], NONSENSE: [None, None]}.get(kind, truth)
            said.append([claim == true for claim, true in zip(claimed, truth, strict=True)])
        if test.present["words"][row]:
            shows = [0, 0] if kind == WRONG_IMAGE else truth
            drawn.append([show == true for show, true in zip(shows, truth, strict=True)])
    found = caption_accuracy(context(cache, data))
    for prefix, right in (("from_image", said), ("to_image", drawn)):
        expected = {
            "exact": np.mean([all(row) for row in right]),
            "first": np.mean([row[0] for row in right]),
            "second": np.mean([row[1] for row in right]),
        }
        assert 0.5 < expected["exact"] < 0.95
        for name, value in expected.items():
            result = found[f"captions/{prefix}/{name}"]
            assert (result.value, result.n) == (pytest.approx(value), len(right)), (prefix, name)
    kinds = [int(row @ [SIZES[1], 1]) for row in test.attributes[test.present["picture"]]]
    sentences = np.mean([kind != NONSENSE for kind in kinds])
    assert found["captions/from_image/sentences"].value == pytest.approx(sentences)
    assert found["captions/judge/exact"].value == found["captions/judge/second"].value == 1
    assert found["captions/judge/exact"].n == len(said)


def test_what_cannot_be_measured_is_skipped_with_the_reason(cache):
    with pytest.raises(NotApplicable, match="'fake' has no captions that can be checked"):
        caption_accuracy(context(cache, fakes.dataset()))
    data = dataset()
    data.splits["test"].present["picture"][:] = False
    found = caption_accuracy(context(cache, data))
    assert {name.split("/")[1] for name in found} == {"to_image"}
    data.splits["test"].present["words"][:] = False
    with pytest.raises(NotApplicable, match="no test row has an image or a caption"):
        caption_accuracy(context(cache, data))
