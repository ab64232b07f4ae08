"""Every figure by name, and the function that draws them all. A new figure: one file, one entry."""

from __future__ import annotations

import dataclasses
import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib
from matplotlib.figure import Figure

from mmvae_jax.report import (
    conditionals,
    curves,
    embedding,
    importance,
    relatedness,
    retrieval,
    robustness,
    sheets,
    style,
    traversals,
)
from mmvae_jax.report.view import NothingToShow, View
from mmvae_jax.types import UserError, Variables, nearest

_log = logging.getLogger(__name__)
FOLDER = "figures"


@dataclasses.dataclass(frozen=True)
class Entry:
    """One figure, or several sheets: how it is drawn, its heading, and what one sees in it."""

    draw: Callable[[View], Figure | Sequence[Figure]]
    heading: str
    caption: str


FIGURES: dict[str, Entry] = {
    "training": Entry(
        curves.training_curve,
        "Training curves",
        "Over the steps of training: the loss, what the model maximises and the bound on held-out "
        "rows, the log-likelihood of each modality, and the KL divergence of each latent block.",
    ),
    "samples": Entry(
        sheets.samples,
        "Samples",
        "Each row is one draw from the prior, decoded into every modality: where the model has "
        "learnt what they share, a row shows one thing.",
    ),
    "conditional": Entry(
        conditionals.conditional,
        "Given one modality",
        "On top the test items that are given, below them draws of every modality, private codes "
        "from the prior: the content of a column should stay, the style may vary.",
    ),
    "conditional_pairs": Entry(
        conditionals.conditional_pairs,
        "Given two modalities",
        "On top the two modalities of each test item that are given, below them draws of those "
        "that are not.",
    ),
    "reconstructions": Entry(
        sheets.reconstructions,
        "Reconstructions",
        "Test items, and what the means of their own posterior are decoded to.",
    ),
    "style_content": Entry(
        sheets.style_content,
        "Style and content",
        "Every combination of the shared code of the item on top with the private code of the item "
        "at the left: a column should keep its content, a row its style.",
    ),
    "shared_traversals": Entry(
        traversals.shared_traversals,
        "Traversals of the shared code",
        "Each row moves one dimension of the shared code of one test item, by up to four times "
        "the scale of the prior (a categorical takes each class): what changes is what that "
        "dimension stands for, in all modalities at once. Beside its number the KL divergence of "
        "its posteriors to the prior (of a model without one: to the standard normal), mean over "
        "up to 200 test items: a dimension at 0 is not used.",
    ),
    "private_traversals": Entry(
        traversals.private_traversals,
        "Traversals of the private codes",
        "Each row moves one dimension of a modality's private code, by up to four times the scale "
        "of the prior, while the shared code is held: style should change, content should not. "
        "Beside its number its KL divergence to the prior, as above.",
    ),
    "private_scales": Entry(
        traversals.private_scales,
        "Scale of the private prior",
        "Draws from the prior whose private codes are multiplied by alpha: at 0 (top row) the most "
        "typical style, further down more and more unusual ones. A column has one shared code.",
    ),
    "embedding": Entry(
        embedding.embedding,
        "Maps of the latent codes",
        "t-SNE of posterior means of test items, coloured by class where there are classes. Shared "
        "codes of one class should meet whichever modality they come from (markers); private codes "
        "should not tell the class. Distances between groups mean nothing.",
    ),
    "coherence": Entry(
        curves.coherence_matrix,
        "Coherence",
        "The share of draws that a classifier puts in the class of the given item, by given (row) "
        "and generated (column) modality; below, the classifier's accuracy on real items.",
    ),
    "robustness": Entry(
        robustness.robustness,
        "What is missing",
        "How well each modality is filled in from the others, over the share of these that is "
        "given, one at least; bars are standard errors. A robust model loses little to the left.",
    ),
    "relatedness": Entry(
        relatedness.relatedness,
        "Relatedness",
        "Distances between the posteriors that two modalities give, for one item against different "
        "items; their means between classes, and the classes grouped by these means.",
    ),
    "retrieval": Entry(
        retrieval.galleries,
        "Retrieval",
        "At the left an item of one modality, then the five of another, of up to 200 test items, "
        "whose posteriors lie nearest. Where modalities are paired by class alone, its class is "
        "all that can be found.",
    ),
    "importance": Entry(
        importance.importance,
        "Importance of latent dimensions",
        "The share that each dimension has in the weights of a sparse linear classifier of the "
        "classes, from codes given one modality: private dimensions should have none.",
    ),
}


