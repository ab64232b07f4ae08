"""How near the posteriors of two modalities lie: 2-Wasserstein distances (MEME, Joy et al. 2022).

Between Gaussians with diagonal covariances W_2^2 = |m_1 - m_2|^2 + sum (s_1 - s_2)^2 (the paper
prints m_1 + m_2). Distances of the two views of one item (paired) stand against those of different
items; means between classes make a matrix and its dendrogram.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmvae_jax.report import programs
from mmvae_jax.report.style import COLOURS, plots, short
from mmvae_jax.report.view import NothingToShow, View

_ITEMS = 200
_MOST_PAIRS = 4
_MOST_CLASSES = 40


def relatedness(view: View) -> Figure:
    """Histograms for pairs of modalities; the matrix of classes and its dendrogram."""
    posteriors, batch = _unimodal_posteriors(view)
    pairs = list(itertools.combinations(posteriors, 2))
    present = {name: np.asarray(here) for name, here in batch["present"].items()}
    distances = {
        (a, b): wasserstein(posteriors[a], posteriors[b])[present[a]][:, present[b]]
        for a, b in pairs
    }
    matrix = _between_classes(view, batch, distances, present)
    shown = [pair for pair in pairs if (present[pair[0]] & present[pair[1]]).any()][:_MOST_PAIRS]
    if not shown:
        raise NothingToShow("no test item has two modalities")
    count = len(shown) + (2 if matrix is not None else 0)
    title = "2-Wasserstein distance between the posteriors of two modalities"
    figure, axes = plots(title, count, columns=2)
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


def wasserstein(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> np.ndarray:
    """W_2 of every posterior of ``first`` from every one of ``second``: [B, B'].

    Args:
      first: {"loc" [B, D], "scale" [B, D]} of Gaussians with diagonal covariances.
      second: the same of B' others.
    """
    squares = sum(
        (np.asarray(first[part], float)[:, None] - np.asarray(second[part], float)[None]) ** 2
        for part in ("loc", "scale")
    )
    return np.sqrt(squares.sum(-1))


def _unimodal_posteriors(view: View) -> tuple[dict[str, Any], dict[str, Any]]:
    """{name: parameters} given each modality alone, and the items; NothingToShow where mixed."""
    space = view.model.shared
    if getattr(space, "family", "") != "normal":
        kind = getattr(space, "family", "") or "partly discrete"
        raise NothingToShow(f"the shared posterior is not Gaussian ({kind})")
    if len(view.names) < 2:
        raise NothingToShow("there is one modality only")
    batch = view.items(_ITEMS)
    found = {}
    for name in view.names:
        codes = programs.encode(view, batch, (name,))
        if (codes.strata[np.asarray(batch["present"][name])] > 1).any():
            raise NothingToShow("given one modality the posterior is a mixture, not one Gaussian")
        found[name] = codes.posterior
    return found, batch


def _between_classes(
    view: View, batch: Any, distances: dict[Any, np.ndarray], present: dict[str, np.ndarray]
) -> np.ndarray | None:
    """Mean distance between items of two classes over all pairs of modalities, [C, C]."""
    count = view.dataset.num_classes
    if batch.get("label") is None or not 2 < count <= _MOST_CLASSES:
        return None
    label = np.asarray(batch["label"])
    total, number = np.zeros((count, count)), np.zeros((count, count))
    for (a, b), distance in distances.items():
        rows, columns = np.meshgrid(label[present[a]], label[present[b]], indexing="ij")
        known = (rows >= 0) & (columns >= 0)
        for one, other in ((rows, columns), (columns, rows)):
            np.add.at(total, (one[known], other[known]), distance[known])
            np.add.at(number, (one[known], other[known]), 1.0)
    if not number.all():
        return None
    return total / number


def _histogram(axes: Axes, distance: np.ndarray, same: np.ndarray) -> None:
    bins = np.linspace(distance.min(), distance.max(), 31)
    for part, colour, label in (
        (distance[~same], COLOURS[1], "different items"),
        (distance[same], COLOURS[0], "the same item"),
    ):
        if part.size:
            axes.hist(part, bins, density=True, color=colour, alpha=0.6, label=label)
    axes.set_yticks([])
    axes.set_xlabel("distance")


def _heat_map(axes: Axes, matrix: np.ndarray, names: list[str]) -> None:
    image = axes.imshow(matrix, cmap="Blues_r", interpolation="none")
    axes.set_xticks(range(len(names)), names, rotation=90 if max(map(len, names)) > 2 else 0)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(length=0, labelsize=6)
    axes.grid(False)
    axes.set_title("mean distance between classes", loc="left")
    axes.figure.colorbar(image, ax=axes, shrink=0.9).outline.set_visible(False)


def _dendrogram(axes: Axes, matrix: np.ndarray, names: list[str]) -> None:
    from scipy.cluster import hierarchy
    from scipy.spatial.distance import squareform

    # A class is as near to itself as its own items are to each other; a tree starts from 0.
    apart = squareform((matrix + matrix.T) / 2, checks=False)
    tree = hierarchy.linkage(apart, "average")
    hierarchy.dendrogram(tree, labels=names, ax=axes, color_threshold=0)
    for line in axes.collections:
        line.set(color=COLOURS[0], linewidth=1.0)
    axes.tick_params(axis="x", length=0, labelsize=6)
    axes.grid(False, axis="x")
    axes.set_title("classes that lie together", loc="left")
    axes.set_ylabel("mean distance")
