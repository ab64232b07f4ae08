"""One metric over the values of one setting: a row per recipe, a column per value.

As papers lay out accuracy over the share of labelled rows (MVAE, table 4; hybrid DMVAE, table 1).
"""

from __future__ import annotations

from collections.abc import Sequence

from mmvae_jax.comparison import grouping, published
from mmvae_jax.comparison.grouping import DataSet, Group
from mmvae_jax.comparison.metrics import Metric
from mmvae_jax.comparison.runs import Run
from mmvae_jax.comparison.table import Column, Table, best, cell, notes, sources
from mmvae_jax.types import UserError, nearest


def check_key(key: str, runs: Sequence[Run]) -> None:
    """Raises UserError where no run has that setting."""
    known = {name for run in runs for name in grouping.flat(run.config)}
    if key not in known:
        hint = nearest(key, sorted(known)) or "; data.observed is one"
        raise UserError(f"--columns={key}: no run has such a setting{hint}")


def build(data: DataSet, metric: Metric, key: str) -> Table:
    """The table of one data set.

    Args:
      data: its rows, from `grouping.group` across the same key.
      metric: what its cells hold.
      key: dotted name of the setting.
    """
    cells_of: list[Group] = []
    columns = []
    for value, heading in grouping.values_of(data, key):
        parts = [
            [run for run in row.runs if grouping.value_of(run, key) == value] for row in data.groups
        ]
        cells = [cell(part, metric.name) for part in parts]
        paper = [published.find_for(part, metric.name) if part else [] for part in parts]
        columns.append(Column(metric, cells, best(cells, metric), paper, heading))
        cells_of += [
            Group(row.model, f"{row.name} {heading}", part)
            for row, part in zip(data.groups, parts, strict=True)
            if part
        ]
    # Notes are about cells: settings of several columns differ on purpose.
    found = [cell(group.runs, metric.name) for group in cells_of]
    together = Column(metric, found, [], [])
    return Table(
        title=f"{data.title}: {metric.label}",
        models=[group.model for group in data.groups],
        rows=[group.name for group in data.groups],
        runs=[len(group.runs) for group in data.groups],
        columns=columns,
        sources=sources(columns),
        notes=[*notes(cells_of, [together]), *data.notes],
    )
