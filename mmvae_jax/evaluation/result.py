"""One measured number (or array of numbers), how sure it is, and how it was computed."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmvae_jax.run_files import RESULTS_FILE, results_file

_log = logging.getLogger(__name__)
OF_THE_RUN = "seconds/train"  # written by training, whatever is measured when

__all__ = [
    "OF_THE_RUN",
    "RESULTS_FILE",
    "NotApplicable",
    "Result",
    "load_results",
    "mean",
    "mean_of_cells",
    "read_results",
    "results_at",
    "results_file",
    "unequal",
]


class NotApplicable(Exception):
    """A metric has no meaning for this model or dataset; the text says why, in one line."""


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Result:
    """A scalar ``value`` or an array of ``values``, never both.

    Attributes:
      value: the scalar.
      values: the array, of any shape; NaN where an entry does not exist.
      standard_error: of the scalar, or of each entry of the array; None where there is none.
      n: how many examples (or draws) it is a mean over; of an array, how many count anywhere in
        it, and `how` says so where entries have different numbers of them.
      how: a few words on how it was computed.
      seed: of what was drawn for it; None where nothing was, or it is not known.
      metric: the name in the registry of what gave it; "" where none did, or it is not known.
    """

    value: float | None = None
    values: np.ndarray | None = None
    standard_error: float | np.ndarray | None = None
    n: int = 1
    how: str = ""
    seed: int | None = None
    metric: str = ""

    def __post_init__(self) -> None:
        if (self.value is None) == (self.values is None):
            raise ValueError("a Result has either a value or values")

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``results.json``; a number that does not exist is null.

        There is a ``seed`` where something was drawn, and a ``metric`` where it is known.
        """
        name, content = ("value", self.value) if self.values is None else ("values", self.values)
        entry = {
            name: _plain(content),
            "standard_error": _plain(self.standard_error),
            "n": int(self.n),
            "how": self.how,
        }
        entry |= {} if self.seed is None else {"seed": self.seed}
        return {**entry, "metric": self.metric} if self.metric else entry

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Result:
        """The inverse of `to_json`."""
        error = entry.get("standard_error")
        values = entry.get("values")
        value = entry.get("value")
        seed = entry.get("seed")
        return cls(
            value=None if values is not None else (math.nan if value is None else float(value)),
            values=None if values is None else np.asarray(values, float),
            standard_error=np.asarray(error, float) if isinstance(error, list) else error,
            n=int(entry.get("n", 1)),
            how=str(entry.get("how", "")),
            seed=None if seed is None else int(seed),
            metric=str(entry.get("metric", "")),
        )


def _plain(content: Any) -> Any:
    if content is None:
        return None
    if np.ndim(content):
        return [_plain(item) for item in np.asarray(content)]
    number = float(content)
    return number if math.isfinite(number) else None


def mean(values: np.ndarray, how: str) -> Result:
    """The mean of one number per example, ``values`` [N], and its standard error over them."""
    values = np.asarray(values, np.float64)
    n = len(values)
    error = float(values.std(ddof=1) / math.sqrt(n)) if n > 1 else None
    return Result(value=float(values.mean()), standard_error=error, n=n, how=how)


def unequal(counts: np.ndarray) -> str:
    """What to say where entries have different numbers of rows: ", 60 to 500 in a cell"; or "".

    Args:
      counts: of each entry, any shape; those that have none are passed over.
    """
    counts = np.asarray(counts, np.int64)
    counts = counts[counts > 0]
    if not counts.size or counts.min() == counts.max():
        return ""
    return f", {counts.min()} to {counts.max()} in a cell"


def mean_of_cells(values: np.ndarray, weight: np.ndarray, how: str) -> Result:
    """The mean over cells (a source and a target, say) of every cell's mean over rows.

    The values of one row are not independent of each other: the standard error is over rows, to
    first order in the deviations from the cells' means; None where there is only one row.

    Args:
      values: [P, N], one number per cell and row.
      weight: [P, N], 0 for rows that do not count in a cell; cells without any are left out.
      how: see `Result`.

    Raises:
      NotApplicable: no cell has a row.
    """
    filled = weight.sum(-1) > 0
    if not filled.any():
        raise NotApplicable("no row counts in it")
    weight = np.asarray(weight[filled], np.float64)
    values = np.where(weight > 0, values[filled], 0.0)
    share = weight / weight.sum(-1, keepdims=True)
    means = (share * values).sum(-1, keepdims=True)
    deviation = (share * (values - means)).mean(0)
    n = int((weight > 0).any(0).sum())
    return Result(
        value=float(means.mean()),
        standard_error=float(np.sqrt((deviation**2).sum())) if n > 1 else None,
        n=n,
        how=how,
    )


def read_results(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The parsed ``results.json``, or {} where there is none or it cannot be read."""
    path = Path(path)
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        _log.warning("%s cannot be read (%s): it is written anew", path, error)
        return {}
    return content if isinstance(content, dict) else {}


def load_results(path: str | os.PathLike[str]) -> dict[str, Result]:
    """The results in a ``results.json`` by name; {} where there is none."""
    return {
        name: Result.from_json(entry)
        for name, entry in read_results(path).items()
        if isinstance(entry, dict) and ("value" in entry or "values" in entry)
    }


def results_at(path: str | os.PathLike[str], step: float | None) -> tuple[dict[str, Result], str]:
    """The results of one training step, and why there are none where they are of another.

    The reason is logged, too. ``seconds/train`` is of the run and stays whatever the step.

    Args:
      path: a ``results.json``.
      step: of the model that they are to stand beside; None: of any.
    """
    found = load_results(path)
    of_the_run = {name: found[name] for name in (OF_THE_RUN,) if name in found}
    measured = found["step"].value if "step" in found else None
    if step is None or measured == step or found.keys() == of_the_run.keys():
        return found, ""
    other = "an unknown step" if measured is None else f"step {measured:.0f}"
    reason = (
        f"{Path(path).name} was measured at {other}, and this is step {step:.0f}: "
        f"--mode=evaluate --step={step:.0f} measures it"
    )
    _log.warning("no numbers are shown: %s", reason)
    return of_the_run, reason
