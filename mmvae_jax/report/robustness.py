"""Curves over what is missing: how right and how far off the targets of `robustness` are."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmvae_jax.evaluation.robustness import ATTRIBUTES, CLASSIFICATION, COHERENCE, ERROR, KEPT
from mmvae_jax.report.style import plain, plots, some
from mmvae_jax.report.view import NothingToShow, View

_MOST_UNITS = 5  # plots of modalities that are no images, each with an axis of its own
_RIGHT = "share that is right"
_SHARES = {
    COHERENCE: "class of generated items",
    CLASSIFICATION: "label",
    ATTRIBUTES: "attributes",
}


def robustness(view: View) -> Figure:
    """Shares that are right, squared errors of all images, and of each other modality."""
    images = [spec.name for spec in view.dataset.specs if spec.is_grid]
    others = [spec.name for spec in view.dataset.specs if not spec.is_grid]
    groups = {
        _RIGHT: _SHARES,
        "squared error per number, images in [0, 1]": {f"{ERROR}/{n}": n for n in images},
    }
    for name in others[:_MOST_UNITS]:
        groups[f"squared error per number, {plain(name)}"] = {f"{ERROR}/{name}": name}
    measured = {
        title: {name: label for name, label in names.items() if _points(view, name)}
        for title, names in groups.items()
    }
    measured = {title: names for title, names in measured.items() if names}
    if not measured:
        raise NothingToShow("robustness was not measured: config.evaluation.metrics = 'all' does")
    note = some(_MOST_UNITS, len(others), "modalities that are no images")
    figure, axes = plots("Filled in from what is given", len(measured), columns=2, note=note)
    for ax, (title, names) in zip(axes, measured.items(), strict=True):
        for name, label in names.items():
            _curve(ax, _points(view, name), plain(label))
        ax.set_title(title, loc="left")
        ax.set(xlabel="probability that another modality is given", xlim=(0, 1.04))
        # All of the scale: what is within the error bars should not look like a trend.
        ax.set_ylim(0, 1.02 if names is measured.get(_RIGHT) else None)
        ax.legend(fontsize=7)
    return figure


def _points(view: View, name: str) -> list[tuple[float, float, float]]:
    """(p, value, standard error) wherever it was measured."""
    found = {kept: view.results.get(f"{name}/{kept:g}") for kept in KEPT}
    return [
        (kept, result.value, result.standard_error or 0.0)
        for kept, result in found.items()
        if result is not None
    ]


def _curve(axes: Axes, points: list[tuple[float, float, float]], label: str) -> None:
    kept, values, errors = np.array(points).T
    axes.errorbar(kept, values, yerr=errors, label=label, marker=".", capsize=2, elinewidth=0.8)
