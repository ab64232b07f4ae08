"""A table without a format: numbers, which of them are best, and what has to be said with them."""

from __future__ import annotations

import dataclasses
import math
import re
import statistics
from collections.abc import Sequence

from mmvae_jax.comparison import published
from mmvae_jax.comparison.grouping import DataSet, Group
from mmvae_jax.comparison.metrics import HIGHER, Metric
from mmvae_jax.comparison.published import Published
from mmvae_jax.comparison.runs import Run

DEVIATION = "sd"  # over seeds
STANDARD_ERROR = "se"  # of the one run that has the number
_JUDGE = "classifier/accuracy/mean"
_OF_JUDGES = ("coherence/", "robustness/coherence/")  # columns
# Classifiers trained elsewhere differ a little: no other way to compute, and a note of its own.
_JUDGED = re.compile(r"; judges' accuracy \d\.\d{3}")


@dataclasses.dataclass(frozen=True)
class Cell:
    """One number of the table.

    Attributes:
      value: the mean over the runs that have it; None where none has.
      error: see ``kind``; None where it is not known.
      kind: `DEVIATION` (of several runs, with n - 1) or `STANDARD_ERROR` (of a single one).
      count: runs that have the number.
      of: runs in the row.
    """

    value: float | None = None
    error: float | None = None
    kind: str = ""
    count: int = 0
    of: int = 0


@dataclasses.dataclass(frozen=True, eq=False)
class Column:
    """A metric.

    Attributes:
      metric: its name, heading and direction.
      cells: one per row.
      best: per row, whether nothing in the column is better; all False without a direction.
      paper: per row, what the papers print for that setting.
      setting: what its runs have in common, where other columns hold the same metric.
    """

    metric: Metric
    cells: Sequence[Cell]
    best: Sequence[bool]
    paper: Sequence[Sequence[Published]]
    setting: str = ""

    @property
    def label(self) -> str:
        """Its heading."""
        return self.setting or self.metric.label

    @property
    def name(self) -> str:
        """What only this column is called."""
        return f"{self.metric.name} {self.setting}".rstrip()

    @property
    def decimals(self) -> int:
        """Decimals that its numbers are shown with."""
        return self.metric.decimals(cell.value for cell in self.cells if cell.value is not None)


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """The runs on one data set.

    Attributes:
      title: the data set.
      models: model of each row.
      rows: name of each row.
      runs: number of runs in each row.
      columns: the metrics.
      sources: where the papers' numbers come from; they are numbered from 1.
      notes: what a reader must know to compare these numbers.
    """

    title: str
    models: Sequence[str]
    rows: Sequence[str]
    runs: Sequence[int]
    columns: Sequence[Column]
    sources: Sequence[str]
    notes: Sequence[str]


def build(data: DataSet, metrics: Sequence[Metric], *, keep_empty: bool = False) -> Table:
    """The table of one data set.

    Args:
      data: its rows.
      metrics: its columns.
      keep_empty: whether a column that no run has stays, as dashes.
    """
    columns = [_column(data.groups, metric) for metric in metrics]
    columns = [c for c in columns if keep_empty or any(cell.count for cell in c.cells)]
    return Table(
        title=data.title,
        models=[group.model for group in data.groups],
        rows=[group.name for group in data.groups],
        runs=[len(group.runs) for group in data.groups],
        columns=columns,
        sources=sources(columns),
        notes=[*notes(data.groups, columns), *data.notes],
    )


def sources(columns: Sequence[Column]) -> list[str]:
    """Where the papers' numbers in these columns come from."""
    entries = [entry for column in columns for cell in column.paper for entry in cell]
    return list(dict.fromkeys(entry.source for entry in entries))


