"""Bars: how much each dimension of the codes weighs in telling the class."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mmvae_jax.report.style import COLOURS, plots, short
from mmvae_jax.report.view import NothingToShow, View

_WEIGHTS = "importance/weights/"


def importance(view: View) -> Figure:
    """Weights of an L1-regularised linear classifier, a plot for each modality."""
    found = {
        name: np.asarray(view.results[f"{_WEIGHTS}{name}"].values, float)
        for name in view.names
        if f"{_WEIGHTS}{name}" in view.results
    }
    if not found:
        raise NothingToShow("the importance of latent dimensions was not measured")
    title = "Importance of each latent dimension for the class"
    figure, axes = plots(title, len(found), columns=3 if len(found) > 4 else 2)
    for ax, (name, weights) in zip(axes, found.items(), strict=True):
        shared = min(view.model.shared.size, len(weights))
        places = np.arange(1, len(weights) + 1)
        ax.bar(places[:shared], weights[:shared], color=COLOURS[0], label="shared")
        if shared < len(weights):
            ax.bar(places[shared:], weights[shared:], color=COLOURS[1], label="private")
        accuracy = view.results.get(f"importance/accuracy/{name}")
        right = f" ({accuracy.value:.2f} right)" if accuracy else ""
        ax.set_title(f"given {short(name, 16)}{right}", loc="left")
        ax.set(xlabel="dimension", ylabel="share of weight")
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        ax.grid(False, axis="x")
    axes[0].legend(fontsize=7)
    return figure
