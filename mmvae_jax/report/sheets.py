"""Sheets of images: what a model generates, converts, reconstructs and recombines.

A modality that is the class label, or a text, stands beside the images as words.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from mmvae_jax.data.items import as_data
from mmvae_jax.report.style import Panel, as_rgb, plain, sheet, short
from mmvae_jax.report.view import NothingToShow, View
from mmvae_jax.types import ModalitySpec

_SAMPLES = 10
_BLOCKS = 3
_DRAWS = 3
_PANELS_IN_A_LINE = 3

_generate = functools.partial(jax.jit, static_argnums=(0, 3))(
    lambda model, variables, rng, count: model.generate(variables, rng, count)
)
_decode = functools.partial(jax.jit, static_argnums=0)(
    lambda model, variables, shared, private: model.mean(model.decode(variables, shared, private))
)


@functools.partial(jax.jit, static_argnums=(0, 3))
def _codes(model, variables, batch, name):
    """(shared [B, D], private {name: [B, W]}) at the means of the posteriors given ``name``."""
    posterior = model.encode(variables, batch, (name,))
    weight = posterior.strata.astype(jnp.float32)
    weight = weight / jnp.maximum(weight.sum(0, keepdims=True), 1.0)
    shared = (weight[..., None] * model.shared.mean_code(posterior.shared)).sum(0)
    embedded = model.embed(variables, batch, (name,))
    private = {
        key.removeprefix("private/"): code
        for key, code in embedded.items()
        if key.startswith("private/")
    }
    return shared, private


@functools.partial(jax.jit, static_argnums=(0, 4, 5, 6, 7))
def _conditional(model, variables, rng, batch, source, targets, count, private):
    """Draws {target: [count, B, ...]}; no other decoder is run or even compiled."""
    drawn = model.conditional(variables, rng, batch, (source,), count, private=private)
    return {name: drawn[name] for name in targets}


def samples(view: View) -> Figure:
    """Rows are draws from the prior, columns are modalities."""
    drawn = _generate(view.model, view.variables, view.key("samples"), _SAMPLES * _BLOCKS)
    labels = _classes(view, drawn[view.label.name], 12) if view.label else []
    blocks = []
    for block in range(_BLOCKS):
        rows = slice(block * _SAMPLES, (block + 1) * _SAMPLES)
        columns = [as_rgb(drawn[spec.name][rows]) for spec in view.images]
        names = [short(spec.name, 10) for spec in view.images]
        images = _table(columns).swapaxes(0, 1)
        texts = _sentences(view, {spec.name: drawn[spec.name][rows] for spec in view.texts})
        blocks.append(Panel(images, "", labels[rows], texts, names))
    words = [view.label, *view.texts] if view.label else view.texts
    beside = f", with its {' and '.join(plain(spec.name) for spec in words)}" if words else ""
    lines = [[block] for block in blocks] if view.texts else [blocks]
    return sheet(f"Samples from the prior: each row is one draw{beside}", lines, view.note)


def conditional(view: View) -> Figure:
    """For each source: its items on top, below them several draws of each target.

    Given the class label, its text stands on top; the most probable label of the draws from any
    other source stands at the bottom. With texts, see `_given_beside_draws`.
    """
    panels = []
    words = (*([view.label] if view.label else []), *view.texts)
    targets = tuple(spec.name for spec in (*view.images, *words))
    for source in view.dataset.specs:
        drawn = _conditional(
            view.model,
            view.variables,
            view.key(f"conditional/{source.name}"),
            view.batch,
            source.name,
            targets,
            _DRAWS,
            "prior",
        )
        if view.texts:
            panels.append(_given_beside_draws(view, source, drawn))
            continue
        rows, labels, rules = [], [], []
        if source in view.images:
            rows.append(_inputs(view, source.name))
            labels.append("given")
            rules.append(0)
        for target in view.images:
            rows += list(as_rgb(drawn[target.name]))
            labels += [f"to {short(target.name, 10)}"] + [""] * (_DRAWS - 1)
            rules.append(len(rows) - 1)
        text: dict[str, Any] = {}
        if source is view.label:
            given = np.asarray(view.batch["x"][source.name])
            given = np.where(view.batch["present"][source.name], given, -1)
            text = {"column_labels": view.class_texts(given)}
        elif view.label:
            found = _classes(view, np.mean(drawn[view.label.name], 0))
            text = {"below": found, "below_label": f"to {short(view.label.name, 10)}"}
        title = f"given {plain(source.name)}"
        panels.append(Panel(_table(rows), title, labels, rules=rules[:-1], **text))
    lines = [[panel] for panel in panels] if view.texts else _in_lines(panels)
    return sheet(f"Conditional generation: {_DRAWS} draws of each target", lines, view.note)


def _given_beside_draws(view: View, source: ModalitySpec, drawn: Mapping[str, Any]) -> Panel:
    """One row per item: what is given, draws of the images, and a text in words.

    The text is the given one, else one that is drawn; so is a class label, at the left.
    """
    items = view.batch["x"][source.name]
    columns, names = [], []
    if source in view.images:
        columns.append(_inputs(view, source.name))
        names.append("given")
    for target in view.images:
        columns += list(as_rgb(drawn[target.name]))
        names += [f"to {short(target.name, 6)}"] + [""] * (_DRAWS - 1)
    if source in view.texts:
        texts = view.sentences(source, np.asarray(items))
        title = f"given {plain(source.name)} (at the right)"
    else:
        texts = _sentences(view, {spec.name: drawn[spec.name][0] for spec in view.texts})
        said = " and ".join(plain(spec.name) for spec in view.texts)
        title = f"given {plain(source.name)}; at the right one draw of {said}"
    labels: list[str] = []
    if source is view.label:
        labels = view.class_texts(np.asarray(items))
    elif view.label:
        labels = _classes(view, np.mean(drawn[view.label.name], 0))
    return Panel(_table(columns).swapaxes(0, 1), title, labels, texts, names)


def _sentences(view: View, means: Mapping[str, Any]) -> list[str]:
    """The most probable words {name: [rows, L, V]}, one text per row; [] where there is none."""
    said = [
        view.sentences(spec, as_data(np.asarray(means[spec.name]), spec)) for spec in view.texts
    ]
    return ["  ".join(texts) for texts in zip(*said, strict=True)]


def reconstructions(view: View) -> Figure:
    """Items above their reconstructions, each modality from its own shared and private codes."""
    panels = []
    for spec in view.images:
        found = _conditional(
            view.model,
            view.variables,
            view.key(f"reconstructions/{spec.name}"),
            view.batch,
            spec.name,
            (spec.name,),
            1,
            "own",
        )
        images = _table([_inputs(view, spec.name), as_rgb(found[spec.name][0])])
        panels.append([Panel(images, plain(spec.name), ("input", "output"))])
    return sheet("Reconstructions of test items", panels, view.note)


def style_content(view: View) -> Figure:
    """Private code of one item (rows) with the shared code of another (columns)."""
    specs = [spec for spec in view.model.specs if spec.private_dim]
    specs = [spec for spec in view.images if spec.name in {found.name for found in specs}]
    if not specs:
        raise NothingToShow("no image modality has a private code")
    panels = [
        Panel(_recombined(view, spec.name), plain(spec.name), rules=(0,), header=True)
        for spec in specs
    ]
    return sheet(
        "Content of the top row (shared code), style of the left column (private code)",
        _in_lines(panels),
        view.note,
    )


def _recombined(view: View, name: str) -> np.ndarray:
    """[rows + 1, columns + 1, H, W, 3] with the items themselves on top and at the left."""
    shared, private = _codes(view.model, view.variables, view.batch, name)
    count = shared.shape[0]
    # Rows repeat a private code, columns a shared one: [row * column, ...].
    shared = jnp.tile(shared, (count, 1))
    private = {key: jnp.repeat(code, count, axis=0) for key, code in private.items()}
    made = as_rgb(_decode(view.model, view.variables, shared, private)[name])
    items = _inputs(view, name)
    grid = np.full((count + 1, count + 1, *items.shape[1:]), np.nan, np.float32)
    grid[0, 1:], grid[1:, 0] = items, items
    grid[1:, 1:] = made.reshape(count, count, *items.shape[1:])
    return grid


def _classes(view: View, probabilities: np.ndarray, letters: int = 6) -> list[str]:
    """The most probable class of each row [rows, C], as text."""
    return view.class_texts(np.argmax(np.asarray(probabilities), -1), letters)


def _inputs(view: View, name: str) -> np.ndarray:
    """The items to look at [N, H, W, 3], NaN where absent."""
    present = np.asarray(view.batch["present"][name])[:, None, None, None]
    return np.where(present, as_rgb(view.batch["x"][name]), np.nan)


def _table(rows: Sequence[np.ndarray]) -> np.ndarray:
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


def _in_lines(panels: Sequence[Any]) -> list[list[Any]]:
    return [
        list(panels[start : start + _PANELS_IN_A_LINE])
        for start in range(0, len(panels), _PANELS_IN_A_LINE)
    ]
