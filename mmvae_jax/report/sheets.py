"""Sheets of images: what a model generates, reconstructs and recombines.

A modality that is the class label, or a text, stands beside the images as words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mmvae_jax.data.items import as_data
from mmvae_jax.report import programs
from mmvae_jax.report.style import Panel, as_rgb, in_lines, plain, sheet, short
from mmvae_jax.report.view import NothingToShow, View

_BLOCKS = 3


def samples(view: View) -> Figure:
    """Rows are draws from the prior, columns are modalities."""
    images = view.images
    drawn = programs.generate(view, "samples")
    labels = likeliest(view, drawn[view.label.name], 12) if view.label else []
    blocks, height = [], programs.SAMPLES // _BLOCKS
    for block in range(_BLOCKS):
        rows = slice(block * height, (block + 1) * height)
        columns = [as_rgb(drawn[spec.name][rows]) for spec in images]
        names = [short(spec.name, 10) for spec in images]
        texts = sentences(view, {spec.name: drawn[spec.name][rows] for spec in view.texts})
        blocks.append(Panel(table(columns).swapaxes(0, 1), "", labels[rows], texts, names))
    words = [view.label, *view.texts] if view.label else view.texts
    beside = f", with its {' and '.join(plain(spec.name) for spec in words)}" if words else ""
    title = f"Samples from the prior: each row is one draw{beside}"
    return sheet(title, in_lines(blocks), view.note)


def reconstructions(view: View) -> Figure:
    """Each modality decoded from the means of its own posteriors, below the items themselves."""
    panels = []
    for spec in view.images:
        codes = programs.encode(view, view.batch, (spec.name,))
        made = programs.decode(view, codes.shared, codes.private)
        images = table([inputs(view, spec.name), as_rgb(made[spec.name])])
        panels.append(Panel(images, plain(spec.name), ("input", "output")))
    return sheet("Reconstructions of test items", in_lines(panels), view.note)


def style_content(view: View) -> Figure:
    """Private code of one item (rows) with the shared code of another (columns)."""
    specs = with_private_codes(view)
    panels = [
        Panel(_recombined(view, spec.name), plain(spec.name), rules=(0,), header=True)
        for spec in specs
    ]
    return sheet(
        "Content of the top row (shared code), style of the left column (private code)",
        in_lines(panels),
        view.note,
    )


def _recombined(view: View, name: str) -> np.ndarray:
    """[rows + 1, columns + 1, H, W, 3] with the items themselves on top and at the left."""
    codes = programs.encode(view, view.batch, (name,))
    count = len(codes.shared)
    # Rows repeat a private code, columns a shared one: [row * column, ...].
    shared = np.tile(codes.shared, (count, 1))
    private = {key: np.repeat(code, count, axis=0) for key, code in codes.private.items()}
    made = as_rgb(programs.decode(view, shared, private)[name])
    items = inputs(view, name)
    grid = np.full((count + 1, count + 1, *items.shape[1:]), np.nan, np.float32)
    grid[0, 1:], grid[1:, 0] = items, items
    grid[1:, 1:] = made.reshape(count, count, *items.shape[1:])
    return grid


def with_private_codes(view: View) -> list[Any]:
    """The specs of the images that have a private code; `NothingToShow` where none has."""
    own = {spec.name for spec in view.model.specs if spec.private_dim}
    specs = [spec for spec in view.images if spec.name in own]
    if not specs:
        raise NothingToShow("no image modality has a private code")
    return specs


def likeliest(view: View, probabilities: np.ndarray, letters: int = 10) -> list[str]:
    """The most probable class of each row [rows, C], as text."""
    return view.class_texts(np.argmax(np.asarray(probabilities), -1), letters)


def sentences(view: View, means: Mapping[str, Any]) -> list[str]:
    """The most probable words {name: [rows, L, V]}, one text per row; [] where there is none."""
    said = [
        view.sentences(spec, as_data(np.asarray(means[spec.name]), spec)) for spec in view.texts
    ]
    return ["\n".join(texts) for texts in zip(*said, strict=True)]


def inputs(view: View, name: str) -> np.ndarray:
    """The items to look at [N, H, W, 3], NaN where absent."""
    present = np.asarray(view.batch["present"][name])[:, None, None, None]
    return np.where(present, as_rgb(view.batch["x"][name]), np.nan)


def table(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Rows of images [columns, H, W, 3] as one array; smaller images grow by whole factors."""
    tall = max(row.shape[1] for row in rows)
    wide = max(row.shape[2] for row in rows)
    return np.stack([_fitted(row, tall, wide) for row in rows])


def _fitted(images: np.ndarray, tall: int, wide: int) -> np.ndarray:
    """Images repeated pixel by pixel, then centred in cells of ``tall`` x ``wide``."""
    factor = max(1, min(tall // images.shape[1], wide // images.shape[2]))
    images = images.repeat(factor, 1).repeat(factor, 2)
    top, left = (tall - images.shape[1]) // 2, (wide - images.shape[2]) // 2
    cells = np.full((len(images), tall, wide, 3), np.nan, np.float32)
    cells[:, top : top + images.shape[1], left : left + images.shape[2]] = images
    return cells
