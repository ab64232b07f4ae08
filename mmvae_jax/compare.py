"""Several runs side by side: ``python -m mmvae_jax.compare runs/*``.

Runs that differ only in their seeds are one row, with mean and standard deviation; a row is named
after its model and the settings that distinguish it. Every data set has a table of its own, since
numbers on different data cannot be compared. Where a paper prints a number for a row's setting, it
stands beside ours. ``--columns=data.observed`` lays one metric out over the values of a setting.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from mmvae_jax import entry_point
from mmvae_jax.comparison import formats, metrics, pivot
from mmvae_jax.comparison.grouping import DataSet, group
from mmvae_jax.comparison.metrics import Metric
from mmvae_jax.comparison.runs import SPLITS, Run, read_all
from mmvae_jax.comparison.table import Table, build
from mmvae_jax.run_files import write_atomically
from mmvae_jax.types import UserError, nearest

_ROWS = ("groups", "runs")
_COHERENCE, _DIVERSITY = "coherence/conditional/mean", "diversity/conditional/mean"
# Against coherence in the figure: the first that every run has, or else diversity.
_QUALITY = ("quality/fid/conditional/mean", "quality/classifier_frechet/conditional/mean")
_PICTURES = (".png", ".pdf")
_ENDINGS = {".md": "markdown", ".tex": "latex", ".csv": "csv"}
_JUDGE = "classifier/accuracy/mean"
_LABELS = "classification/accuracy"


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = entry_point.Parser(
        prog="python -m mmvae_jax.compare", description=__doc__, allow_abbrev=False
    )
    add = parser.add_argument
    add("runs", nargs="+", metavar="RUN", help="Workdir of an evaluated run.")
    columns = "Columns, a,b,...: names in results.json, cells NAME[given,target] [the main ones]."
    add("--metrics", default="", help=columns)
    add("--columns", default="", help="Setting, its values are the columns of one of --metrics.")
    add("--split", default="test", help="Rows it was measured on: test, validation [test].")
    add("--rows", default="groups", help="groups: seeds together; runs: one row each [groups].")
    add("--format", default="", help="text, markdown, latex, csv [by --output's ending, or text].")
    add("--output", default="", help="File for the table; the terminal then shows it as text.")
    add("--figure", default="", help="PNG or PDF file for a scatter plot.")
    add("--x", help="Metric across the plot [the quality of what is generated, if measured].")
    add("--y", help="Metric up the plot [coherence].")
    add("--overwrite", action="store_true", help="Replace the files that exist already.")
    arguments = parser.parse_args(argv)
    _one_of("--split", arguments.split, SPLITS)
    _one_of("--rows", arguments.rows, _ROWS)
    if arguments.columns and arguments.rows == "runs":
        raise UserError("--columns puts the values of a setting side by side: leave out --rows")
    ending = Path(arguments.output).suffix.lower()
    arguments.format = arguments.format or _ENDINGS.get(ending, "text")
    _one_of("--format", arguments.format, formats.FORMATS)
    _check_files(arguments)
    return arguments


def _one_of(flag: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        known = ", ".join(allowed)
        raise UserError(f"{flag}={value}: must be one of {known}{nearest(value, allowed)}")


def _check_files(arguments: argparse.Namespace) -> None:
    """Before anything is read: what cannot be written, or must not."""
    for flag in ("output", "figure"):
        name = getattr(arguments, flag)
        path = Path(name)
        if not name:
            continue
        if path.is_dir():
            raise UserError(f"--{flag}={name} is a folder: name a file")
        if not path.parent.is_dir():
            raise UserError(f"--{flag}={name}: the folder {path.parent} does not exist")
        if path.exists() and not arguments.overwrite:
            raise UserError(f"--{flag}={name} exists: choose another name, or add --overwrite")
    if arguments.figure and Path(arguments.figure).suffix.lower() not in _PICTURES:
        raise UserError(f"--figure={arguments.figure}: must end with {' or '.join(_PICTURES)}")
    if arguments.figure and Path(arguments.output).resolve() == Path(arguments.figure).resolve():
        raise UserError(f"--output and --figure are the same file {arguments.figure}")
    if not arguments.figure and (arguments.x, arguments.y) != (None, None):
        raise UserError("--x and --y are the axes of a plot: add --figure=FILE.png")


def main(argv: Sequence[str]) -> list[Table]:
    """Compares the runs of a command line: prints, writes and returns the tables."""
    arguments = _arguments(argv)
    runs = read_all(arguments.runs, arguments.split)
    axes = _axes(arguments, runs)
    data_sets = group(runs, by_run=arguments.rows == "runs")
    if arguments.columns:
        tables = complete = _over_values(arguments, runs)
    else:
        columns, keep_empty = (
            metrics.chosen(arguments.metrics, runs),
            bool(arguments.metrics.strip()),
        )
        tables, complete = (
            [build(data, chosen, keep_empty=keep_empty) for data in data_sets]
            for chosen in (columns, _with_judge(columns))
        )
    if arguments.figure:
        _draw(data_sets, axes, Path(arguments.figure))
    # In a CSV there is no note that states how good the judges are.
    content = formats.FORMATS[arguments.format](complete if arguments.format == "csv" else tables)
    if arguments.output:
        _write(Path(arguments.output), content)
    if arguments.output or arguments.format == "text":
        content = formats.text(tables, _width(), colour=_is_colourful())
    sys.stdout.write(content)
    for name in filter(None, (arguments.output, arguments.figure)):
        print(f"wrote {name}", file=sys.stderr)
    return tables


def _over_values(arguments: argparse.Namespace, runs: Sequence[Run]) -> list[Table]:
    """One metric over the values of the setting ``--columns``."""
    key = arguments.columns
    pivot.check_key(key, runs)
    name = arguments.metrics if arguments.metrics.strip() else _LABELS
    columns = metrics.chosen(name, runs)
    if len(columns) != 1:
        raise UserError(f"--columns={key}: its cells hold one metric: name one with --metrics")
    if not any(columns[0].name in (*run.numbers, *run.skipped) for run in runs):
        raise UserError(f"--columns={key}: no run has {name}: name another metric with --metrics")
    return [pivot.build(data, columns[0], key) for data in group(runs, across=key)]


def _axes(arguments: argparse.Namespace, runs: Sequence[Run]) -> list[Metric]:
    if not arguments.figure:
        return []
    found = []
    x, y = _axis_names(arguments.x, arguments.y, runs)
    for flag, name in (("--x", x), ("--y", y)):
        chosen = metrics.chosen(name, runs, flag)
        if not name.strip() or len(chosen) != 1:
            raise UserError(f"{flag}={name}: an axis is one metric")
        found += chosen
    return found


def _axis_names(x: str | None, y: str | None, runs: Sequence[Run]) -> tuple[str, str]:
    """The axes: as in the MMVAE+ paper (Fig. 1) quality across and coherence up the plot.

    Without a number of quality, coherence across and diversity up. Where one axis is given, the
    other is coherence, or beside coherence what stands for quality.
    """
    judged = [run for run in runs if _COHERENCE in run.numbers]
    measured = (name for name in _QUALITY if all(name in run.numbers for run in judged))
    quality = next(measured, _DIVERSITY) if judged else _DIVERSITY
    if x is None and y is None:
        return (_COHERENCE, quality) if quality == _DIVERSITY else (quality, _COHERENCE)
    given = y if x is None else x
    other = quality if given == _COHERENCE else _COHERENCE
    return other if x is None else x, other if y is None else y


def _with_judge(columns: Sequence[Metric]) -> list[Metric]:
    """With the accuracy of the classifiers behind every coherence."""
    names = [column.name for column in columns]
    judged = any(name.startswith("coherence/") for name in names) and _JUDGE not in names
    return [*columns, metrics.metric(_JUDGE)] if judged else list(columns)


def _draw(data_sets: Sequence[DataSet], axes: Sequence[Metric], path: Path) -> None:
    # What draws takes seconds to import, and most comparisons are tables alone.
    from mmvae_jax.comparison import scatter

    try:
        scatter.save([build(data, axes, keep_empty=True) for data in data_sets], path)
    except OSError as error:
        raise UserError(f"--figure={path} cannot be written ({error.strerror})") from error


def _write(path: Path, content: str) -> None:
    try:
        write_atomically(path, content)
    except OSError as error:
        raise UserError(f"--output={path} cannot be written ({error.strerror})") from error


def _width() -> int:
    """Letters in a line of the terminal; 0, any number, where the output is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 0


def _is_colourful() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


def run() -> None:
    """Entry point: exit status 2 and one line on bad input."""
    with entry_point.one_line_errors():
        main(sys.argv[1:])


if __name__ == "__main__":
    run()
