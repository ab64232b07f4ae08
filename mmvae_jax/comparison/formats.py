"""Tables as text, Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import dataclasses
import io
import re
from collections.abc import Callable, Sequence

from mmvae_jax.comparison.metrics import HIGHER, LOWER
from mmvae_jax.comparison.table import STANDARD_ERROR, Cell, Column, Table

DASH = "-"
_ARROWS = {HIGHER: " ↑", LOWER: " ↓"}
_NOTE_ON_PAPERS = "paper: as printed for this model, data set and fraction of paired rows; epochs, "


@dataclasses.dataclass(frozen=True)
class _Entry:
    """What stands in one place of the grid, before any format's marks."""

    text: str
    bold: bool = False


_Grid = list[list[_Entry]]  # headings first; the first column names the rows


def text(tables: Sequence[Table], width: int = 0, *, colour: bool = False) -> str:
    """For a terminal: aligned; the best has a star, and is bold with ``colour``.

    Args:
      tables: one per data set.
      width: columns of a table that is wider go below the others; 0: any width.
      colour: whether the terminal knows the escape sequence for bold.
    """
    return "\n\n".join(_text(table, width, colour) for table in tables) + "\n"


def markdown(tables: Sequence[Table]) -> str:
    """Pipe tables; the best is bold."""
    return "\n".join(_markdown(table) for table in tables)


def latex(tables: Sequence[Table]) -> str:
    """One ``tabular`` per data set, with the rules of booktabs; notes are comments."""
    return "\n".join(["% needs \\usepackage{booktabs}", *map(_latex, tables)])


def comma_separated(tables: Sequence[Table]) -> str:
    """One line per row of all tables, all digits, names as in ``results.json``, no marks.

    Beside each metric stand ``sd`` (over runs) or ``se`` (of a single one), ``runs`` (that have it)
    and, where a paper has such a number, ``paper``.
    """
    names = dict.fromkeys(column.name for table in tables for column in table.columns)
    with_paper = {column.name for table in tables for column in table.columns if any(column.paper)}
    fields = ["data set", "model", "row", "runs"]
    for name in names:
        fields += [name, f"{name} sd", f"{name} se", f"{name} runs"]
        fields += [f"{name} paper"] if name in with_paper else []
    file = io.StringIO()
    writer = csv.DictWriter(file, fields, restval="", lineterminator="\n")
    writer.writeheader()
    for table in tables:
        for index, row in enumerate(table.rows):
            line = {"data set": _clean(table.title), "model": table.models[index]}
            line |= {"row": _clean(row), "runs": table.runs[index]}
            for column in table.columns:
                line |= _fields(column, index, column.name in with_paper)
            writer.writerow(line)
    return file.getvalue()


FORMATS: dict[str, Callable[[Sequence[Table]], str]] = {
    "text": text,
    "markdown": markdown,
    "latex": latex,
    "csv": comma_separated,
}


# --- what all have in common --------------------------------------------------------------------


def shown(cell: Cell, decimals: int) -> str:
    """``0.885 ± 0.005``, with what has to be said of it: `` se``, `` (2 of 3)``."""
    if cell.value is None:
        return DASH
    found = f"{cell.value:.{decimals}f}"
    if cell.error is not None:
        found += f" ± {_error(cell.error, decimals)}"
        found += " se" if cell.kind == STANDARD_ERROR else ""
    return found + (f" ({cell.count} of {cell.of})" if cell.count < cell.of else "")


def _error(error: float, decimals: int) -> str:
    """With the decimals of its value, or as many more as its first digit needs."""
    while error and not float(f"{error:.{decimals}f}"):
        decimals += 1
    return f"{error:.{decimals}f}"


def _grid(table: Table) -> _Grid:
    headings = [_Entry(table.title), _Entry("runs")]
    lines = [[_Entry(row), _Entry(str(n))] for row, n in zip(table.rows, table.runs, strict=True)]
    for column in table.columns:
        headings.append(_Entry(column.label + _ARROWS.get(column.metric.better, "")))
        decimals = column.decimals
        for line, cell, best in zip(lines, column.cells, column.best, strict=True):
            line.append(_Entry(shown(cell, decimals), best))
        if any(column.paper):
            headings.append(_Entry("paper"))
            for line, entries in zip(lines, column.paper, strict=True):
                found = [
                    f"{entry.value:.{decimals}f} [{table.sources.index(entry.source) + 1}]"
                    for entry in entries
                ]
                line.append(_Entry(", ".join(found) or DASH))
    return [
        [dataclasses.replace(entry, text=_clean(entry.text)) for entry in line]
        for line in (headings, *lines)
    ]


