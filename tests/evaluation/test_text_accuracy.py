from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmvae_jax import data
from mmvae_jax.evaluation import Context, NotApplicable, Settings
from mmvae_jax.evaluation.text_accuracy import text_accuracy
from mmvae_jax.types import ModalitySpec
from tests.evaluation import fakes

END, PAD, UNSCORED, VOCABULARY = 5, 6, 0, 7
# What is told of each class: a text, its end, and what fills it up.
TOLD = np.array([[1, 2, END, PAD], [1, END, PAD, PAD], [3, 4, 1, END], [2, 2, 2, 2]], np.int32)


class Teller(fakes.FakeModel):
    """Says another token than it should where nobody may look: behind the end."""

    def _show(self, params, name, classes):
        if name == "a":
            return super()._show(params, name, classes)
        tokens = params["params"][name][classes % fakes.CLASSES].astype(jnp.int32)
        tokens = jnp.where(tokens == PAD, 3, tokens)
        return 0.1 + 0.3 * jax.nn.one_hot(tokens, VOCABULARY)


def context(texts, names=("a", "t"), **kind):
    """Of 50 rows, images of classes 0, 1, 2, 3, 0, ... and these texts, int32 [50, 4]."""
    text = ModalitySpec(
        name="t",
        shape=TOLD.shape[1:],
        dtype="int32",
        likelihood="categorical",
        num_classes=VOCABULARY,
        **kind,
    )
    (image,) = fakes.specs(("a",))
    specs = tuple({"a": image, "t": text}[name] for name in names)
    one = fakes.split(len(texts), 2, ("a",))
    x = {"a": one.x["a"], "t": texts}
    split = data.Split.complete({name: x[name] for name in names}, one.label)
    items = {"t": jnp.asarray(TOLD, jnp.float32), "a": jnp.asarray(fakes.prototypes(("a",))["a"])}
    return Context(
        model=Teller(specs),
        variables={"params": items},
        dataset=data.Dataset("told", specs, dict.fromkeys(data.SPLITS, split), fakes.CLASSES),
        settings=Settings(batch_size=16),
        workdir=None,
        step=0,
    )


def told():
    return TOLD[np.arange(50) % fakes.CLASSES]


def test_texts_and_tokens_against_counting(generator):
    texts = told()
    wrong = generator.random(texts.shape) < 0.2
    texts[wrong] = 4
    texts[0] = TOLD[0]
    texts[0, 3] = 1  # behind the end: nobody looks
    texts[1] = END  # an empty text is its end alone
    given = context(texts, end_id=END, pad_id=PAD)
    given.rows.present["a"][10:15] = False  # nothing is given
    given.rows.present["t"][20:30] = False
    found = text_accuracy(given)
    exact, shares = [], []
    for row in (*range(10), *range(15, 20), *range(30, 50)):
        text, said = list(texts[row]), list(TOLD[row % fakes.CLASSES])
        length = text.index(END) + 1 if END in text else 4
        said = [3 if token == PAD else token for token in said]
        right = [t == s for t, s in zip(text[:length], said[:length], strict=True)]
        exact.append(all(right))
        shares.append(np.mean(right))
    assert exact[0] and 0 < np.mean(exact) < 1
    whole, tokens = found["classification/text/exact/t"], found["classification/text/tokens/t"]
    assert whole.value == pytest.approx(np.mean(exact)) and whole.n == tokens.n == 35
    assert tokens.value == pytest.approx(np.mean(shares))
    assert tokens.standard_error == pytest.approx(np.std(shares, ddof=1) / np.sqrt(35))
    assert "posterior mean given a; error over test rows" in whole.how


def test_without_an_end_every_position_counts_but_those_passed_over():
    texts = told()
    found = text_accuracy(context(texts))
    # What should be PAD is said otherwise: two of the four texts are full.
    full = (np.arange(50) % fakes.CLASSES >= 2).mean()
    assert found["classification/text/exact/t"].value == pytest.approx(full)
    texts[:, 0] = UNSCORED
    texts[4] = UNSCORED  # nothing of it is scored: it does not count
    found = text_accuracy(context(texts, unscored_id=UNSCORED))["classification/text/exact/t"]
    assert found.value == pytest.approx(24 / 49) and found.n == 49


def test_it_says_why_there_is_nothing_to_measure():
    with pytest.raises(NotApplicable, match="no modality is a text"):
        text_accuracy(context(told(), ("a",)))
    with pytest.raises(NotApplicable, match="nothing but texts"):
        text_accuracy(context(told(), ("t",)))
    given = context(told())
    given.rows.present["t"][:] = False
    assert not text_accuracy(given)
    assert "no test row has it and anything given" in given.skipped["classification/text/t"]
