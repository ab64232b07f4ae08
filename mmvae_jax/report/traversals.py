"""Sheets of what single latent dimensions do, and of how far private codes spread.

A traversal moves one dimension of an item's posterior mean by so many standard deviations (of a
Laplace prior: scales) of the prior, as Shi et al. (2019) do; a relaxed categorical takes each of
its classes in turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from mmvae_jax.report import programs
from mmvae_jax.report.sheets import in_lines, table, with_private_codes
from mmvae_jax.report.style import Panel, as_rgb, plain, sheet
from mmvae_jax.report.view import View
from mmvae_jax.types import ModalitySpec

_STEPS = np.linspace(-4.0, 4.0, 9, dtype=np.float32)
_MOST_ROWS = 32
_SCALES = (0.0, 0.5, 1.0, 1.5, 2.0)
_COLUMNS = 10
_SURE = 0.999  # probability of the class that a categorical is set to


class Row(NamedTuple):
    """One factor of a latent space: its name, and codes [n, D] that differ in it alone."""

    name: str
    codes: np.ndarray


def shared_traversals(view: View) -> Figure:
    """Every dimension of the shared code of one item, its private codes held."""
    images = view.images
    codes = programs.encode(view, view.batch)
    rows = shared_rows(view, codes.shared)
    shared = np.concatenate([row.codes for row in rows])
    private = {name: np.repeat(code[:1], len(shared), 0) for name, code in codes.private.items()}
    made = programs.decode(view, shared, private)
    panels = [_panel(spec, rows, made[spec.name]) for spec in images]
    title = "Traversals of the shared code of one item: a row is a dimension"
    return sheet(title, in_lines(panels), _notes(view, len(rows), view.model.shared.num_factors))


def private_traversals(view: View) -> Figure:
    """Every dimension of each modality's private code of one item, its shared code held."""
    specs = with_private_codes(view)
    codes = programs.encode(view, view.batch)
    rows = {spec.name: _numbered(codes.private[spec.name]) for spec in specs}
    total = max(len(found) for found in rows.values()) * len(_STEPS)
    # All modalities at once, each with its own private code; those with fewer repeat their last.
    private = {name: np.repeat(code[:1], total, 0) for name, code in codes.private.items()}
    for name, found in rows.items():
        moved = np.concatenate([row.codes for row in found])
        private[name][: len(moved)] = moved
    made = programs.decode(view, np.repeat(codes.shared[:1], total, 0), private)
    panels = [_panel(spec, rows[spec.name], made[spec.name]) for spec in specs]
    title = "Traversals of the private codes of one item: a row is a dimension"
    most = max(spec.private_dim for spec in specs)
    return sheet(title, in_lines(panels), _notes(view, total // len(_STEPS), most))


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


def shared_rows(view: View, codes: np.ndarray) -> list[Row]:
    """The rows of a traversal of the first of the shared codes [B, D].

    Gaussian or Laplace dimensions move from where they are; of more than 32 those are taken whose
    codes vary most between the items.
    """
    rows, start = [], 0
    for index, classes in enumerate(getattr(view.model.shared, "categories", ())):
        made = np.repeat(codes[:1], classes, 0)
        probability = np.full((classes, classes), (1 - _SURE) / (classes - 1), np.float32)
        np.fill_diagonal(probability, _SURE)
        made[:, start : start + classes] = np.log(probability)
        rows.append(Row(f"c{index + 1}", made))
        start += classes
    rows = rows[:_MOST_ROWS]
    scale = np.asarray(view.model.shared_prior(view.variables)["scale"])
    return rows + _numbered(codes, start, scale, _MOST_ROWS - len(rows))


def _numbered(
    codes: np.ndarray, start: int = 0, scale: np.ndarray | None = None, most: int = _MOST_ROWS
) -> list[Row]:
    """Rows for the dimensions from ``start`` on, moved by `_STEPS` times ``scale`` [D - start]."""
    count = codes.shape[1] - start
    scale = np.ones(count, np.float32) if scale is None else scale
    spread = codes[:, start:].std(0)
    chosen = np.sort(np.argsort(-spread, kind="stable")[:most])
    rows = []
    for dimension in chosen:
        made = np.repeat(codes[:1], len(_STEPS), 0)
        made[:, start + dimension] += _STEPS * scale[dimension]
        rows.append(Row(str(dimension + 1), made))
    return rows


def _panel(spec: ModalitySpec, rows: Sequence[Row], made: np.ndarray) -> Panel:
    """The decoded codes of all rows [N, ...] in their grid; shorter rows end in empty cells."""
    images = as_rgb(made)
    width = max(len(row.codes) for row in rows)
    grid = np.full((len(rows), width, *images.shape[1:]), np.nan, np.float32)
    start = 0
    for place, row in enumerate(rows):
        grid[place, : len(row.codes)] = images[start : start + len(row.codes)]
        start += len(row.codes)
    moved = all(len(row.codes) == len(_STEPS) for row in rows)
    steps = [f"{step:+.0f}" if step else "0" for step in _STEPS] if moved else ()
    return Panel(grid, plain(spec.name), [row.name for row in rows], column_labels=steps)


def _notes(view: View, shown: int, total: int) -> str:
    more = f"the {shown} of {total} dimensions that vary most between items"
    return "; ".join(filter(None, (more if shown < total else "", view.note)))