def _notes(table: Table, best: str) -> list[str]:
    notes = []
    if any(any(column.best) for column in table.columns):
        notes.append(best)
    notes += table.notes
    if table.sources:
        notes.append(f"{_NOTE_ON_PAPERS}networks and other settings may differ")
        notes += [f"[{index}] {source}" for index, source in enumerate(table.sources, 1)]
    return [_clean(note) for note in notes]


def _clean(name: str) -> str:
    """Text from data on one line, without what a terminal would obey."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(name.split()))


# --- each format --------------------------------------------------------------------------------


def _text(table: Table, width: int, colour: bool) -> str:
    grid = _grid(table)
    # Where one has a star the others keep its place free, so that digits stand below digits.
    for index in range(len(grid[0])):
        if any(line[index].bold for line in grid):
            for line in grid:
                entry = line[index]
                line[index] = _Entry(entry.text + ("*" if entry.bold else " "), entry.bold)
    widths = [max(len(line[index].text) for line in grid) for index in range(len(grid[0]))]
    lines: list[str] = []
    for block in _blocks(widths, width):
        for line in grid:
            padded = [f"{line[0].text:<{widths[0]}}"]
            padded += [_right(line[index], widths[index], colour) for index in block]
            lines.append("  ".join(padded).rstrip())
        lines.append("")
    return "\n".join([*lines, *_notes(table, "* best of the column")]).rstrip()


def _right(entry: _Entry, width: int, colour: bool) -> str:
    padded = f"{entry.text:>{width}}"
    return f"\033[1m{padded}\033[0m" if entry.bold and colour else padded


def _blocks(widths: Sequence[int], width: int) -> list[list[int]]:
    """Indices of the columns that fit side by side beside the first one, in order."""
    blocks: list[list[int]] = [[]]
    used = widths[0]
    for index, own in enumerate(widths[1:], 1):
        if width and blocks[-1] and used + 2 + own > width:
            blocks.append([])
            used = widths[0]
        blocks[-1].append(index)
        used += 2 + own
    return blocks


def _markdown(table: Table) -> str:
    headings, *lines = _grid(table)
    rows = [[_md(entry.text) for entry in headings]]
    rows.append(["---", *["---:"] * (len(headings) - 1)])
    for line in lines:
        rows.append([f"**{_md(e.text)}**" if e.bold else _md(e.text) for e in line])
    body = ["| " + " | ".join(row) + " |" for row in rows]
    notes = [f"- {_md(note)}" for note in _notes(table, "bold: best of the column")]
    return "\n".join([*body, "", *notes, ""])


def _md(name: str) -> str:
    """Escapes what Markdown would read; underscores inside words are none of it."""
    return re.sub(r"([\\`*|<\[\]~&])|(?<!\w)(_)|(_)(?!\w)", r"\\\g<0>", name)


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "±": r"$\pm$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "…": r"\dots{}",
    **{character: f"\\{character}" for character in "{}$&#_%"},
}


def _latex(table: Table) -> str:
    headings, *lines = _grid(table)

    def row(entries: Sequence[_Entry]) -> str:
        cells = [_tex(entry) for entry in entries]
        return " & ".join(cells) + r" \\"

    return "\n".join(
        [
            rf"\begin{{tabular}}{{l{'r' * (len(headings) - 1)}}}",
            r"\toprule",
            row(headings),
            r"\midrule",
            *map(row, lines),
            r"\bottomrule",
            r"\end{tabular}",
            *(f"% {note}" for note in _notes(table, "bold: best of the column")),
            "",
        ]
    )


def _tex(entry: _Entry) -> str:
    if entry.text == DASH:
        return "--"
    # A minus sign is longer than a hyphen, and -inf or -3.2 begin with one.
    found = re.sub(r"^-(?=\d)", "\N{MINUS SIGN}", entry.text)
    found = "".join(_LATEX.get(c, c) for c in found).replace("\N{MINUS SIGN}", "$-$")
    # What follows a line break in brackets, or a star, would belong to that break.
    found = f"{{}}{found}" if found[:1] in ("[", "*") else found
    return rf"\textbf{{{found}}}" if entry.bold else found


def _fields(column: Column, index: int, with_paper: bool) -> dict[str, str | float | int]:
    name, cell = column.name, column.cells[index]
    fields: dict[str, str | float | int] = {f"{name} runs": cell.count}
    if cell.value is not None:
        fields[name] = cell.value
    if cell.error is not None:
        fields[f"{name} {cell.kind}"] = cell.error
    if with_paper:
        fields[f"{name} paper"] = "; ".join(f"{entry.value:g}" for entry in column.paper[index])
    return fields
