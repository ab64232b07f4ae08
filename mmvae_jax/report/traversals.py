"""Sheets of what single latent dimensions do, and of how far private codes spread.

A traversal moves one dimension of an item's posterior mean by so many standard deviations (of a
Laplace prior: scales) of the prior, as Shi et al. (2019) do; a relaxed categorical takes each of
its classes in turn. Dimensions stand in the order of their use, which is the KL divergence of
posteriors to the prior: one that a model leaves at its prior comes last.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from mmvae_jax.report import programs
from mmvae_jax.report.sheets import table, with_private_codes
from mmvae_jax.report.style import Panel, as_rgb, in_lines, in_parts, plain, sheet
from mmvae_jax.report.view import View

_STEPS = np.linspace(-4.0, 4.0, 9, dtype=np.float32)
_ITEMS = 200  # of which the KL is the mean
_MOST_ROWS = 24  # of images on a sheet
_FEWEST_ROWS = 8  # of a panel, but for the end of its rows
_SCALES = (0.0, 0.5, 1.0, 1.5, 2.0)
_COLUMNS = 10
_SURE = 0.999  # probability of the class that a categorical is set to
_ORDER = "dimensions and their KL in nats, the most used first"


class Row(NamedTuple):
    """One factor of a latent space: its name, and codes [n, D] that differ in it alone.

    They are `_STEPS` apart, or the classes of a categorical.
    """

    name: str
    codes: np.ndarray
    classes: bool = False


class Strip(NamedTuple):
    """What a `Row` looks like: images [n, H, W, 3]."""

    name: str
    images: np.ndarray
    classes: bool


def shared_traversals(view: View) -> list[Figure]:
    """Every dimension of the shared code of one item, its private codes held."""
    images = view.images
    codes = programs.encode(view, view.batch)
    used = programs.encode(view, view.items(_ITEMS)).kl.mean(0)
    rows = shared_rows(view, codes.shared[:1], used)
    shared = np.concatenate([row.codes for row in rows])
    private = {name: np.repeat(code[:1], len(shared), 0) for name, code in codes.private.items()}
    made = programs.decode(view, shared, private)
    strips = {spec.name: _strips(rows, made[spec.name]) for spec in images}
    return list(_sheets(view, f"Traversals of the shared code: {_ORDER}", strips))


def private_traversals(view: View) -> list[Figure]:
    """Every dimension of each modality's private code of one item, its shared code held."""
    specs = with_private_codes(view)
    codes = programs.encode(view, view.batch)
    items = view.items(_ITEMS)
    kl = programs.encode(view, items).private_kl
    rows = {}
    for spec in specs:
        here = np.asarray(items["present"][spec.name])
        used = kl[spec.name][here].sum(0) / max(1, here.sum())
        rows[spec.name] = _numbered(codes.private[spec.name][:1], used)
    total = max(map(len, rows.values())) * len(_STEPS)
    # All modalities at once, each with its own private code; those with fewer repeat their mean.
    private = {name: np.repeat(code[:1], total, 0) for name, code in codes.private.items()}
    for name, found in rows.items():
        moved = np.concatenate([row.codes for row in found])
        private[name][: len(moved)] = moved
    made = programs.decode(view, np.repeat(codes.shared[:1], total, 0), private)
    strips = {name: _strips(found, made[name]) for name, found in rows.items()}
    return list(_sheets(view, f"Traversals of private codes: {_ORDER}", strips))


def private_scales(view: View) -> Figure:
    """The same draws from the prior with private codes scaled by alpha (MMVAE+, Appendix G)."""
    specs = with_private_codes(view)
    drawn = [programs.generate(view, "private_scales", scale) for scale in _SCALES]
    labels = [f"{scale:g}" for scale in _SCALES]
    panels = [
        Panel(table([as_rgb(d[spec.name][:_COLUMNS]) for d in drawn]), plain(spec.name), labels)
        for spec in specs
    ]
    title = "Private codes drawn from the prior times alpha (rows); a column has one shared code"
    return sheet(title, in_lines(panels), view.note)


def shared_rows(view: View, code: np.ndarray, used: np.ndarray) -> list[Row]:
    """The rows of a traversal of a shared code [1, D], the most used factors first.

    Categoricals come before Gaussian or Laplace dimensions; ``used`` [F] is the KL of all.
    """
    rows, start = [], 0
    categories = getattr(view.model.shared, "categories", ())
    for index, classes in enumerate(categories):
        made = np.repeat(code, classes, 0)
        probability = np.full((classes, classes), (1 - _SURE) / (classes - 1), np.float32)
        np.fill_diagonal(probability, _SURE)
        made[:, start : start + classes] = np.log(probability)
        rows.append(Row(_named(f"c{index + 1}", used[index]), made, classes=True))
        start += classes
    rows = [rows[index] for index in _order(used[: len(categories)])]
    scale = np.asarray(view.model.shared_prior(view.variables)["scale"])
    return rows + _numbered(code, used[len(categories) :], start, scale)


def _numbered(
    code: np.ndarray, used: np.ndarray, start: int = 0, scale: np.ndarray | None = None
) -> list[Row]:
    """Rows for the dimensions from ``start`` on, moved by `_STEPS` times ``scale`` [D - start]."""
    scale = np.ones(len(used), np.float32) if scale is None else scale
    rows = []
    for dimension in _order(used):
        made = np.repeat(code, len(_STEPS), 0)
        made[:, start + dimension] += _STEPS * scale[dimension]
        rows.append(Row(_named(str(dimension + 1), used[dimension]), made))
    return rows


def _order(used: np.ndarray) -> np.ndarray:
    return np.argsort(-np.asarray(used), kind="stable")


def _named(name: str, used: float) -> str:
    return f"{name}   {used:.2f}"


def _strips(rows: Sequence[Row], made: np.ndarray) -> list[Strip]:
    """Each row with its images, of the decoded codes of all rows [N, ...]."""
    ends = np.cumsum([len(row.codes) for row in rows])
    parts = np.split(as_rgb(made[: ends[-1]]), ends[:-1])
    return [Strip(row.name, images, row.classes) for row, images in zip(rows, parts, strict=True)]


def _sheets(view: View, title: str, strips: Mapping[str, Sequence[Strip]]) -> Iterator[Figure]:
    """All strips of every modality, on sheets of a page each."""
    lines = in_lines([_panel(name, found) for name, found in strips.items()])
    most = max(_FEWEST_ROWS, _MOST_ROWS // len(lines))
    total = max(map(len, strips.values()))
    parts = in_parts(total, most)
    for number, rows in enumerate(parts, 1):
        panels = [_panel(name, found[rows]) for name, found in strips.items() if found[rows]]
        place = f" ({number} of {len(parts)})" if len(parts) > 1 else ""
        yield sheet(title + place, in_lines(panels), view.note)


def _panel(name: str, strips: Sequence[Strip]) -> Panel:
    """Strips below each other; shorter ones end in empty cells."""
    width = max(len(strip.images) for strip in strips)
    grid = np.full((len(strips), width, *strips[0].images.shape[1:]), np.nan, np.float32)
    for place, strip in enumerate(strips):
        grid[place, : len(strip.images)] = strip.images
    some_classes = any(strip.classes for strip in strips)
    steps = () if some_classes else [f"{step:+.0f}" if step else "0" for step in _STEPS]
    return Panel(grid, plain(name), [strip.name for strip in strips], column_labels=steps)
