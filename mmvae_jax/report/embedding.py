"""Maps of the latent spaces: t-SNE (van der Maaten & Hinton 2008) of shared and private codes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mmvae_jax.report import programs
from mmvae_jax.report.style import COLOURS, plain, plots, short, some
from mmvae_jax.report.view import NothingToShow, View

_POINTS = 300  # of one map
_FEWEST = 12
_MOST_COLOURS = 20
_MOST_MAPS = 9
_MARKERS = "o^sDvP*X"
_LETTER = 0.06  # inches
_ACROSS = {"upper right": 4.0, "lower left": 6.2}  # inches of a legend at most
# Ten that one can tell apart (grey is for markers), then ten more.
_CLASS_COLOURS = (
    *COLOURS[:-1],
    *("#20303f", "#c9a4d8", "#a3a83b", "#7fb3e6", "#f0a58a", "#9fd3ae", "#5b3c74"),
    *("#e3c988", "#2d6d7d", "#e59abf", "#8a5a44", "#c3d95c", "#6b7f1e"),
)
_NO_CLASS = "#b8b8b8"


def embedding(view: View) -> Figure:
    """t-SNE of the shared codes given each modality alone, and of each private code."""
    names = view.names
    batch = view.items(_POINTS)
    classes = _classes(batch)
    given = {name: np.flatnonzero(np.asarray(batch["present"][name])) for name in names}
    codes = {name: programs.encode(view, batch, (name,)) for name in names}
    maps = []
    # The same items from every modality, so that one sees whether they meet.
    every = [_spread(rows, _POINTS // len(names)) for rows in given.values()]
    shared = [codes[name].features[rows] for name, rows in zip(names, every, strict=True)]
    source = np.repeat(np.arange(len(names)), [len(rows) for rows in every])
    maps.append(("shared, given each alone", np.concatenate(shared), np.concatenate(every), source))
    for index, spec in enumerate(view.model.specs):
        if spec.private_dim:
            rows = given[spec.name]
            code = codes[spec.name].private[spec.name][rows]
            maps.append((f"private, {plain(spec.name)}", code, rows, np.full(len(rows), index)))
    known = [found for found in maps if len(found[1]) >= _FEWEST]
    maps = known[:_MOST_MAPS]
    if not maps:
        raise NothingToShow(f"fewer than {_FEWEST} test items")
    note = some(len(maps), len(known), "codes")
    columns = 3 if len(maps) > 4 else 2
    figure, axes = plots("t-SNE of latent codes", len(maps), columns, note)
    for ax, (title, points, rows, sources) in zip(axes, maps, strict=True):
        colour = sources if classes is None else classes[rows]
        _scatter(ax, _map(points, view.seed), colour, sources)
        ax.set_title(title, loc="left")
    for place, points in _legends(view, names, classes).items():
        longest = max((len(point.get_label()) for point in points), default=0)
        columns = max(1, int(_ACROSS[place] / (0.3 + _LETTER * longest)))
        look = {"ncols": columns, "fontsize": 7, "handletextpad": 0.1, "columnspacing": 1.0}
        figure.legend(handles=points, loc=f"outside {place}", **look)
    return figure


def _spread(rows: np.ndarray, count: int) -> np.ndarray:
    """So many rows, evenly from first to last: they stand in the order of their classes."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int))]


def _classes(batch: dict) -> np.ndarray | None:
    """The class of each item, negative where it has none.

    None where there are no classes, or too many for colours.
    """
    label = batch.get("label")
    if label is None or not 0 <= int(np.max(label)) < _MOST_COLOURS:
        return None
    return np.asarray(label)


def _map(points: np.ndarray, seed: int) -> np.ndarray:
    """Points [N, D] in the plane."""
    from sklearn.manifold import TSNE  # here: whoever only reads a run need not wait for it

    points = np.asarray(points, np.float64)
    centred = points - points.mean(0)
    start = "pca" if points.shape[1] > 1 and centred.any() else "random"
    perplexity = min(30.0, (len(points) - 1) / 3)
    tsne = TSNE(perplexity=perplexity, init=start, max_iter=500, random_state=seed)
    return tsne.fit_transform(centred)


def _scatter(axes: Axes, points: np.ndarray, colour: np.ndarray, sources: np.ndarray) -> None:
    for index in np.unique(sources):
        rows = sources == index
        axes.scatter(
            *points[rows].T,
            c=[_colour(value) for value in colour[rows]],
            s=9,
            marker=_MARKERS[index % len(_MARKERS)],
            linewidths=0,
            alpha=0.85,
        )
    axes.set(xticks=[], yticks=[], aspect="equal", adjustable="datalim")
    axes.grid(False)
    axes.spines[:].set_visible(False)


def _colour(value: int) -> str:
    return _CLASS_COLOURS[value % _MOST_COLOURS] if value >= 0 else _NO_CLASS


def _legends(
    view: View, names: Sequence[str], classes: np.ndarray | None
) -> dict[str, list[Line2D]]:
    """A point per modality and, where there are classes, one per class, by their place."""
    grey = {"linestyle": "", "markersize": 4, "markeredgewidth": 0}
    found = []
    for index, name in enumerate(names):
        colour = "#777777" if classes is not None else _colour(index)
        marker = _MARKERS[index % len(_MARKERS)]
        found.append(Line2D([], [], color=colour, marker=marker, label=short(name, 12), **grey))
    if classes is None:
        return {"lower left": found}
    known = []
    values = np.unique(np.maximum(classes, -1))
    for value in sorted(values, key=lambda value: (value < 0, value)):
        text = view.class_texts([value], 12)[0] if value >= 0 else "no class"
        known.append(Line2D([], [], color=_colour(value), marker="o", label=text, **grey))
    return {"upper right": found, "lower left": known}
