"""Two metrics against each other, a point per row of the table: coherence against quality."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes

from mmvae_jax.comparison.metrics import Metric
from mmvae_jax.comparison.table import Cell, Column, Table
from mmvae_jax.report import style
from mmvae_jax.types import UserError

_MARKERS = "osD^vP"
_LETTERS = 34  # of a point's name


def save(tables: Sequence[Table], path: Path) -> Path:
    """Writes a PNG: a plot per data set, colours by model, error bars as in the tables.

    Args:
      tables: of two columns each, across and up.
      path: the file.

    Raises:
      UserError: no row has both metrics.
    """
    found = [table for table in tables if _points(table)]
    if not found:
        x, y = tables[0].columns
        raise UserError(
            f"--figure: no run has both {x.metric.name} and {y.metric.name}: choose with --x, --y"
        )
    with style.matplotlib.rc_context(style.SETTINGS):
        x, y = (column.metric for column in found[0].columns)
        figure, axes = style.plots(f"{_capital(x.label)} and {y.label}", len(found))
        figure.set_size_inches(4.6 * len(found), 3.4)
        models = list(dict.fromkeys(model for table in found for model in table.models))
        for ax, table in zip(axes, found, strict=True):
            _plot(ax, table, models)
        return style.save(figure, path)


def _points(table: Table) -> list[int]:
    """Rows that have both numbers."""
    x, y = table.columns
    return [
        index
        for index in range(len(table.rows))
        if x.cells[index].value is not None and y.cells[index].value is not None
    ]


def _plot(ax: Axes, table: Table, models: Sequence[str]) -> None:
    x, y = table.columns
    points = _points(table)
    for model in dict.fromkeys(table.models[index] for index in points):
        number = models.index(model)
        rows = [index for index in points if table.models[index] == model]
        ax.errorbar(
            *([column.cells[i].value for i in rows] for column in (x, y)),
            xerr=_bars(x, rows),
            yerr=_bars(y, rows),
            fmt=_MARKERS[number % len(_MARKERS)],
            color=style.COLOURS[number % len(style.COLOURS)],
            markersize=4.5,
            elinewidth=0.8,
            capsize=1.5,
            label=style.plain(model),
        )
        for index in rows:
            _name(ax, table, index, x.cells[index], y.cells[index])
    ax.margins(0.18)
    ax.set_axisbelow(True)
    ax.set_title(style.short(table.title, 48), loc="left")
    ax.set_xlabel(_axis(x.metric))
    ax.set_ylabel(_axis(y.metric))
    ax.legend(fontsize=7, loc="best")


def _bars(column: Column, rows: Sequence[int]) -> list[float]:
    return [column.cells[index].error or 0.0 for index in rows]


def _name(ax: Axes, table: Table, index: int, x: Cell, y: Cell) -> None:
    """What distinguishes the row from others of its model, where anything does."""
    rest = table.rows[index].removeprefix(table.models[index]).strip()
    if rest:
        ax.annotate(
            style.short(rest, _LETTERS),
            (x.value, y.value),
            xytext=(4, 4),
            textcoords="offset points",
            fontsize=6,
            color="#555555",
        )


def _axis(metric: Metric) -> str:
    direction = f" ({metric.better} is better)" if metric.better else ""
    return f"{style.plain(metric.label)}{direction}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
