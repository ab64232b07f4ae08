"""Results that there is one of for each pair of modalities."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mmvae_jax.evaluation.result import Result, mean, mean_of_cells

Cells = Mapping[tuple[int, int], np.ndarray]


def over_pairs(label: str, cells: Cells, count: int, how: str) -> dict[str, Result]:
    """``<label>/matrix`` [M, M], NaN where there is no such cell, and ``<label>/mean`` over cells.

    Args:
      label: what is measured.
      cells: {(row, column): one number per row of the data [N]}, NaN where that does not count.
      count: M.
      how: see `Result`.

    Raises:
      NotApplicable: no cell has a number.
    """
    values = np.full((count, count), np.nan)
    errors = np.full((count, count), np.nan)
    for place, numbers in cells.items():
        known = numbers[np.isfinite(numbers)]
        if len(known):
            found = mean(known, how)
            values[place] = found.value
            errors[place] = np.nan if found.standard_error is None else found.standard_error
    table = np.stack(list(cells.values()))
    weight = np.isfinite(table).astype(float)
    filled = int((weight.sum(-1) > 0).sum())
    average = mean_of_cells(table, weight, f"mean of {filled} cells of its matrix; {how}")
    matrix = Result(values=values, standard_error=errors, n=average.n, how=how)
    return {f"{label}/matrix": matrix, f"{label}/mean": average}


def spread_out(values: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
    """Numbers [n] of the rows [n] among ``count`` rows [N], NaN elsewhere."""
    found = np.full(count, np.nan)
    found[rows] = values
    return found
