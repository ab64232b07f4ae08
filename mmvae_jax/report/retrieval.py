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
from mmvae_jax.report.sheets import table
from mmvae_jax.report.style import (
    COLOURS,
    Panel,
    as_rgb,
    in_lines,
    in_parts,
    plain,
    sheet,
    short,
    some,
)
from mmvae_jax.report.view import NothingToShow, View
from mmvae_jax.types import Batch, ModalitySpec

_ITEMS = 200  # queries are some of them, candidates all
_QUERIES = 5
_NEAREST = 5
_MOST = 6  # modalities, every two of which are asked about each other
_ON_A_SHEET = 12  # panels of pictures
_TEXTS_ON_A_SHEET = 3  # panels with texts, which are wide
_ASKING, _FOUND = 40, 60  # letters of a text that asks, and of one that is found
_NO_IMAGE = np.full((1, 8, 1, 3), np.nan, np.float32)  # of text beside text
OWN, ALIKE, OTHER, UNKNOWN = range(4)  # the item itself; its class; another one; no classes
_FRAMES = (*(to_rgb(COLOURS[i]) for i in (2, 0, 1)), (np.nan,) * 3)
_MARKS = ("★", "✓", "✗", "·")
_TITLE = "The five nearest: green ★ the item itself, blue ✓ its class, orange ✗ another class"


def galleries(view: View) -> list[Figure]:
    """A panel for each ordered pair of modalities that are images, texts, or the class label."""
    known = [spec for spec in view.dataset.specs if spec.is_image or _is_said(view, spec)]
    if len(known) < 2:
        raise NothingToShow("fewer than two modalities are images, texts or the class")
    specs = known[:_MOST]
    batch = view.items(_ITEMS)
    apart = programs.distances(view, batch, [spec.name for spec in specs])
    apart |= {(b, a): distance.T for (a, b), distance in apart.items()}
    pictures, words = [], []
    for asking, sought in itertools.permutations(specs, 2):
        panel = _panel(view, batch, asking, sought, apart[asking.name, sought.name])
        if panel is not None:
            (pictures if asking.is_image and sought.is_image else words).append(panel)
    if not pictures and not words:
        raise NothingToShow("no test item has two modalities")
    note = "; ".join(filter(None, (some(len(specs), len(known), "modalities"), view.note)))
    lines = [in_lines(pictures[part]) for part in in_parts(len(pictures), _ON_A_SHEET)]
    lines += [in_lines(words[part]) for part in in_parts(len(words), _TEXTS_ON_A_SHEET)]
    return [sheet(_TITLE, found, note) for found in lines]


def _is_said(view: View, spec: ModalitySpec) -> bool:
    """Whether a modality stands in words: a text, or the class."""
    return spec in view.texts or spec == view.label


def _said(view: View, spec: ModalitySpec, x: np.ndarray, letters: int) -> list[str]:
    """Items of such a modality as they are written."""
    if spec == view.label:
        return view.class_texts(x, letters)
    return [f"“{short(text, letters)}”" for text in view.words(spec, x)]


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
    asked = () if asking.is_image else _said(view, asking, x[asking.name][queries], _ASKING)
    if not sought.is_image:
        images = as_rgb(x[asking.name][queries]) if asking.is_image else _NO_IMAGE
        texts = [_said(view, sought, x[sought.name][rows], _FOUND) for rows in found]
        return _of_texts(images, asked, texts, kinds, title)
    images = [as_rgb(x[sought.name][column]) for column in found.T]
    if asking.is_image:
        cells = table([as_rgb(x[asking.name][queries]), *images]).swapaxes(0, 1)
        unframed = np.full((len(queries), 1), UNKNOWN)
        return Panel(framed(cells, np.concatenate([unframed, kinds], 1)), title, header=True)
    return Panel(framed(table(images).swapaxes(0, 1), kinds), title, asked)


def _of_texts(
    images: np.ndarray,
    asked: Sequence[str],
    texts: Sequence[Sequence[str]],
    kinds: np.ndarray,
    title: str,
) -> Panel:
    """Images [Q or 1, H, W, 3] or texts that ask, with what each found at the right.

    That is two lines of text in the height of an image, so that each takes several rows.
    """
    tall = -(-_NEAREST // 2)
    grid = np.full((tall * len(texts), 1, *images.shape[1:]), np.nan, np.float32)
    grid[::tall, 0] = images
    labels = [""] * len(grid)
    labels[::tall] = asked or [""] * len(texts)
    beside = [""] * len(grid)
    for query, (found, marks) in enumerate(zip(texts, kinds, strict=True)):
        lines = [f"{_MARKS[kind]} {text}" for kind, text in zip(marks, found, strict=True)]
        for place in range(0, len(lines), 2):
            pair = (*lines[place : place + 2], "")  # so that one alone stands on top, too
            beside[query * tall + place // 2] = "\n".join(pair[:2])
    return Panel(grid, title, labels, beside, rules=range(tall - 1, len(grid) - 1, tall))


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
