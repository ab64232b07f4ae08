"""Results as text for a terminal: grouped, aligned, the matrices as small tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

import numpy as np

from mmvae_jax.evaluation.result import Result

_COHERENCE = "coherence/conditional/matrix"
_DIVERSITY = "diversity/conditional/matrix"
_FID = "quality/fid/conditional/matrix"
_ERRORS = "± standard error over rows (tuples) of the data, or over draws, as if independent"


class Measured(dict[str, Result]):
    """Results by flat name, shown as a table, with {name: why it is missing} in ``skipped``."""

    def __init__(
        self, results: Mapping[str, Result], skipped: Mapping[str, str], names: Sequence[str]
    ) -> None:
        super().__init__(results)
        self.skipped = dict(skipped)
        self._names = tuple(names)  # of the modalities, in the order of matrices

    def __repr__(self) -> str:
        return render(self, self.skipped, self._names)


def render(results: Mapping[str, Result], skipped: Mapping[str, str], names: Sequence[str]) -> str:
    """The whole table, without a final line break.

    Standard errors treat the rows of the data as independent, which tuples that share items
    are not: the last line says so.
    """
    scalars = {name: result for name, result in results.items() if result.values is None}
    lines: list[str] = []
    width = max([len(name) for name in [*scalars, *skipped]], default=0)
    for _, group in groupby(scalars, key=lambda name: name.split("/")[0]):
        lines += ["", *(_line(name, scalars[name], width) for name in group)]
    if _COHERENCE in results:
        accuracy = [results.get(f"classifier/accuracy/{name}") for name in names]
        accuracy = [np.nan if found is None else found.value for found in accuracy]
        rows = {**_given(results[_COHERENCE], names), "classifier accuracy": accuracy}
        lines += ["", *matrix_lines("conditional coherence", rows, names, 3)]
    if _DIVERSITY in results:
        rows = _given(results[_DIVERSITY], names)
        lines += ["", *matrix_lines("variance between draws for one input", rows, names, 4)]
    if _FID in results:
        lines += ["", *matrix_lines("FID", _given(results[_FID], names), names, 2)]
    if skipped:
        lines += ["", *(f"{name:<{width}}  skipped: {why}" for name, why in skipped.items())]
    if any(result.standard_error is not None for result in scalars.values()):
        lines += ["", _ERRORS]
    return "\n".join(lines)


def _line(name: str, result: Result, width: int) -> str:
    error = result.standard_error
    value = f"{_number(result.value):>10}"
    if error is not None and np.isfinite(error):
        value += f" ± {_number(error):<8}"
    return f"{name:<{width}}  {value:<22} {result.how}".rstrip()


def _number(value: float) -> str:
    if not np.isfinite(value):
        return "-"
    if float(value).is_integer() and abs(value) > 1:
        return f"{value:.0f}"
    return f"{value:.3f}" if abs(value) >= 0.01 or not value else f"{value:.2g}"


def _given(result: Result, names: Sequence[str]) -> dict[str, np.ndarray]:
    return {f"from {name}": row for name, row in zip(names, result.values, strict=True)}


def matrix_lines(
    title: str, rows: Mapping[str, Sequence[float]], names: Sequence[str], digits: int
) -> list[str]:
    """Named rows of numbers, one for each target (column)."""
    left = max(len(label) for label in rows)
    column = max(9, *(len(f"to {name}") + 2 for name in names))
    heading = " " * left + "".join(f"{f'to {name}':>{column}}" for name in names)
    body = [
        f"{label:<{left}}" + "".join(f"{_cell(value, digits):>{column}}" for value in row)
        for label, row in rows.items()
    ]
    return [title, heading, *body]


def _cell(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if np.isfinite(value) else "-"