def cell(runs: Sequence[Run], name: str) -> Cell:
    """Mean and standard deviation over runs; of a single one its own standard error."""
    found = [run.numbers[name] for run in runs if name in run.numbers]
    found = [number for number in found if math.isfinite(number.value)]
    if not found:
        return Cell(of=len(runs))
    values = [number.value for number in found]
    if len(found) == 1:
        error, kind = found[0].error, STANDARD_ERROR
    else:
        error, kind = statistics.stdev(values), DEVIATION
    kind = "" if error is None else kind
    return Cell(statistics.fmean(values), error, kind, len(found), len(runs))


def _column(groups: Sequence[Group], metric: Metric) -> Column:
    cells = [cell(group.runs, metric.name) for group in groups]
    paper = [published.find_for(group.runs, metric.name) for group in groups]
    return Column(metric, cells, best(cells, metric), paper)


def best(cells: Sequence[Cell], metric: Metric) -> list[bool]:
    """Which cells nothing beats; equal ones as they are shown are all best."""
    values = [cell.value for cell in cells if cell.value is not None]
    if not metric.better or len(values) < 2:
        return [False] * len(cells)
    decimals = metric.decimals(values)
    top = round((max if metric.better == HIGHER else min)(values), decimals)
    return [cell.value is not None and round(cell.value, decimals) == top for cell in cells]


# --- notes --------------------------------------------------------------------------------------


def notes(groups: Sequence[Group], columns: Sequence[Column]) -> list[str]:
    """What a reader must know of the runs behind these cells, a group for each row."""
    runs = [run for group in groups for run in group.runs]
    found = _kinds(columns)
    if any(column.metric.name.startswith(_OF_JUDGES) for column in columns):
        found += _judges(runs)
    found += _steps(groups)
    for column in columns:
        name = column.metric.name
        ways = dict.fromkeys(
            _JUDGED.sub("", run.numbers[name].how) for run in runs if name in run.numbers
        )
        if len(ways) > 1:
            found.append(f"{name} was not computed alike: {'; or '.join(ways)}")
    return [*found, *_skipped(groups, columns)]


def _kinds(columns: Sequence[Column]) -> list[str]:
    kinds = {cell.kind for column in columns for cell in column.cells}
    texts = {
        DEVIATION: "± standard deviation over runs with different seeds (with n - 1)",
        STANDARD_ERROR: "± ... se: standard error of a single run, over rows of the data or draws",
    }
    return [text for kind, text in texts.items() if kind in kinds]


def _judges(runs: Sequence[Run]) -> list[str]:
    found = [run.numbers[_JUDGE].value for run in runs if _JUDGE in run.numbers]
    if not found:
        return ["how often the classifiers that judge coherence are right is not known"]
    low, high = f"{min(found):.3f}", f"{max(found):.3f}"
    share = low if low == high else f"{low} to {high}"
    return [f"coherence is judged by classifiers with an accuracy of {share} on real items"]


def _steps(groups: Sequence[Group]) -> list[str]:
    notes = []
    for group in groups:
        steps = {run.numbers["step"].value for run in group.runs if "step" in run.numbers}
        if len(steps) > 1:
            listed = ", ".join(f"{step:.0f}" for step in sorted(steps))
            notes.append(f"runs of {group.name} were evaluated at different steps: {listed}")
    return notes


def _skipped(groups: Sequence[Group], columns: Sequence[Column]) -> list[str]:
    """Why there is a dash, where the run says so."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for column in columns:
        for group, found in zip(groups, column.cells, strict=True):
            for run in group.runs:
                if found.count < found.of and (why := _reason(run, column.metric.name)):
                    models = reasons.setdefault((column.metric.name, why), [])
                    models += [run.model] if run.model not in models else []
    return [
        f"{name} of {', '.join(models)} was skipped: {why}"
        for (name, why), models in reasons.items()
    ]


def _reason(run: Run, name: str) -> str:
    """The reason listed under the metric's own name or under that of its family."""
    if name in run.numbers and math.isfinite(run.numbers[name].value):
        return ""
    families = [known for known in run.skipped if name == known or name.startswith(f"{known}/")]
    return run.skipped[max(families, key=len)] if families else ""
