"""Galleries of what one modality finds in another."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mmvae_jax.evaluation import Result
from mmvae_jax.report import importance, programs, retrieval, view
from mmvae_jax.report.view import NothingToShow
from tests.evaluation import fakes


def shown(names, **changes):
    known = {
        "model": fakes.FakeModel(fakes.specs(names)),
        "variables": fakes.variables(names),
        "dataset": fakes.dataset(names),
        "workdir": None,
        "results": {},
    }
    return view.View(**known | changes)


def test_what_is_found_is_compared_with_what_asks():
    label = np.array([0, 0, 1, 1, -1])
    found = retrieval.compared(np.array([0, 4]), np.array([[1, 0, 2], [4, 3, 0]]), label)
    own, alike, other, unknown = range(4)
    np.testing.assert_array_equal(found, [[alike, own, other], [own, unknown, unknown]])
    found = retrieval.compared(np.array([1]), np.array([[1, 0]]), None)
    np.testing.assert_array_equal(found, [[own, unknown]])


def test_the_nearest_come_first_and_ties_in_order():
    distance = np.array([[3.0, 1, 2, 1], [0, 0, 0, 0]])
    np.testing.assert_array_equal(retrieval.nearest(distance, 3), [[1, 3, 2], [0, 1, 2]])


def test_a_frame_has_the_colour_of_its_kind():
    images = np.full((1, 4, 12, 24, 3), 0.5)
    made = retrieval.framed(images, np.arange(4)[None])
    assert made.shape == (1, 4, 14, 26, 3)
    np.testing.assert_array_equal(made[:, :, 1:-1, 1:-1], 0.5)
    corners = made[0, :, 0, 0]
    assert np.isnan(corners[3]).all() and len({tuple(c) for c in corners[:3]}) == 3
    assert corners[0].argmax() == 1 and corners[1].argmax() == 2 and corners[2].argmax() == 0


def test_images_find_images_of_their_class():
    """Posteriors of a class are all alike, so that the first items of the class are found."""
    seen = shown(("a", "b", "v"))
    (figure,) = retrieval.galleries(seen)
    titles = [text.get_text() for text in figure.texts]
    assert titles[1:3] == ["a finds b", "b finds a"] and "not shown: v" in titles[-1]
    (image,) = figure.axes[0].get_images()
    pixels = np.asarray(image.get_array())
    cell = 9 + 2  # images of 9 x 8 in frames of one pixel, and one pixel between them
    blue, green = retrieval._FRAMES[retrieval.ALIKE], retrieval._FRAMES[retrieval.OWN]
    colours = pixels[:: cell + 1, 10 + 1 + 1 :: 10 + 1].reshape(-1, 3)
    assert len(colours) == 25
    marked = [np.abs(colours - np.float32(c)).max(-1) < 1e-6 for c in (blue, green)]
    assert (marked[0] | marked[1]).all() and marked[0].sum() >= 20


def test_texts_are_marked_and_ask(monkeypatch):
    names = ("a", "t")
    words = ("$0", "one", "two", "three", "four", "five", "six")
    dataset = dataclasses.replace(fakes.dataset(names), vocabularies={"t": words})
    dataset.splits["test"].label[0] = -1
    seen = shown(names, dataset=dataset)
    apart = programs.distances(seen, seen.items(200), names)["a", "t"]
    assert apart.shape == (50, 50) and len(np.unique(apart)) == 2
    (figure,) = retrieval.galleries(seen)
    finds, asks = figure.axes
    said = [line for text in finds.texts for line in text.get_text().split("\n") if line]
    assert len(said) == 25 and {text[0] for text in said} <= set("★✓✗·")
    sentences = set(seen.sentences(seen.texts[0], fakes.prototypes(names)["t"]))
    assert {text[2:] for text in said} <= sentences
    asked = [text.get_text() for text in asks.texts]
    assert len(asked) == 5 and set(asked) <= sentences


def several(kind, count):
    """Fake parts of ``count`` modalities, all like ``kind``."""
    (spec,), plain = fakes.specs((kind,)), fakes.dataset((kind,))
    names = [f"{kind}{index}" for index in range(count)]
    specs = tuple(dataclasses.replace(spec, name=name) for name in names)
    splits = {
        part: dataclasses.replace(
            split,
            x=dict.fromkeys(names, split.x[kind]),
            present=dict.fromkeys(names, split.present[kind]),
        )
        for part, split in plain.splits.items()
    }
    params = dict.fromkeys(names, fakes.variables((kind,))["params"][kind])
    return {
        "model": fakes.FakeModel(specs),
        "variables": {"params": params},
        "dataset": dataclasses.replace(plain, specs=specs, splits=splits),
    }


def test_texts_find_texts():
    words = ("no", "one", "two", "three", "four", "five", "six")
    parts = several("t", 2)
    dataset = dataclasses.replace(parts["dataset"], vocabularies={"t0": words, "t1": words})
    (figure,) = retrieval.galleries(shown(("t",), **{**parts, "dataset": dataset}))
    assert [text.get_text() for text in figure.texts][1:] == ["t0 finds t1", "t1 finds t0"]
    sentences = [" ".join(words[i] for i in row) for row in fakes.prototypes(("t",))["t"]]
    for axes in figure.axes:
        said = [text.get_text() for text in axes.texts]
        rows = len(said) // 2
        asked = [text.strip("“”") for text in said[:rows] if text]
        found = [text.replace("\n", " ") for text in said[rows:] if text]
        assert len(asked) == 5 and set(asked) <= set(sentences)
        for place, text in enumerate(asked):  # posteriors of one text are all alike
            lines = " ".join(found[3 * place : 3 * place + 3])
            assert lines.count(f"“{text}”") == 5 and not set("✗·") & set(lines)


def test_the_class_finds_and_is_found():
    (figure,) = retrieval.galleries(shown(("a", "v", "l")))
    titles = [text.get_text() for text in figure.texts]
    assert titles[1:3] == ["a finds l", "l finds a"] and "not shown: v" in titles[-1]
    finds, asks = figure.axes
    said = " ".join(text.get_text() for text in finds.texts).split()
    assert len(said) == 50 and set(said[::2]) <= {"★", "✓"}
    assert [text.get_text() for text in asks.texts] == ["0", "0", "1", "2", "3"]


def test_every_two_of_six_modalities_and_no_more():
    figures = retrieval.galleries(shown(("a",), **several("a", 7)))
    titles = [text.get_text() for figure in figures for text in figure.texts]
    pairs = {title for title in titles if " finds " in title}
    assert pairs == {f"a{i} finds a{j}" for i in range(6) for j in range(6) if i != j}
    assert len(figures) == 3 and titles.count("the first 6 of 7 modalities") == 3
    assert all(max(figure.get_size_inches()) < 10 for figure in figures)


def test_what_has_no_gallery():
    with pytest.raises(NothingToShow, match="fewer than two modalities are images, texts or"):
        retrieval.galleries(shown(("a", "v")))
    dataset = fakes.dataset(("a", "b"))
    dataset.splits["test"].present["a"][::2] = False
    dataset.splits["test"].present["b"][1::2] = False
    with pytest.raises(NothingToShow, match="no test item has two modalities"):
        retrieval.galleries(shown(("a", "b"), dataset=dataset))


def test_bars_of_shared_and_private_dimensions():
    weights = np.array([0.5, 0.2, 0.1, 0.0, 0.2, 0.0])
    results = {
        "importance/weights/a": Result(values=weights),
        "importance/accuracy/a": Result(value=0.876),
        "importance/weights/v": Result(values=weights[:4]),
    }
    figure = importance.importance(shown(("a", "v"), results=results))
    heights = [[bar.get_height() for bar in axes.patches] for axes in figure.axes]
    assert heights == [list(weights), list(weights[:4])]
    colours = [bar.get_facecolor() for bar in figure.axes[0].patches]
    assert colours[0] == colours[3] != colours[4] == colours[5]
    assert figure.axes[0].get_title(loc="left") == "given a (0.88 right)"
    with pytest.raises(NothingToShow, match="was not measured"):
        importance.importance(shown(("a",)))
