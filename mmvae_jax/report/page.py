"""``report.html``: a whole run on one page, in one file that needs nothing else.

Pictures are part of it, nothing is fetched, and no script runs: its own policy forbids both, so
that whatever a data set's names and captions hold stays text.
"""

from __future__ import annotations

import dataclasses
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from mmvae_jax.evaluation.result import (
    Result,
    load_results,
    read_results,
    results_at,
    results_file,
)
from mmvae_jax.report import captions, figures, sections
from mmvae_jax.report.captions import Captions
from mmvae_jax.report.look import STYLE
from mmvae_jax.report.markup import Html, element, image_source, join
from mmvae_jax.run_files import CONFIG_FILE, read_run, write_atomically
from mmvae_jax.types import Variables

FILE = "report.html"
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_WIDE = 5.2  # inches: wider pictures scroll on a phone
_PIXELS_PER_INCH = 130  # on the page; letters are then about as tall as the page's own
_MOST_FOLDED = 6e6  # bytes of all further sheets of figures on the page; files hold the rest
# Figures by what they tell; the page follows this order.
_PARTS: dict[str, tuple[str, ...]] = {
    "Training": ("training",),
    "Samples": ("samples",),
    "Conditional generation": ("conditional", "conditional_pairs", "coherence", "robustness"),
    "Reconstructions": ("reconstructions",),
    "Retrieval": ("retrieval",),
    "Latent codes": (
        *("style_content", "shared_traversals", "private_traversals", "private_scales"),
        *("embedding", "relatedness", "importance"),
    ),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Section:
    """A part of the page, with its place in the table of contents."""

    title: str
    content: Sequence[Html]

    @property
    def place(self) -> str:
        """Its id."""
        return "".join(c if c.isalnum() else "-" for c in self.title.lower())


def write_report(
    model: Any,
    variables: Variables,
    dataset: Any,
    config: Any,
    workdir: str | os.PathLike[str],
    results: Mapping[str, Result],
) -> Path:
    """Draws the figures of a run and writes its page; arguments as of `figures.view_of`.

    Where ``results`` has a ``step``, what the run's file holds of the same step is shown, too.
    Where ``config.evaluation`` says so there are no figures, and none of test items where what is
    measured are validation rows: these have a page of their own, ``report-validation.html``.

    Returns:
      The page.
    """
    evaluation = config.get("evaluation", config)
    split = evaluation.get("split", "test")
    file = Path(workdir) / results_file(split)
    earlier, of_another_step = results_at(
        file, results["step"].value if "step" in results else None
    )
    missing = {"all": of_another_step} if of_another_step else read_results(file).get("skipped", {})
    results = {**earlier, **results}
    view = figures.view_of(model, variables, dataset, config, workdir, results)
    texts: list[Captions] = []
    if split != "test":
        pictures, skipped = {}, {"all": "figures show test items"}
    elif not evaluation.get("figures", True):
        pictures, skipped = {}, {"all": "config.evaluation.figures is off"}
    else:
        pictures, skipped = figures.write(view)
        texts = captions.captions(view) if len(dataset.splits["test"]) else []
    run = read_run(view.workdir) if (view.workdir / CONFIG_FILE).exists() else {}
    content = page(
        title=_title(run, dataset),
        sections=[
            _about(run, view, results),
            _results(view.names, results),
            *_parts(pictures, texts),
            _left_out(skipped, missing),
            Section("Config", sections.config_tables(run)),
            Section("Machine and command", [sections.machine(run)]),
        ],
        note=f"Measured on the {split} rows." if split != "test" else "",
    )
    path = view.workdir / (FILE if split == "test" else f"report-{split}.html")
    write_atomically(path, content)
    return path


def page(title: str, sections: Sequence[Section | None], note: str = "") -> str:
    """The HTML of a page: a title, a table of contents, and the sections that are there."""
    shown = [section for section in sections if section is not None and section.content]
    links = join(element("li", element("a", part.title, href=f"#{part.place}")) for part in shown)
    header = element(
        "header",
        element("h1", title),
        element("p", note, class_="quiet") if note else None,
        element("nav", element("ul", links), aria_label="contents"),
    )
    parts = (
        element("section", element("h2", part.title), *part.content, id=part.place)
        for part in shown
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("title", title),
        element("style", Html(STYLE)),
    )
    footer = element("footer", element("p", "Made by mmvae_jax.", class_="quiet"))
    body = element("body", header, element("main", join(parts)), footer)
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def _title(run: Mapping[str, Any], dataset: Any) -> str:
    model = run.get("config", {}).get("model", {}).get("name", "")
    return f"{model} on {dataset.name}" if model else dataset.name


def _about(run: Mapping[str, Any], view: Any, results: Mapping[str, Result]) -> Section:
    """What was trained on what, and the numbers that matter most."""
    earlier = load_results(view.workdir / results_file("test"))
    known = {name: earlier[name] for name in ("seconds/train",) if name in earlier}
    told = sections.facts(run, view.dataset, view.variables, {**known, **results}, view.seed)
    numbers = sections.headline_numbers(results)
    said = (
        "± standard error over rows or draws, as if these were independent; n: how many rows or "
        "draws, or of a mean over modalities how many of these."
    )
    explained = element("p", said, class_="quiet") if numbers else None
    content = [numbers, explained, told, sections.modalities(view.dataset.specs, view.dataset)]
    return Section("Overview", [part for part in content if part is not None])


def _results(names: Sequence[str], results: Mapping[str, Result]) -> Section | None:
    """Every number, folded."""
    if not results:
        return None
    summary = element("summary", f"All {len(results)} results, and how each was measured")
    tables = sections.all_results(results, names)
    return Section("Results", [element("details", summary, *tables)])


def _parts(pictures: Mapping[str, Path], texts: Sequence[Captions]) -> list[Section]:
    further = _further(pictures)
    found = []
    for title, names in _PARTS.items():
        drawn = [name for name in names if name in pictures]
        content: list[Html] = []
        for name in drawn:
            entry = figures.FIGURES[name]
            content += [element("h3", entry.heading)] if len(names) > 1 else []
            shown = image(pictures[name].read_bytes(), f"{entry.heading}: {entry.caption}")
            files = element("small", f" Files: figures/{name}.png and .pdf.")
            caption = element("figcaption", entry.caption, files)
            content.append(element("figure", shown, caption, further.get(name)))
        found.append(Section(title, content))
    found.append(Section("Text", [part for text in texts for part in _texts(text)]))
    return found


def _further(pictures: Mapping[str, Path]) -> dict[str, Html]:
    """The sheets behind the first of each figure, folded, up to `_MOST_FOLDED` bytes of all."""
    free, found = _MOST_FOLDED, {}
    for name, entry in figures.FIGURES.items():
        sheets = [sheet for sheet in pictures if figures.entry_of(sheet) == name][1:]
        shown, named = [], []
        for sheet in sheets:
            free -= pictures[sheet].stat().st_size
            if free >= 0:
                shown.append(image(pictures[sheet].read_bytes(), f"{entry.heading}: {sheet}"))
                shown.append(element("small", f"Files: figures/{sheet}.png and .pdf."))
            else:
                named.append(f"figures/{sheet}.png")
        said = f"More sheets, too large for this page: {', '.join(named)}."
        summary = element("summary", f"{len(shown) // 2} more")
        folded = element("details", summary, *shown) if shown else None
        if sheets:
            found[name] = join([folded, element("small", said) if named else None])
    return found


def image(png: bytes, alt: str) -> Html:
    """A figure as it is on the page: a wide one scrolls by itself on a phone."""
    with Image.open(io.BytesIO(png)) as opened:
        width, height = opened.size
        inches = width / float(opened.info.get("dpi", (200,))[0])
    wide = inches > _WIDE
    scale = _PIXELS_PER_INCH * inches / width
    shown = element(
        "img",
        src=image_source(png),
        alt=alt,
        width=round(width * scale),
        height=round(height * scale),
        class_="sheet" if wide else None,
    )
    return element("div", shown, class_="wide", tabindex=0 if wide else None)


def _texts(found: Captions) -> list[Html]:
    """Captions beside their pictures."""
    rows = (
        sections.row(
            element("img", src=image_source(png), alt=f"item {index + 1}", width=64)
            if png
            else str(index + 1),
            *(sections.long(text) for text in texts),
        )
        for index, (png, texts) in enumerate(found.rows)
    )
    return [
        element("h3", found.title),
        sections.table(("item", *found.columns), rows, found.title),
    ]


def _left_out(pictures: Mapping[str, str], metrics: Mapping[str, str]) -> Section | None:
    tables = [sections.left_out(pictures, "figure"), sections.left_out(metrics, "metric")]
    return Section("Left out", [part for part in tables if part is not None])
