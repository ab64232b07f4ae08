"""Sheets of conditional generation: given each modality, and given each two of them.

Columns are items. Where the data have texts, which need room, rows are.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mmvae_jax.data.items import as_data
from mmvae_jax.report import programs
from mmvae_jax.report.sheets import inputs, likeliest, table
from mmvae_jax.report.style import Panel, as_rgb, in_lines, plain, sheet, short, some
from mmvae_jax.report.view import NothingToShow, View
from mmvae_jax.types import ModalitySpec

_MOST_PAIRS = 12


def conditional(view: View) -> Figure:
    """For each source: its items on top, below them several draws of each target.

    Given the class label, its text stands on top; the most probable label of the draws from any
    other source stands at the bottom. With texts, see `_given_beside_draws`.
    """
    draw = _given_beside_draws if view.texts else _panel
    panels = [draw(view, (source,), view.images) for source in view.dataset.specs]
    title = f"Conditional generation: {programs.DRAWS} draws of each target"
    return sheet(title, in_lines(panels), view.note)


def conditional_pairs(view: View) -> Figure:
    """The same given two modalities, of the modalities that are not given."""
    specs, images = view.dataset.specs, view.images
    pairs = [
        pair
        for pair in itertools.combinations(specs, 2)
        if any(target not in pair for target in images)
    ]
    if not pairs:
        raise NothingToShow("no image modality is left where two modalities are given")
    draw = _given_beside_draws if view.texts else _panel
    panels = [
        draw(view, pair, [target for target in images if target not in pair])
        for pair in pairs[:_MOST_PAIRS]
    ]
    left_out = some(len(panels), len(pairs), "pairs")
    title = f"Given two modalities: {programs.DRAWS} draws of each other"
    return sheet(title, in_lines(panels), "; ".join(filter(None, (left_out, view.note))))


def _panel(view: View, sources: Sequence[ModalitySpec], targets: Sequence[ModalitySpec]) -> Panel:
    """The given items, then the draws of each target."""
    drawn = programs.conditional(view, [source.name for source in sources])
    rows, labels, rules = [], [], []
    for source in sources:
        if source in view.images:
            rows.append(inputs(view, source.name))
            labels.append("given" if len(sources) == 1 else f"given {short(source.name, 10)}")
    if rows:
        rules.append(len(rows) - 1)
    for target in targets:
        rows += list(as_rgb(drawn[target.name]))
        labels += [f"to {short(target.name, 10)}"] + [""] * (programs.DRAWS - 1)
        rules.append(len(rows) - 1)
    title = f"given {' and '.join(plain(source.name) for source in sources)}"
    beside = _label_texts(view, sources, drawn)
    return Panel(table(rows), title, labels, rules=rules[:-1], **beside)


def _given_beside_draws(
    view: View, sources: Sequence[ModalitySpec], targets: Sequence[ModalitySpec]
) -> Panel:
    """One row per item: the images that are given, draws of the targets, and texts in words.

    A text is the given one, else one that is drawn; so is a class label, at the left.
    """
    drawn = programs.conditional(view, [source.name for source in sources])
    columns, names = [], []
    for source in sources:
        if source in view.images:
            columns.append(inputs(view, source.name))
            names.append("given" if len(sources) == 1 else f"given {short(source.name, 6)}")
    for target in targets:
        columns += list(as_rgb(drawn[target.name]))
        names += [f"to {short(target.name, 6)}"] + [""] * (programs.DRAWS - 1)
    said = {}
    for spec in view.texts:
        if spec in sources:
            said[spec] = view.sentences(spec, np.asarray(view.batch["x"][spec.name]))
        else:
            said[spec] = view.sentences(spec, as_data(drawn[spec.name][0], spec))
    texts = ["\n".join(row) for row in zip(*said.values(), strict=True)]
    told = [f"{plain(s.name)} ({'given' if s in sources else 'drawn'})" for s in said]
    title = f"given {' and '.join(plain(s.name) for s in sources)}; right: {', '.join(told)}"
    beside = _label_texts(view, sources, drawn)
    labels = beside.get("column_labels", beside.get("below", ()))
    return Panel(table(columns).swapaxes(0, 1), title, labels, texts, names)


def _label_texts(view: View, sources: Sequence[ModalitySpec], drawn: Any) -> dict[str, Any]:
    """The class label of each column: on top where it is given, else at the bottom."""
    if view.label is None:
        return {}
    name = view.label.name
    if view.label in sources:
        here = view.batch["present"][name]
        return {"column_labels": view.class_texts(np.where(here, view.batch["x"][name], -1))}
    found = likeliest(view, np.mean(drawn[name], 0))
    return {"below": found, "below_label": f"to {short(name, 10)}"}
