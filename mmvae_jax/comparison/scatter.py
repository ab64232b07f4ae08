"""Two metrics against each other, a point per row of the table: coherence against quality."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.transforms import Bbox

from mmvae_jax.comparison.metrics import Metric
from mmvae_jax.comparison.table import Column, Table
from mmvae_jax.report import style
from mmvae_jax.types import UserError

_MARKERS = "osD^vP"
_LETTERS = 34  # of a point's name
_BARS = "bars: standard deviation over seeds; of a single run, its standard error"
# Where a name may stand beside its point, in points: (across, up, horizontal alignment).
_PLACES = [
    (5 * side, up, "left" if side > 0 else "right")
    for up in (4, -9, 12, -17, 20, -25, 28, -33)
    for side in (1, -1)
]


def save(tables: Sequence[Table], path: Path) -> Path:
    """Writes a picture: a plot per data set, colours by model, error bars as in the tables.

    Args:
      tables: of two columns each, across and up.
      path: the file, PNG or PDF.

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
        title = f"{_in_full(x)} and {_in_full(y)}"
        figure, axes = style.plots(title[:1].upper() + title[1:], len(found))
        figure.set_size_inches(4.6 * len(found), 3.4)
        figure.supxlabel(_BARS, fontsize=6, color="#666666", x=0.01, ha="left")
        models = list(dict.fromkeys(model for table in found for model in table.models))
        for ax, table in zip(axes, found, strict=True):
            _plot(ax, table, models)
        figure.draw_without_rendering()  # the layout, without which no text has a place
        figure.set_layout_engine("none")
        for ax, table in zip(axes, found, strict=True):
            _name_points(ax, table)
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
    ax.margins(0.18)
    ax.set_axisbelow(True)
    ax.set_title(style.short(table.title, 48), loc="left")
    ax.set_xlabel(_axis(x.metric))
    ax.set_ylabel(_axis(y.metric))
    ax.legend(fontsize=7, loc="best")


def _bars(column: Column, rows: Sequence[int]) -> list[float]:
    return [column.cells[index].error or 0.0 for index in rows]


def _name_points(ax: Axes, table: Table) -> None:
    """Names what distinguishes a row from others of its model, where nothing else stands."""
    x, y = table.columns
    points = _points(table)
    places = {index: (x.cells[index].value, y.cells[index].value) for index in points}
    legend = ax.get_legend().get_window_extent()
    taken = [legend, *(_around(ax, place) for place in places.values())]
    for index, place in places.items():
        rest = table.rows[index].removeprefix(table.models[index]).strip()
        if rest:
            taken.append(_place(ax, style.short(rest, _LETTERS), place, taken))


def _place(ax: Axes, name: str, place: tuple[float, float], taken: Sequence[Bbox]) -> Bbox:
    """Writes the name at the first place that is free and inside the plot; the last one if none."""
    inside = ax.get_window_extent()
    text = ax.annotate(name, place, (0, 0), textcoords="offset points", fontsize=6, color="#555555")
    for across, up, side in _PLACES:
        text.set_position((across, up))
        text.set_horizontalalignment(side)
        box = text.get_window_extent()
        free = not any(box.overlaps(other) for other in taken)
        if free and inside.x0 <= box.x0 and box.x1 <= inside.x1:
            break
    return box


def _around(ax: Axes, place: tuple[float, float]) -> Bbox:
    """The room of a point's mark."""
    across, up = ax.transData.transform(place)
    half = 2.5 * style.DPI / 72
    return Bbox.from_extents(across - half, up - half, across + half, up + half)


def _axis(metric: Metric) -> str:
    direction = f" ({metric.better} is better)" if metric.better else ""
    return f"{style.plain(_in_full(metric))}{direction}"


def _in_full(metric: Metric) -> str:
    """The heading without what is cut short in a narrow column."""
    return metric.label.replace("cond. ", "conditional ")
