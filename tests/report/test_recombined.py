"""Which codes are decoded for grids, traversals and sweeps; a decoder that shows them as grey."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mmvae_jax.report import programs, sheets, traversals, view
from tests.evaluation import fakes


@pytest.fixture
def seen(monkeypatch):
    """A view of two images whose pixels are z_0 + w_0 of codes that differ between items."""
    names = ("a", "b")
    specs = tuple(
        dataclasses.replace(s, private_dim=d)
        for s, d in zip(fakes.specs(names), (2, 3), strict=True)
    )
    seen = view.View(fakes.FakeModel(specs), fakes.variables(names), fakes.dataset(names), None, {})

    def encode(_, batch, names=None):
        count = len(batch["weight"])
        items = np.arange(count, dtype=np.float32)[:, None]
        return programs.Codes(
            shared=0.08 * items * np.eye(fakes.CLASSES, dtype=np.float32)[:1],
            private={"a": 0.01 * items + np.zeros(2), "b": 0.02 * items + np.zeros(3)},
            features=None,
            posterior=None,
            strata=None,
            kl=np.tile([1.0, 4.0, 2.0, 3.0], (count, 1)),
            private_kl={"a": np.tile([1.0, 2.0], (count, 1)), "b": np.ones((count, 3))},
        )

    def decode(_, shared, private):
        seen.__dict__.setdefault("decoded", []).append((shared, private))
        grey = {name: shared[:, 0] + private[name][:, 0] for name in names}
        shape = {spec.name: spec.shape for spec in specs}
        return {n: np.ones((1, *shape[n])) * grey[n][:, None, None, None] for n in names}

    monkeypatch.setattr(programs, "encode", encode)
    monkeypatch.setattr(programs, "decode", decode)
    return seen


def test_a_column_has_the_shared_code_of_its_item_and_a_row_the_private_one(seen):
    for name, step in (("a", 0.01), ("b", 0.02)):
        grid = sheets._recombined(seen, name)
        items = np.arange(10)
        expected = 0.08 * items[None] + step * items[:, None]
        np.testing.assert_allclose(grid[1:, 1:, 3, 3, 0], expected, atol=1e-6)
        given = np.asarray(seen.batch["x"][name])[..., 0]
        np.testing.assert_allclose(grid[0, 1:, ..., 0], given, atol=1e-6)
        np.testing.assert_allclose(grid[1:, 0, ..., 0], given, atol=1e-6)
        assert np.isnan(grid[0, 0]).all()


def test_shared_traversals_hold_private_codes_and_the_other_way_round(seen):
    (figure,) = traversals.shared_traversals(seen)
    shared, private = seen.decoded[0]
    assert [text.get_text().split()[0] for text in figure.axes[0].texts[:4]] == ["2", "4", "3", "1"]
    steps = np.linspace(-4, 4, 9)
    for row, dimension in enumerate((1, 3, 2, 0)):
        moved = shared[9 * row : 9 * row + 9]
        np.testing.assert_allclose(moved, steps[:, None] * np.eye(4)[dimension], atol=1e-6)
    assert all((code == 0).all() for code in private.values())  # of the first item
    (figure,) = traversals.private_traversals(seen)
    shared, private = seen.decoded[1]
    assert (shared == 0).all() and len(shared) == 27
    expected = np.concatenate([steps[:, None] * np.eye(2)[d] for d in (1, 0)])
    np.testing.assert_allclose(private["a"][:18], expected, atol=1e-6)
    expected = np.concatenate([steps[:, None] * np.eye(3)[d] for d in (0, 1, 2)])
    np.testing.assert_allclose(private["b"], expected, atol=1e-6)
    labels = [[text.get_text() for text in axes.texts] for axes in figure.axes]
    assert [text.split() for text in labels[0][:2]] == [["2", "2.00"], ["1", "1.00"]]


def test_the_sweep_draws_the_same_at_every_scale(seen, monkeypatch):
    asked = []

    def generate(_, purpose, scale):
        asked.append((purpose, scale))
        return {spec.name: np.full((30, *spec.shape), scale / 2) for spec in seen.images}

    monkeypatch.setattr(programs, "generate", generate)
    figure = traversals.private_scales(seen)
    scales = [0.0, 0.5, 1.0, 1.5, 2.0]
    assert asked == [("private_scales", scale) for scale in scales]
    for axes, spec in zip(figure.axes, seen.images, strict=True):
        assert [text.get_text() for text in axes.texts] == ["0", "0.5", "1", "1.5", "2"]
        (image,) = axes.get_images()
        rows = np.asarray(image.get_array())[:: spec.shape[0] + 1, 0, 0]  # a pixel between them
        np.testing.assert_allclose(rows, np.array(scales) / 2, atol=1e-6)
