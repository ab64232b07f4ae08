"""Results as text for a terminal: grouped, aligned, the coherence matrix as a small table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

import numpy as np

from mmvae_jax.evaluation.result import Result

_MATRIX = "coherence/conditional/matrix"
_ERRORS = "± standard error over rows (tuples) of the test set, or over draws, as if independent"


def render(results: Mapping[str, Result], skipped: Mapping[str, str], names: Sequence[str]) -> str:
    """The whole table, without a final line break.

    Standard errors treat the rows of the test set as independent, which tuples that share items
    are not: the last line says so.
    """
    scalars = {name: result for name, result in results.items() if result.values is None}
    lines: list[str] = []
    width = max([len(name) for name in [*scalars, *skipped]], default=0)
    for _, group in groupby(scalars, key=lambda name: name.split("/")[0]):
        lines += ["", *(_line(name, scalars[name], width) for name in group)]
    if _MATRIX in results:
        lines += ["", *matrix_lines(results, names)]
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
    return f"{value:.0f}" if float(value).is_integer() and abs(value) > 1 else f"{value:.3f}"


def matrix_lines(results: Mapping[str, Result], names: Sequence[str]) -> list[str]:
    """Coherence of each source (row) with each target (column), the judges' accuracy below."""
    matrix = results[_MATRIX].values
    accuracy = [results.get(f"classifier/accuracy/{name}") for name in names]
    labels = [*(f"from {name}" for name in names), "classifier accuracy"]
    left = max(len(label) for label in labels)
    column = max(9, *(len(f"to {name}") + 2 for name in names))
    rows = [*matrix, [np.nan if found is None else found.value for found in accuracy]]
    heading = " " * left + "".join(f"{f'to {name}':>{column}}" for name in names)
    body = [
        f"{label:<{left}}" + "".join(f"{_cell(value):>{column}}" for value in row)
        for label, row in zip(labels, rows, strict=True)
    ]
    return ["conditional coherence", heading, *body]


def _cell(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else "-"
