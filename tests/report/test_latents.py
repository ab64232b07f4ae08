"""What traversals, maps and distances are computed from."""

from __future__ import annotations

import dataclasses
import types

import numpy as np
import pytest
from matplotlib import colors

from mmvae_jax.models.hybrid_latents import HybridLatents
from mmvae_jax.report import embedding, programs, relatedness, style, traversals, view
from mmvae_jax.report.view import NothingToShow
from tests.evaluation import fakes


def shown(**changes):
    known = {"model": fakes.FakeModel(fakes.specs()), "dataset": fakes.dataset()}
    return view.View(
        **{"variables": fakes.variables(), "workdir": None, "results": {}} | known | changes
    )


def test_codes_in_parts_are_those_in_one_go(generator):
    """More codes than a program takes, and fewer: padding leaves no trace."""
    seen = shown()
    for count in (3, 130):
        codes = generator.normal(size=(count, fakes.CLASSES)).astype(np.float32)
        found = programs.decode(seen, codes, {})
        expected = fakes.prototypes()["a"][codes.argmax(1)]
        np.testing.assert_allclose(found["a"], expected, rtol=1e-6)


def test_what_is_not_given_has_no_part_in_the_codes():
    seen = shown()
    batch = seen.items(6)
    only = programs.encode(seen, batch, ("b",))
    np.testing.assert_array_equal(only.strata, 1.0)
    label = np.asarray(batch["label"])
    np.testing.assert_array_equal(only.posterior["loc"], np.eye(fakes.CLASSES)[label])
    assert (programs.encode(seen, batch).strata == 3).all()


def test_a_traversal_moves_one_dimension_by_scales_of_the_prior(generator):
    space = HybridLatents(categories=(3, 2), dim=2)
    model = types.SimpleNamespace(shared=space, shared_prior=lambda v: {"scale": np.full(2, 0.5)})
    codes = generator.normal(size=(4, 7)).astype(np.float32)
    seen = types.SimpleNamespace(model=model, variables={})
    rows = traversals.shared_rows(seen, codes[:1], np.array([0.1, 0.7, 0.25, 0.0]))
    assert [row.name.split() for row in rows] == [
        *(["c2", "0.70"], ["c1", "0.10"]),
        *(["1", "0.25"], ["2", "0.00"]),
    ]
    z = np.exp(rows[1].codes[:, :3])
    np.testing.assert_allclose(z.sum(1), 1, rtol=1e-5)
    np.testing.assert_array_equal(z.argmax(1), [0, 1, 2])
    np.testing.assert_array_equal(rows[1].codes[:, 3:], np.tile(codes[0, 3:], (3, 1)))
    moved = rows[3].codes - codes[0]
    np.testing.assert_array_equal(moved[:, :6], 0)
    np.testing.assert_allclose(moved[:, 6], 0.5 * np.linspace(-4, 4, 9), atol=1e-6)


def test_use_is_the_kl_of_each_dimension_to_its_prior():
    seen = shown()
    found = programs.encode(seen, seen.items(6))
    label = np.asarray(seen.items(6)["label"])
    # A location of 1 in the dimension of the class, and of the prior's scale: 1/2.
    np.testing.assert_allclose(found.kl, 0.5 * np.eye(fakes.CLASSES)[label], atol=1e-6)
    expected = 0.5 * (0.1**2 - 1) - np.log(0.1)
    np.testing.assert_allclose(found.private_kl["a"], expected, rtol=1e-5)


def test_every_dimension_has_its_row_on_some_sheet(generator):
    """The most used first, none twice, and no sheet taller than a page."""
    used = generator.permutation(70).astype(float)
    rows = traversals._numbered(np.zeros((1, 70), np.float32), used)
    assert [int(row.name.split()[0]) - 1 for row in rows] == list(np.argsort(-used))
    for row, dimension in zip(rows, np.argsort(-used), strict=True):
        np.testing.assert_array_equal(np.flatnonzero(row.codes.any(0)), [dimension])
    pixels = generator.random((70 * 9, 4, 4, 3))
    strips = traversals._strips(rows, pixels)
    np.testing.assert_allclose(strips[69].images, pixels[-9:], rtol=1e-6)
    found = list(traversals._sheets(shown(), "title", {"a": strips, "b": strips[:30]}))
    names = {"a": [], "b": []}
    for figure in found:
        assert figure.get_size_inches()[1] < 10
        for axes, name in zip(figure.axes, ("a", "b"), strict=False):
            texts = [text.get_text() for text in axes.texts]
            assert texts[-9:] == ["-4", "-3", "-2", "-1", "0", "+1", "+2", "+3", "+4"]
            names[name] += texts[:-9]
    assert names["a"] == [row.name for row in rows] and names["b"] == names["a"][:30]
    # Nine classes of a categorical are no steps.
    classes = traversals.Strip("c1", np.zeros((9, 4, 4, 3)), classes=True)
    assert not traversals._panel("a", [classes]).column_labels
    titles = [figure.texts[0].get_text() for figure in found]
    assert titles == [f"title ({n} of 3)" for n in (1, 2, 3)]


