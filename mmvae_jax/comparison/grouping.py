"""Which runs belong together: one data set to a table, one setting to a row, seeds to a mean."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mmvae_jax.comparison.runs import Run
from mmvae_jax.types import UserError

SEEDS = ("seed", "data.seed", "evaluation.seed")
# Where things lie and how many are handled at a time: no number depends on them.
_IGNORED = (
    *("data.dir", "data.download", "data.cache_dir", "training.data"),
    *("evaluation.batch_size", "evaluation.cache_dir", "evaluation.figures"),
    *("evaluation.metrics", "evaluation.likelihood_sets", "evaluation.split"),
    *("training.log_every", "training.checkpoint_every"),
)
# What training rows keep: a setting of the run, since the test rows stay the same.
_PARTIAL = ("partial", "observed", "rest", "always", "labels_per_class")
# Settings of how much is kept, and the value that keeps everything.
_KEEPS_ALL = {"data.observed": 1.0, "data.labels_per_class": 0}
_SECTIONS = ("data", "objective", "model", "optimizer")  # what a row's name begins with
_SHOWN = 4  # settings in a name, more where rows are not told apart by so few
_UNSET = object()


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
    """Runs that differ only in their seeds: a row.

    Attributes:
      model: name of their model.
      name: the model and what distinguishes it from the other rows.
      runs: one per seed, or just one.
    """

    model: str
    name: str
    runs: Sequence[Run]


@dataclasses.dataclass(frozen=True, eq=False)
class DataSet:
    """The runs on one data set: a table.

    Attributes:
      title: its name, with the options that distinguish it from others of that name.
      groups: the rows.
      notes: what the names of the rows leave out.
    """

    title: str
    groups: Sequence[Group]
    notes: Sequence[str]


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted keys and values of a nested mapping."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def group(runs: Sequence[Run], *, by_run: bool = False, across: str = "") -> list[DataSet]:
    """The tables, in the order of their first runs.

    Rows are ordered by model, as given, and within a model by what distinguishes them.

    Args:
      runs: at least one.
      by_run: every run is a row of its own, named after its folder.
      across: a setting that makes no rows: runs that differ in it alone are one. Where it says how
        much training rows keep, a run that keeps it all is in every row of that recipe.

    Raises:
      UserError: two runs have the same settings and the same seeds.
    """
    found = _data_sets(runs)
    keys = {key for run in runs for key in flat(run.config)}
    titles = _titles(found, keys)
    return [
        DataSet(title, *(_rows_of_runs(members) if by_run else _rows(members, keys, across)))
        for title, members in zip(titles, found, strict=True)
    ]


# --- data sets ----------------------------------------------------------------------------------


def _data_sets(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs on the same data together.

    Those with equal options and equal content are. The seed of the data may change the content
    (the pairing, the rows held out), so equal options also do where all seeds are different and
    all content comes from one place.
    """
    found = []
    for members in _by(runs, _data_options):
        parts = _by(members, lambda run: _content(run)[0])
        seeds = Counter(seed for part in parts for seed in {_data_seed(run) for run in part})
        one_place = len({_content(run)[1] for run in members}) == 1
        found += [members] if one_place and max(seeds.values()) == 1 else parts
    order = {id(run): index for index, run in enumerate(runs)}
    return sorted(found, key=lambda members: order[id(members[0])])


def _data_options(run: Run) -> dict[str, Any]:
    skipped = ("seed", "dir", "download", "cache_dir", *_PARTIAL)
    return {key: value for key, value in run.config["data"].items() if key not in skipped}


def _data_seed(run: Run) -> Any:
    return run.config["data"].get("seed")


def _content(run: Run) -> tuple[str, str]:
    """(fingerprint, provenance) of the data before training rows were made partial."""
    fingerprint = str(run.dataset.get("fingerprint", ""))
    provenance = str(run.dataset.get("provenance", ""))
    return re.sub("-partial=.*", "", fingerprint), provenance.split("; partial training data")[0]


