"""Plots: how training went, and the coherence matrix."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mmvae_jax.report.style import new_figure, plain, plots
from mmvae_jax.report.view import NothingToShow, View
from mmvae_jax.training import metric_writer

_MATRIX = "coherence/conditional/matrix"
# What a model maximises, by whatever name, and the bound that is measured beside it.
_BOUNDS = ("elbo", "bound", "objective", "bound/validation")


def training_curve(view: View) -> Figure:
    """Loss, objective and bound, log-likelihood of each modality, KL of each block, over steps."""
    lines = metric_writer.read(view.workdir)
    if not lines:
        raise NothingToShow(f"there is no {metric_writer.FILE}")
    names = {name: None for line in lines for name in line}
    groups = {
        "loss": [name for name in names if name == "loss"],
        "objective and bound (nats)": [name for name in names if name in _BOUNDS],
        "log p(x | z) of each modality (nats)": _under(names, "log_px/"),
        "KL divergence (nats)": _under(names, "kl/"),
    }
    groups = {title: found for title, found in groups.items() if found}
    if not groups:
        raise NothingToShow(f"{metric_writer.FILE} holds no loss")
    figure, axes = plots("Training", len(groups), columns=2)
    for ax, (title, found) in zip(axes, groups.items(), strict=True):
        _curves(ax, lines, found)
        ax.set_title(title, loc="left")
        ax.set_xlabel("step")
    return figure


def coherence_matrix(view: View) -> Figure:
    """Heat map: rows are given, columns are generated; with the judges' accuracy."""
    if _MATRIX not in view.results:
        raise NothingToShow("conditional coherence was not measured")
    matrix = np.asarray(view.results[_MATRIX].values, float)
    count = len(matrix)
    side = 0.62 * count
    longest = 0.062 * max(len(plain(name)) for name in view.names)
    width, height = max(side + longest + 1.1, 3.4), side + 1.45
    figure = new_figure(width, height)
    axes = figure.add_axes(((longest + 0.75) / width, 0.7 / height, side / width, side / height))
    axes.imshow(matrix, cmap="Blues", vmin=0, vmax=1.25, interpolation="none")
    axes.grid(False)
    for (row, column), value in np.ndenumerate(matrix):
        text = f"{value:.2f}" if math.isfinite(value) else "–"
        dark = math.isfinite(value) and value > 0.7
        colour = "white" if dark else "#222222"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
    axes.set_xticks(range(count), [_judged(view, name) for name in view.names])
    axes.set_yticks(range(count), [plain(name) for name in view.names])
    axes.set(xlabel="generated (accuracy of its classifier)", ylabel="given")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    mean = view.results.get("coherence/conditional/mean")
    below = f"mean off the diagonal {mean.value:.3f}" if mean else ""
    title = "Conditional coherence"
    figure.text(0.2 / width, 1 - 0.15 / height, title, va="top", fontsize=10, weight="bold")
    figure.text(0.2 / width, 1 - 0.36 / height, below, va="top", fontsize=8)
    return figure


def _under(names: Any, prefix: str) -> list[str]:
    return [name for name in names if name.startswith(prefix)]


def _judged(view: View, name: str) -> str:
    accuracy = view.results.get(f"classifier/accuracy/{name}")
    return plain(name) + (f"\n({accuracy.value:.2f})" if accuracy else "")


def _curves(axes: Axes, lines: Sequence[dict[str, Any]], names: Sequence[str]) -> None:
    kept: list[float] = []
    for name in names:
        points = [(line["step"], line[name]) for line in lines if _is_number(line.get(name))]
        if not points:
            continue
        steps, values = zip(*points, strict=True)
        label = plain(name.removeprefix("log_px/").removeprefix("kl/"))
        axes.plot(steps, values, label=label, marker="." if len(points) < 3 else None)
        # The first moments of training would squeeze all the rest.
        kept += values[len(values) // 20 :]
    if kept:
        low, high = min(kept), max(kept)
        margin = 0.05 * (high - low) or max(abs(high) * 0.05, 1e-3)
        axes.set_ylim(low - margin, high + margin)
    if len(names) > 1 or names[0] != "loss":
        axes.legend(fontsize=7)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
