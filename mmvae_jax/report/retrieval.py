"""Galleries: what one modality finds in another, as pictures and as texts.

Each item's posterior given one modality alone, and the five nearest ones given another, as in
``mmvae_jax.evaluation.retrieval``. Pictures have a frame, texts a mark, for the class.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from mmvae_jax.report import programs
from mmvae_jax.report.sheets import in_lines, table
from mmvae_jax.report.style import COLOURS, Panel, as_rgb, plain, sheet, short
from mmvae_jax.report.view import NothingToShow, View
from mmvae_jax.types import Batch, ModalitySpec

_ITEMS = 200  # queries are some of them, candidates all
_QUERIES = 5
_NEAREST = 5
_MOST_PANELS = 6
_LETTERS = 40  # of a text that asks
OWN, ALIKE, OTHER, UNKNOWN = range(4)  # the item itself; its class; another one; no classes
_FRAMES = (*(to_rgb(COLOURS[i]) for i in (2, 0, 1)), (np.nan,) * 3)
_MARKS = ("★", "✓", "✗", "·")
_TITLE = "The five nearest: green ★ the item itself, blue ✓ its class, orange ✗ another class"


def galleries(view: View) -> Figure:
    """A panel for each ordered pair of modalities, one of them images at least."""
    specs = [spec for spec in view.dataset.specs if spec.is_image or spec in view.texts]
    if len(specs) < 2:
        raise NothingToShow("fewer than two modalities are images or texts")
    batch = view.items(_ITEMS)
    apart = programs.distances(view, batch, [spec.name for spec in specs])
    apart |= {(b, a): distance.T for (a, b), distance in apart.items()}
    pictures, words = [], []
    for asking, sought in itertools.permutations(specs, 2):
        if not (asking.is_image or sought.is_image):
            continue
        panel = _panel(view, batch, asking, sought, apart[asking.name, sought.name])
        if panel is not None:
            (words if {asking, sought} & set(view.texts) else pictures).append(panel)
    if not pictures and not words:
        raise NothingToShow("no test item has two modalities")
    lines = in_lines(pictures[:_MOST_PANELS]) + [[panel] for panel in words[:_MOST_PANELS]]
    return sheet(_TITLE, lines, view.note)


def _panel(
    view: View, batch: Batch, asking: ModalitySpec, sought: ModalitySpec, distance: np.ndarray
) -> Panel | None:
    """Some items that have both, and what they find; None where there is no such item."""
    here, there = (np.asarray(batch["present"][spec.name]) for spec in (asking, sought))
    both, candidates = np.flatnonzero(here & there), np.flatnonzero(there)
    if not len(both):
        return None
    spread = np.linspace(0, len(both) - 1, min(_QUERIES, len(both))).astype(int)
    queries = both[spread]  # items stand in the order of their classes
    found = candidates[nearest(distance[queries][:, candidates], _NEAREST)]
    kinds = compared(queries, found, batch.get("label"))
    title = f"{plain(asking.name)} finds {plain(sought.name)}"
    x = {spec.name: np.asarray(batch["x"][spec.name]) for spec in (asking, sought)}
    if not sought.is_image:
        return _of_texts(
            as_rgb(x[asking.name][queries]),
            [view.sentences(sought, x[sought.name][rows]) for rows in found],
            kinds,
            title,
        )
    images = [as_rgb(x[sought.name][column]) for column in found.T]
    if asking.is_image:
        cells = table([as_rgb(x[asking.name][queries]), *images]).swapaxes(0, 1)
        unframed = np.full((len(queries), 1), UNKNOWN)
        return Panel(framed(cells, np.concatenate([unframed, kinds], 1)), title, header=True)
    asked = [f"“{short(text, _LETTERS)}”" for text in view.words(asking, x[asking.name][queries])]
    return Panel(framed(table(images).swapaxes(0, 1), kinds), title, asked)


def _of_texts(
    images: np.ndarray, texts: Sequence[Sequence[str]], kinds: np.ndarray, title: str
) -> Panel:
    """Images [Q, H, W, 3] with what each found at the right, over the height of two rows."""
    grid = np.full((2 * len(images), 1, *images.shape[1:]), np.nan, np.float32)
    grid[::2, 0] = images
    beside = []
    for found, marks in zip(texts, kinds, strict=True):
        lines = [f"{_MARKS[kind]} {text}" for kind, text in zip(marks, found, strict=True)]
        half = (len(lines) + 1) // 2
        beside += ["\n".join(lines[:half]), "\n".join(lines[half:])]
    return Panel(grid, title, row_texts=beside, rules=range(1, len(grid) - 1, 2))


def nearest(distance: np.ndarray, count: int) -> np.ndarray:
    """Places of the ``count`` smallest (or all) of each row [Q, N], the nearest first."""
    return np.argsort(distance, axis=1, kind="stable")[:, :count]


def compared(queries: np.ndarray, found: np.ndarray, label: np.ndarray | None) -> np.ndarray:
    """`OWN`, `ALIKE`, `OTHER` or `UNKNOWN` for what each query [Q] found [Q, k]: places of items.

    ``label`` holds the class of every item, a negative one where it has none.
    """
    own = found == queries[:, None]
    if label is None:
        return np.where(own, OWN, UNKNOWN)
    label = np.asarray(label)
    known = (label[queries][:, None] >= 0) & (label[found] >= 0)
    alike = label[queries][:, None] == label[found]
    return np.where(own, OWN, np.where(known, np.where(alike, ALIKE, OTHER), UNKNOWN))


def framed(images: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """Images [Q, k, H, W, 3] with a frame each, in the colour of its kind [Q, k]."""
    wide = max(1, images.shape[2] // 8)
    height, width = images.shape[2] + 2 * wide, images.shape[3] + 2 * wide
    colours = np.asarray(_FRAMES, np.float32)[kinds][:, :, None, None]
    made = np.broadcast_to(colours, (*kinds.shape, height, width, 3)).copy()
    made[:, :, wide:-wide, wide:-wide] = images
    return made