def _titles(found: Sequence[Sequence[Run]], keys: Iterable[str]) -> list[str]:
    settings = [flat({"data": _data_options(runs[0])}) for runs in found]
    names = [runs[0].config["data"]["name"] for runs in found]
    titles = []
    for name, own in zip(names, settings, strict=True):
        rivals = [s for n, s in zip(names, settings, strict=True) if n == name]
        titles.append(" ".join([name, *_pairs(own, _differing(rivals), keys)]))
    for title, count in Counter(titles).items():
        if count > 1:
            same = [index for index, other in enumerate(titles) if other == title]
            for index in same:
                titles[index] = f"{title} ({_content(found[index][0])[0][:8] or 'unknown content'})"
    return titles


# --- rows ---------------------------------------------------------------------------------------


def _settings(run: Run, across: str = "") -> dict[str, Any]:
    skipped = (*SEEDS, *_IGNORED, across)
    return {key: value for key, value in flat(run.config).items() if key not in skipped}


def value_of(run: Run, key: str) -> Any:
    """A setting of a run, by its dotted name; a value like no other where it has none."""
    return flat(run.config).get(key, _UNSET)


def values_of(data: DataSet, key: str) -> list[tuple[Any, str]]:
    """The values of a setting in a table, in order, each with its heading."""
    runs = [run for row in data.groups for run in row.runs]
    found = [value_of(members[0], key) for members in _by(runs, lambda run: value_of(run, key))]
    every = _KEEPS_ALL.get(key, _UNSET)  # where not the largest of all stands for all
    found.sort(key=lambda value: (value == every, _sortable(value)))
    name = _short(key, {name for run in runs for name in flat(run.config)})
    return [
        (value, f"{name}=all" if value == every and not every else f"{name}={_value(value)}")
        for value in found
    ]


def _keeps_all(run: Run) -> bool:
    data = run.config["data"]
    partial = data.get("partial", "none")
    return partial == "none" or (partial != "labels_per_class" and data.get("observed") == 1)


def _with_whole_runs(found: Sequence[Sequence[Run]], across: str) -> list[list[Run]]:
    """Rows over how much is kept: runs that keep everything join those that keep a part.

    How it would be chosen what they keep, and mixed into batches, is no setting of theirs.
    """

    def recipe(members: Sequence[Run]) -> dict[str, Any]:
        moot = (*(f"data.{key}" for key in _PARTIAL), "training.batch_mix")
        settings = _settings(members[0]).items()
        return {k: v for k, v in settings if not k.startswith(moot)}

    whole = [list(members) for members in found if all(map(_keeps_all, members))]
    partial = [list(members) for members in found if not all(map(_keeps_all, members))]
    alone = []
    for members in whole:
        # Of those whose part is the one that this setting says.
        joined = [
            row
            for row in partial
            if recipe(row) == recipe(members)
            and any(value_of(run, across) != _KEEPS_ALL[across] for run in row)
        ]
        for row in joined:
            row += members
        alone += [] if joined else [members]
    return partial + alone


def _rows_of_runs(runs: Sequence[Run]) -> tuple[list[Group], list[str]]:
    names = [run.path.name or str(run.path) for run in runs]
    if len(set(names)) < len(names):
        names = [str(run.path) for run in runs]
    return [Group(run.model, name, [run]) for run, name in zip(runs, names, strict=True)], []


def _rows(
    runs: Sequence[Run], keys: Iterable[str], across: str = ""
) -> tuple[list[Group], list[str]]:
    groups: list[Group] = []
    notes: list[str] = []
    for of_model in _by(runs, lambda run: run.model):
        found = _by(of_model, lambda run: _settings(run, across))
        if across in _KEEPS_ALL:
            found = _with_whole_runs(found, across)
        for members in found:
            _refuse_equal(members, across)
        settings = [_settings(members[0], across) for members in found]
        differing = _differing(settings)
        model, shown = of_model[0].model, _telling(settings, differing)
        rows = [
            Group(model, " ".join([model, *_pairs(own, shown, keys)]), members)
            for own, members in zip(settings, found, strict=True)
        ]
        order = sorted(
            range(len(rows)),
            key=lambda i: [_sortable(settings[i].get(key, _UNSET)) for key in shown],
        )
        groups += [rows[index] for index in order]
        if len(differing) > len(shown):
            rest = _listed([_short(key, keys) for key in differing if key not in shown])
            notes.append(f"rows of {model} also differ in {rest}")
    return groups, [*notes, *_across_models(groups, keys, across)]