def test_a_mixture_has_no_distance(monkeypatch):
    seen = shown()
    whole = programs.encode(seen, seen.items(4))
    monkeypatch.setattr(programs, "encode", lambda *_: whole)
    monkeypatch.setattr(type(seen), "items", lambda self, count: seen.batch)
    monkeypatch.setitem(seen.__dict__, "batch", {"present": {n: np.ones(4, bool) for n in "abv"}})
    with pytest.raises(NothingToShow, match="a mixture, not one expert"):
        relatedness.relatedness(seen)


def test_distances_stand_apart_and_classes_make_a_tree(generator):
    figure = relatedness.relatedness(shown())
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles[:3] == ["a and b", "a and v", "b and v"] and titles[3] == "classes"
    different, same = figure.axes[0].containers
    # Posteriors tell the class, which a quarter of the other items share.
    assert sum(bar.get_height() > 0 for bar in same) == 1 and same[0].get_height() > 0
    assert different[0].get_height() > 0 and different[-1].get_height() > 0
    matrix = np.asarray(figure.axes[3].images[0].get_array())
    np.testing.assert_allclose(matrix, np.sqrt(2) * (1 - np.eye(fakes.CLASSES)), atol=1e-6)
    assert [axes.get_ylabel() for axes in figure.axes[4:]].count("mean distance") == 2
    far = np.array([[0.0, 1, 5, 5], [1, 0, 5, 5], [5, 5, 0, 2], [5, 5, 2, 0]])
    axes = style.new_figure(3, 3).add_subplot()
    relatedness._dendrogram(axes, far, list("wxyz"))
    names = [text.get_text() for text in axes.get_xticklabels()]
    assert {frozenset(names[:2]), frozenset(names[2:])} == {frozenset("wx"), frozenset("yz")}
    assert axes.get_ylim()[0] < 1 and axes.get_ylim()[1] > 5


def test_a_map_shows_items_of_every_class_from_every_modality():
    figure = embedding.embedding(shown())
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["shared, given each alone", "private, a", "private, b"]
    groups = figure.axes[0].collections
    assert [len(points.get_offsets()) for points in groups] == [50, 50, 50]
    for points in groups:
        assert colours_of(points) == {colors.to_hex(c) for c in embedding._CLASS_COLOURS[:4]}


def test_items_without_a_class_are_grey_on_a_map():
    known = fakes.dataset()
    test = known.splits["test"]
    label = np.where(np.arange(len(test)) % 2, test.label, -1).astype(np.int32)
    splits = {**known.splits, "test": dataclasses.replace(test, label=label)}
    figure = embedding.embedding(shown(dataset=dataclasses.replace(known, splits=splits)))
    grey = embedding._NO_CLASS
    assert grey not in embedding._CLASS_COLOURS
    values = np.unique(label[label >= 0])
    expected = {grey, *(embedding._CLASS_COLOURS[value] for value in values)}
    assert colours_of(figure.axes[0].collections[0]) == expected
    texts = {text.get_text() for legend in figure.legends for text in legend.get_texts()}
    assert "no class" in texts
    splits["test"] = dataclasses.replace(test, label=np.full(len(test), -1, np.int32))
    figure = embedding.embedding(shown(dataset=dataclasses.replace(known, splits=splits)))
    # Without any class, as without labels: coloured by modality.
    first, second, _ = figure.axes[0].collections
    assert [*colours_of(first), *colours_of(second)] == list(embedding._CLASS_COLOURS[:2])


def colours_of(points):
    """The colours of a scatter, as #rrggbb."""
    return {colors.to_hex(colour[:3]) for colour in points.get_facecolors()}


def test_rows_are_spread_from_first_to_last():
    rows = np.arange(100, 200)
    np.testing.assert_array_equal(embedding._spread(rows, 3), [100, 149, 199])
    np.testing.assert_array_equal(embedding._spread(rows[:2], 3), [100, 101])
