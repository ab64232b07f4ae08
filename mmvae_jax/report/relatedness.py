"""How near the posteriors of two modalities lie: histograms, classes, and their dendrogram.

Distances of the two views of one item (paired) stand against those of different items; means
between classes make a matrix (MEME, Joy et al. 2022). The numbers are in
``mmvae_jax.evaluation.relatedness``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmvae_jax.evaluation.relatedness import between_classes
from mmvae_jax.report import programs
from mmvae_jax.report.style import COLOURS, plots, short, some
from mmvae_jax.report.view import NothingToShow, View

_ITEMS = 200
_MOST_PAIRS = 15
_MOST_CLASSES = 40


def relatedness(view: View) -> Figure:
    """Histograms for pairs of modalities; the matrix of classes and its dendrogram."""
    if len(view.names) < 2:
        raise NothingToShow("there is one modality only")
    batch = view.items(_ITEMS)
    present = {name: np.asarray(here) for name, here in batch["present"].items()}
    distances = {
        (a, b): distance[present[a]][:, present[b]]
        for (a, b), distance in programs.distances(view, batch, view.names).items()
    }
    matrix = _class_matrix(view, batch, distances, present)
    known = [pair for pair in distances if (present[pair[0]] & present[pair[1]]).any()]
    shown = known[:_MOST_PAIRS]
    if not shown:
        raise NothingToShow("no test item has two modalities")
    count = len(shown) + (2 if matrix is not None else 0)
    title = "2-Wasserstein distance between the posteriors of two modalities"
    note = some(len(shown), len(known), "pairs of modalities")
    figure, axes = plots(title, count, columns=3 if count > 5 else 2, note=note)
    for ax, (a, b) in zip(axes, shown, strict=False):
        same = np.flatnonzero(present[a])[:, None] == np.flatnonzero(present[b])
        _histogram(ax, distances[a, b], same)
        ax.set_title(f"{short(a, 16)} and {short(b, 16)}", loc="left")
    axes[0].legend(fontsize=7)
    if matrix is not None:
        names = view.class_texts(np.arange(len(matrix)), 10)
        _heat_map(axes[-2], matrix, names)
        _dendrogram(axes[-1], matrix, names)
    return figure


def _class_matrix(
    view: View, batch: Any, distances: dict[Any, np.ndarray], present: dict[str, np.ndarray]
) -> np.ndarray | None:
    """Mean distance between items of two classes over all pairs of modalities, [C, C]."""
    count = view.dataset.num_classes
    if batch.get("label") is None or not 2 < count <= _MOST_CLASSES:
        return None
    label = np.asarray(batch["label"])
    parts = [
        between_classes(distance, label[present[a]], label[present[b]], count)
        for (a, b), distance in distances.items()
    ]
    total, number = (sum(part) for part in zip(*parts, strict=True))
    return total / number if number.all() else None


def _histogram(axes: Axes, distance: np.ndarray, same: np.ndarray) -> None:
    bins = np.linspace(distance.min(), distance.max(), 31)
    for part, colour, label in (
        (distance[~same], COLOURS[1], "different items"),
        (distance[same], COLOURS[0], "the same item"),
    ):
        if part.size:
            axes.hist(part, bins, density=True, color=colour, alpha=0.6, label=label)
    axes.set_yticks([])
    axes.set(xlabel="distance", ylabel="density")


def _heat_map(axes: Axes, matrix: np.ndarray, names: list[str]) -> None:
    image = axes.imshow(matrix, cmap="Blues_r", interpolation="none")
    axes.set_xticks(range(len(names)), names, rotation=90 if max(map(len, names)) > 2 else 0)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(length=0, labelsize=7)
    axes.grid(False)
    axes.set_title("classes", loc="left")
    scale = axes.figure.colorbar(image, ax=axes, shrink=0.9, label="mean distance")
    scale.outline.set_visible(False)
    scale.ax.tick_params(labelsize=7)


def _dendrogram(axes: Axes, matrix: np.ndarray, names: list[str]) -> None:
    from scipy.cluster import hierarchy
    from scipy.spatial.distance import squareform

    apart = squareform((matrix + matrix.T) / 2, checks=False)
    tree = hierarchy.linkage(apart, "average")
    hierarchy.dendrogram(tree, labels=names, ax=axes, color_threshold=0)
    for line in axes.collections:
        line.set(color=COLOURS[0], linewidth=1.0)
    axes.tick_params(axis="x", length=0, labelsize=7)
    axes.grid(False, axis="x")
    # Branches that differ little are to be seen: the axis need not start at 0, where no class is,
    # since a class is as near to itself as its own items are to each other.
    low, high = tree[0, 2], tree[-1, 2]
    margin = 0.2 * (high - low) or 0.05 * high or 1.0
    axes.set_ylim(max(0.0, low - margin), high + margin / 4)
    axes.set_title("classes that lie together", loc="left")
    axes.set_ylabel("mean distance")