def _across_models(groups: Sequence[Group], keys: Iterable[str], across: str) -> list[str]:
    """What all models have and not all have alike, apart from what their rows' names say."""
    settings = [_settings(group.runs[0], across) for group in groups]
    within = set()
    for rows in _by(groups, lambda group: group.model):
        within |= set(_differing([_settings(row.runs[0], across) for row in rows]))
    everywhere = [key for key in _differing(settings) if all(key in own for own in settings)]
    rest = [key for key in everywhere if key not in within and key != "model.name"]
    return [f"models differ in {_listed([_short(k, keys) for k in rest])}, too"] if rest else []


def _refuse_equal(members: Sequence[Run], across: str) -> None:
    """A run that is counted twice would make the spread over seeds too small."""
    for one, other in itertools.combinations(members, 2):
        first, second = flat(one.config), flat(other.config)
        if all(first.get(key) == second.get(key) for key in (*SEEDS[:2], across)):
            raise UserError(
                f"{one.path} and {other.path} have the same settings and the same seeds: "
                "leave one out, or make every run a row with --rows=runs"
            )


def _differing(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Keys with several values, those that a name should begin with first."""
    keys = dict.fromkeys(key for own in settings for key in own)
    first = settings[0]
    found = [
        key
        for key in keys
        if any(own.get(key, _UNSET) != first.get(key, _UNSET) for own in settings)
    ]

    def rank(key: str) -> int:
        section = key.split(".")[0]
        return _SECTIONS.index(section) if section in _SECTIONS else len(_SECTIONS)

    return sorted(found, key=rank)


def _telling(settings: Sequence[Mapping[str, Any]], differing: Sequence[str]) -> list[str]:
    """What a name says: the settings that tell rows apart, and others while there is room."""
    needed: list[str] = []
    parts = 1
    for key in differing:
        tried = [*needed, key]
        values = [[own.get(name, _UNSET) for name in tried] for own in settings]
        if len(_by(values, list)) > parts:
            needed = tried
            parts = len(_by(values, list))
    others = [key for key in differing if key not in needed]
    shown = {*needed, *others[: max(0, _SHOWN - len(needed))]}
    return [key for key in differing if key in shown]


def _pairs(own: Mapping[str, Any], differing: Sequence[str], keys: Iterable[str]) -> list[str]:
    return [f"{_short(key, keys)}={_value(own.get(key, _UNSET))}" for key in differing]


def _short(key: str, keys: Iterable[str]) -> str:
    """The last parts of a dotted key, as few as no other key ends with."""
    parts = key.split(".")
    for count in range(1, len(parts)):
        ending = "." + ".".join(parts[-count:])
        if sum(f".{other}".endswith(ending) for other in keys) <= 1:
            return ending[1:]
    return key


def _value(value: Any) -> str:
    if value is _UNSET:
        return "unset"
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return value if isinstance(value, str) and value else json.dumps(value, separators=(",", ":"))


def _sortable(value: Any) -> tuple[int, float, str]:
    if isinstance(value, int | float):
        return (0, float(value), "")
    return (1, 0.0, "" if value is _UNSET else str(value))


def _listed(names: Sequence[str], most: int = 8) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def _by(items: Sequence[Any], key: Any) -> list[list[Any]]:
    """Items of equal keys together, in the order of the first of each; keys may be mappings."""
    found: list[tuple[Any, list[Any]]] = []
    for item in items:
        own = key(item)
        for other, members in found:
            if other == own:
                members.append(item)
                break
        else:
            found.append((own, [item]))
    return [members for _, members in found]
