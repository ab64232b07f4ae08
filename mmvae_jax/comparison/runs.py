"""Reading the numbers of finished runs. Nothing here needs JAX."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmvae_jax.run_files import CONFIG_FILE, RESULTS_FILE, read_run, results_file
from mmvae_jax.types import UserError

SPLITS = ("test", "validation")
# Their rows are subsets of the modalities, which may be as many as these.
_OTHER_ROWS = ("coherence/given/matrix",)
# What a run has that was never evaluated.
_NOT_MEASURED = ("step", "seconds/train", "seconds/evaluate")


@dataclasses.dataclass(frozen=True)
class Number:
    """One scalar of ``results.json``.

    Attributes:
      value: NaN where it could not be had.
      error: its standard error, or None.
      how: how it was computed.
    """

    value: float
    error: float | None = None
    how: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """A workdir.

    Attributes:
      path: as it was given.
      config: the whole config.
      dataset: name, fingerprint and provenance of the data.
      numbers: the scalars by flat name, and the cells of matrices over modalities: see `cell_name`.
      arrays: names of the results that are arrays.
      skipped: {metric: why it was not computed}.
      split: the rows on which all this was measured.
    """

    path: Path
    config: Mapping[str, Any]
    dataset: Mapping[str, Any]
    numbers: Mapping[str, Number]
    arrays: frozenset[str] = frozenset()
    skipped: Mapping[str, str] = dataclasses.field(default_factory=dict)
    split: str = "test"

    @property
    def model(self) -> str:
        """Name of the model."""
        return self.config["model"]["name"]


def read_all(paths: Sequence[str], split: str = "test") -> list[Run]:
    """The runs in these folders, in this order.

    Raises:
      UserError: see `read`; the same folder twice.
    """
    seen: dict[Path, str] = {}
    for path in paths:
        real = Path(path).resolve()
        if real in seen:
            both = path if path == seen[real] else f"{seen[real]} and {path}"
            raise UserError(f"{both}: the same run is given twice")
        seen[real] = path
    return [read(path, split) for path in paths]


def read(path: str | Path, split: str = "test") -> Run:
    """The run in a folder, with what was measured on the rows of ``split``.

    Raises:
      UserError: it holds no run, or one without results on these rows, or a damaged file.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise UserError(f"{path} is a file, not the folder of a run: leave it out")
    description = read_run(path)
    config, dataset = description["config"], description.get("dataset") or {}
    model, data = config.get("model"), config.get("data")
    for section in (model, data):
        if not isinstance(section, dict) or not isinstance(section.get("name"), str):
            raise UserError(f"{path / CONFIG_FILE} names no model or no data set: leave it out")
    content = _read_results(path, split)
    numbers = {n: _number(path, split, n, e) for n, e in content.items() if "values" not in e}
    arrays = frozenset(set(content) - set(numbers))
    if "seconds/train" not in numbers and split != "test" and (path / RESULTS_FILE).exists():
        # Training writes its time there, whatever it is evaluated on.
        entry = _parse(path / RESULTS_FILE).get("seconds/train")
        if entry is not None:
            numbers["seconds/train"] = _number(path, "test", "seconds/train", entry)
    skipped = _parse(path / results_file(split)).get("skipped")
    if not set(content) - set(_NOT_MEASURED) and not skipped:
        raise UserError(_not_evaluated(path, split, "holds no metric"))
    for name, cell in _cells(description.get("modalities"), content):
        numbers[name] = _number(path, split, name, cell)
    return Run(
        path=path,
        config=config,
        dataset=dataset,
        numbers=numbers,
        arrays=arrays,
        skipped={name: str(why) for name, why in (skipped or {}).items()},
        split=split,
    )


def cell_name(matrix: str, row: str, column: str) -> str:
    """One number of a matrix over modalities: ``coherence/conditional/matrix[given,target]``."""
    return f"{matrix}[{row},{column}]"


def _cells(modalities: Any, content: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The filled cells of all matrices, each like a scalar."""
    names = [spec.get("name") for spec in modalities or () if isinstance(spec, dict)]
    for matrix, entry in content.items():
        if "values" not in entry or not matrix.endswith("/matrix") or matrix in _OTHER_ROWS:
            continue
        values, errors = entry["values"], entry.get("standard_error")
        if not _is_square(values, len(names)):
            continue
        errors = errors if _is_square(errors, len(names)) else [[None] * len(names)] * len(names)
        for row, line, line_errors in zip(names, values, errors, strict=True):
            for column, value, error in zip(names, line, line_errors, strict=True):
                if value is not None:
                    found = {"value": value, "standard_error": error, "how": entry.get("how", "")}
                    yield cell_name(matrix, row, column), found


def _is_square(values: Any, size: int) -> bool:
    """Whether these are as many lists of as many entries."""
    lists = isinstance(values, list) and all(isinstance(line, list) for line in values)
    return lists and [len(line) for line in values] == [size] * size


def _read_results(path: Path, split: str) -> dict[str, dict[str, Any]]:
    """The results by name, without what was skipped."""
    file = path / results_file(split)
    if not file.exists():
        raise UserError(_not_evaluated(path, split, "is not there"))
    content = {name: entry for name, entry in _parse(file).items() if name != "skipped"}
    for name, entry in content.items():
        if not isinstance(entry, dict) or not {"value", "values"} & set(entry):
            raise UserError(f"{file} is damaged: {name!r} is no result: evaluate the run again")
    return content


def _parse(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{file} is damaged ({reason}): evaluate the run again") from error
    if not isinstance(content, dict) or not isinstance(content.get("skipped", {}), dict):
        raise UserError(f"{file} is damaged: it does not map names to results: evaluate again")
    return content


def _number(path: Path, split: str, name: str, entry: Mapping[str, Any]) -> Number:
    value, error = entry.get("value"), entry.get("standard_error")
    for number in (value, error):
        if number is not None and (isinstance(number, bool) or not isinstance(number, int | float)):
            raise UserError(
                f"{path / results_file(split)} is damaged: {name!r} is {number!r}, not a number: "
                "evaluate the run again"
            )
    value = math.nan if value is None else float(value)
    error = float(error) if error is not None and math.isfinite(error) else None
    return Number(value, error, str(entry.get("how", "")))


def _not_evaluated(path: Path, split: str, what: str) -> str:
    others = [s for s in SPLITS if s != split and (path / results_file(s)).exists()]
    if others and split == "test":
        todo = f"use --split={others[0]}, or evaluate it with --mode=evaluate --workdir={path}"
    else:
        todo = "evaluate it with python -m mmvae_jax.main --mode=evaluate"
        # Rows other than the config's own are chosen by a flag, which needs the config.
        chosen = "" if split == "test" else f" --config=... --config.evaluation.split={split}"
        todo += f" --workdir={path}{chosen}"
    return f"{path} has no results on its {split} rows ({results_file(split)} {what}): {todo}"
