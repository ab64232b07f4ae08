"""Every figure by name, and the function that draws them all."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib
from matplotlib.figure import Figure

from mmvae_jax.report import curves, sheets, style
from mmvae_jax.report.view import NothingToShow, View
from mmvae_jax.types import Variables

_log = logging.getLogger(__name__)

FIGURES: dict[str, Callable[[View], Figure]] = {
    "samples": sheets.samples,
    "conditional": sheets.conditional,
    "reconstructions": sheets.reconstructions,
    "style_content": sheets.style_content,
    "training": curves.training_curve,
    "coherence": curves.coherence_matrix,
}


def write_figures(
    model: Any,
    variables: Variables,
    dataset: Any,
    config: Any,
    workdir: str | os.PathLike[str],
    results: Mapping[str, Any],
) -> list[Path]:
    """Draws every figure that this run has content for.

    Args:
      model: any model of the contract (``mmvae_jax.models.base``).
      variables: its Flax collections.
      dataset: the test split is shown.
      config: the whole config, or its ``evaluation`` section; its seed is used.
      workdir: ``figures/NAME.png`` go there, ``metrics.jsonl`` is read.
      results: what `mmvae_jax.evaluation.evaluate` returned.

    Returns:
      The files written, in the order of `FIGURES`.
    """
    view = View(
        model=model,
        variables=jax.tree.map(jnp.asarray, jax.device_get(variables)),
        dataset=dataset,
        workdir=Path(workdir),
        results=results,
        seed=int(config.get("evaluation", config).get("seed", 0)),
    )
    written = []
    with matplotlib.rc_context(style.SETTINGS):
        for name, draw in FIGURES.items():
            try:
                figure = draw(view)
            except (NothingToShow, NotImplementedError) as reason:
                _log.info("figure %s is left out: %s", name, reason)
                continue
            written.append(style.save(figure, view.workdir / "figures" / f"{name}.png"))
    return written