def view_of(
    model: Any,
    variables: Variables,
    dataset: Any,
    config: Any,
    workdir: str | os.PathLike[str],
    results: Mapping[str, Any],
) -> View:
    """What figures are drawn from.

    Args:
      model: any model of the contract (``mmvae_jax.models.base``).
      variables: its Flax collections.
      dataset: the test split is shown.
      config: the whole config, or its ``evaluation`` section; its seed is used.
      workdir: ``metrics.jsonl`` is read from there.
      results: what `mmvae_jax.evaluation.evaluate` returned.
    """
    return View(
        model=model,
        variables=jax.tree.map(jnp.asarray, jax.device_get(variables)),
        dataset=dataset,
        workdir=Path(workdir),
        results=results,
        seed=int(config.get("evaluation", config).get("seed", 0)),
    )


def draw(view: View, names: Iterable[str] = ()) -> tuple[dict[str, Figure], dict[str, str]]:
    """The figures of those names (none: all), and why others have no content.

    Of a figure of several sheets ``NAME`` is the first, ``NAME_2`` the second.

    Raises:
      UserError: there is no figure of that name.
    """
    figures, skipped = {}, {}
    for name in names or FIGURES:
        if name not in FIGURES:
            known = ", ".join(FIGURES)
            raise UserError(f"no figure {name!r}, only {known}{nearest(name, FIGURES)}")
        with matplotlib.rc_context(style.SETTINGS):
            try:
                drawn = FIGURES[name].draw(view)
                sheets = [drawn] if isinstance(drawn, Figure) else drawn
                figures |= {_sheet_name(name, place): one for place, one in enumerate(sheets, 1)}
            except (NothingToShow, NotImplementedError) as reason:
                skipped[name] = str(reason) or "this model cannot answer"
                _log.info("figure %s is left out: %s", name, skipped[name])
    return figures, skipped


def _sheet_name(name: str, place: int) -> str:
    return name if place == 1 else f"{name}_{place}"


def entry_of(sheet: str) -> str:
    """The name in `FIGURES` of a sheet that `draw` gives: ``NAME`` of ``NAME_2``."""
    return sheet if sheet in FIGURES else re.sub(r"_\d+$", "", sheet)


def write(view: View) -> tuple[dict[str, Path], dict[str, str]]:
    """Draws all into ``figures/NAME.png`` and ``.pdf`` of the workdir.

    Figures of an earlier call that have no content any more go.

    Returns:
      {name: path of the PNG} in the order of `FIGURES`, sheets named as in `draw`, and {name: why
      it has no content}.
    """
    folder, written, skipped = view.workdir / FOLDER, {}, {}
    for name in FIGURES:  # one at a time: open figures take memory
        drawn, reason = draw(view, [name])
        skipped |= reason
        for sheet, figure in drawn.items():
            with matplotlib.rc_context(style.SETTINGS):
                style.save(figure, folder / f"{sheet}.pdf")
                written[sheet] = style.save(figure, folder / f"{sheet}.png")
    for kind in ("pdf", "png"):
        for path in folder.glob(f"*.{kind}"):
            if entry_of(path.stem) in FIGURES and path.stem not in written:
                path.unlink()
    return written, skipped


def write_figures(
    model: Any,
    variables: Variables,
    dataset: Any,
    config: Any,
    workdir: str | os.PathLike[str],
    results: Mapping[str, Any],
) -> list[Path]:
    """Draws every figure that a run has content for; arguments as of `view_of`.

    Returns:
      The PNG files written, in the order of `FIGURES`; a PDF stands beside each.
    """
    return list(write(view_of(model, variables, dataset, config, workdir, results))[0].values())
