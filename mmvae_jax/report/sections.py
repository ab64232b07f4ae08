"""The parts of the page that are text and tables: what was run, what came out, on what."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from mmvae_jax.evaluation.result import Result
from mmvae_jax.report.markup import Html, element, join
from mmvae_jax.types import ModalitySpec

# What stands on top, where a run has it, and what it is called there.
HEADLINES = {
    "coherence/conditional/mean": "conditional coherence",
    "coherence/unconditional": "unconditional coherence",
    "classification/accuracy": "accuracy of the label from the other modalities",
    "probe/shared/mean": "linear probe of shared codes",
    "probe/private/mean": "linear probe of private codes",
    "diversity/conditional/mean": "variance between draws for one input",
    "log_likelihood/joint": "log p(x), nats",
    "bound/test": "bound on log p(x), nats",
    "bound/validation": "bound on log p(x), nats",
    "classifier/accuracy/mean": "accuracy of the judging classifiers",
}
_MOST_VALUES = 100  # of an array in the table of results


# --- pieces ---------------------------------------------------------------------------------------


def table(head: Sequence[object], rows: Iterable[Html], label: str) -> Html:
    """A table that scrolls by itself where the screen is narrow."""
    heads = join(element("th", cell, scope="col") for cell in head)
    body = element("tbody", join(rows))
    whole = element("table", element("thead", element("tr", heads)), body, aria_label=label)
    return element("div", whole, class_="wide", tabindex=0)


def row(*cells: object, changed: bool = False) -> Html:
    """A row; numbers that `number` made stand at the right."""
    made = (cell if _is_cell(cell) else element("td", cell) for cell in cells)
    return element("tr", join(made), class_="changed" if changed else None)


def long(content: object) -> Html:
    """A cell whose text breaks."""
    return element("td", content, class_="long")


def number(value: float | None, error: float | None = None) -> str:
    """A value with as many digits as its standard error supports: two of these."""
    if value is None or not math.isfinite(value):
        return "–"
    if error is not None and math.isfinite(error) and error > 0:
        return f"{value:.{decimals(error)}f}"
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def decimals(error: float) -> int:
    """Decimals that show two digits of a standard error, at most 6."""
    return min(6, max(0, 1 - math.floor(math.log10(error))))


def plus_minus(error: object) -> str:
    """The standard error of a scalar, or nothing."""
    if not isinstance(error, int | float) or not math.isfinite(error) or error <= 0:
        return ""
    return f"± {error:.{decimals(error)}f}"


def _figures(content: object) -> Html:
    return element("td", content, class_="number")


def _is_cell(cell: object) -> bool:
    return isinstance(cell, Html) and cell.startswith("<td")


# --- what was trained ----------------------------------------------------------------------------


def facts(
    run: Mapping[str, Any],
    dataset: Any,
    variables: Any,
    results: Mapping[str, Result],
    seed: int,
) -> Html:
    """What was trained on what, how long, and from which seeds; ``seed`` is the evaluation's."""
    config = run.get("config", {})
    sizes = ", ".join(f"{len(split):,} {name}" for name, split in dataset.splits.items())
    classes = f"; {dataset.num_classes} classes" if dataset.num_classes else ""
    count = sum(int(np.size(leaf)) for leaf in jax.tree.leaves(variables.get("params", {})))
    model, objective = config.get("model", {}), config.get("objective", {})
    told = {
        "Data": dataset.provenance or dataset.name,
        "Items": sizes + classes,
        "Model": _model(model, count),
        "Objective": ", ".join(f"{key} = {_value(value)}" for key, value in objective.items()),
        "Training": _training(config, results),
        # Not always the last one that was trained.
        "Checkpoint": f"step {results['step'].value:,.0f}" if "step" in results else "",
        "Seeds": _seeds(config, seed),
    }
    pairs = (join((element("dt", k), element("dd", v))) for k, v in told.items() if v)
    return element("dl", join(pairs))


def modalities(specs: Sequence[ModalitySpec], dataset: Any) -> Html:
    """A line for each modality."""
    train = dataset.splits["train"]
    rows = (
        row(
            spec.name,
            kind(spec),
            spec.likelihood,
            spec.network,
            _figures(spec.private_dim),
            _figures(f"{train.present[spec.name].mean():.0%}" if len(train) else "–"),
        )
        for spec in specs
    )
    head = ("modality", "what it is", "likelihood", "network", "private dimensions", "present")
    return table(head, rows, "modalities")


def kind(spec: ModalitySpec) -> str:
    """A modality in words."""
    size = " × ".join(map(str, spec.shape))
    if spec.num_classes:
        return f"{size} tokens of {spec.num_classes}" if size else f"{spec.num_classes} classes"
    if spec.is_image:
        return f"image, {size}"
    if spec.is_counts:
        return f"{size} counts"
    return f"{size} {'booleans' if spec.dtype == 'bool' else 'numbers'}"


def _model(model: Mapping[str, Any], count: int) -> str:
    said = [str(model.get("name", "")), f"{count:,} parameters"]
    if "shared_dim" in model:
        said.append(f"{model['shared_dim']} shared dimensions")
    if "latent" in model:
        said.append(f"{model['latent']} latents")
    return ", ".join(filter(None, said))


def _training(config: Mapping[str, Any], results: Mapping[str, Result]) -> str:
    said = []
    if "num_epochs" in config:
        count = config["num_epochs"]
        epochs = f"{count} epoch{'' if count == 1 else 's'}"
        said.append(f"{epochs}, batches of {config.get('batch_size')}")
    if "seconds/train" in results:
        said.append(f"{results['seconds/train'].value:,.0f} s")
    return ", ".join(said)


def _seeds(config: Mapping[str, Any], evaluation: int) -> str:
    """Of all that was drawn by chance."""
    known = {
        "training": config.get("seed"),
        "data": config.get("data", {}).get("seed"),
        "evaluation and figures": evaluation,
    }
    return ", ".join(f"{what} {seed}" for what, seed in known.items() if seed is not None)


# --- what came out --------------------------------------------------------------------------------


def headline_numbers(results: Mapping[str, Result]) -> Html | None:
    """The numbers of `HEADLINES` as cards; None where there is none."""
    cards = []
    for name, words in HEADLINES.items():
        result = results.get(name)
        if result is None or result.value is None:
            continue
        error = element("small", " ", plus_minus(result.standard_error))
        value = element("b", number(result.value, result.standard_error), error)
        cards.append(
            element("li", value, element("span", words), element("small", f"n = {result.n:,}"))
        )
    return element("ul", join(cards), class_="numbers") if cards else None


def all_results(results: Mapping[str, Result], names: Sequence[str]) -> list[Html]:
    """The table of single numbers, then one for each array."""
    rows = [
        row(
            element("code", name),
            _figures(number(result.value, result.standard_error)),
            _figures(plus_minus(result.standard_error)),
            _figures(f"{result.n:,}"),
            long(result.how),
        )
        for name, result in results.items()
        if result.values is None
    ]
    head = ("result", "value", "standard error", "n", "how")
    parts = [table(head, rows, "results")]
    for name, result in results.items():
        if result.values is not None:
            parts += [element("h3", element("code", name)), *_array(name, result, names)]
            parts.append(element("p", f"n = {result.n:,}; {result.how}", class_="quiet"))
    return parts


def _array(name: str, result: Result, names: Sequence[str]) -> Iterator[Html]:
    """An array of results: by modality where that is its shape, else its first entries."""
    values = np.asarray(result.values, float)
    errors = np.broadcast_to(
        np.nan if result.standard_error is None else np.asarray(result.standard_error, float),
        values.shape,
    )
    count = len(names)
    if values.shape in ((count, count), (count,)):
        rows = np.atleast_2d(values), np.atleast_2d(errors)
        labels = names if values.ndim == 2 else ("",)
        made = (
            row(label, *(_figures(_with_error(v, e)) for v, e in zip(line, error, strict=True)))
            for label, line, error in zip(labels, *rows, strict=True)
        )
        yield table(("", *names), made, name)
        return
    flat = values.reshape(-1)
    more = ", …" if flat.size > _MOST_VALUES else ""
    shape = " × ".join(map(str, values.shape))
    yield element("p", f"{shape}: " + ", ".join(map(number, flat[:_MOST_VALUES])) + more)


def _with_error(value: float, error: float) -> str:
    return f"{number(value, error)} {plus_minus(float(error))}".strip()


# --- on what, and how -----------------------------------------------------------------------------


def config_tables(run: Mapping[str, Any]) -> list[Html]:
    """The whole config, what differs from the config file's own values first and marked."""
    config = dict(_flat(run.get("config", {})))
    changed = run.get("changed")
    if not isinstance(changed, Mapping):
        said = "What differs from the defaults was not recorded with this run."
        return [element("p", said, class_="quiet"), _config_table(config, {}, None)]
    flags = run.get("flags")
    ours = {key: _original(key, changed) for key in config}
    differs = {key: found for key, found in ours.items() if found is not None}
    if not differs:
        said = "Nothing differs from the defaults of its config file."
        return [element("p", said, class_="quiet"), _folded(config, {}, None)]
    first = {key: config[key] for key in differs}
    said = f"{len(differs)} of {len(config)} values differ from the defaults of its config file:"
    parts = _config_table(first, differs, flags), _folded(config, differs, flags)
    return [element("p", said), *parts]


def _folded(
    config: Mapping[str, Any], differs: Mapping[str, str], flags: Sequence[str] | None
) -> Html:
    whole = _config_table(config, differs, flags)
    return element("details", element("summary", f"All {len(config)} values"), whole)


def _config_table(
    config: Mapping[str, Any], differs: Mapping[str, str], flags: Sequence[str] | None
) -> Html:
    """Keys and values; ``flags`` are the keys that flags set, None where that is not known."""
    rows = (
        row(
            element("code", key),
            long(_value(value)),
            differs.get(key, ""),
            *([] if flags is None else [_set_by(key, flags) if key in differs else ""]),
            changed=key in differs,
        )
        for key, value in config.items()
    )
    head = ["key", "value", "default, where it differs"]
    return table(head if flags is None else [*head, "set by"], rows, "config")


def _set_by(key: str, flags: Sequence[str]) -> str:
    """A flag, or the argument behind the name of the config file."""
    # A mapping that is one value of the config has several keys here.
    return "flag" if any(f"{key}.".startswith(f"{name}.") for name in flags) else "argument"


def _original(key: str, changed: Mapping[str, Any]) -> str | None:
    """The default of a key that was changed, itself or with the mapping that holds it."""
    for name, default in changed.items():
        if key == name:
            return _value(default)
        if key.startswith(f"{name}."):
            inner = dict(_flat(default)) if isinstance(default, Mapping) else {}
            found = inner.get(key.removeprefix(f"{name}."), None)
            return "not set" if found is None else _value(found)
    return None


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and their values, to the last level."""
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _value(value: Any) -> str:
    if isinstance(value, str):
        return value or "“”"
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"({', '.join(map(_value, value))})"
    return str(value) if value != {} else "{}"


def machine(run: Mapping[str, Any]) -> Html:
    """Hardware, versions, the data's fingerprint, the command."""
    lines = {
        **run.get("hardware", {}),
        "data fingerprint": run.get("dataset", {}).get("fingerprint", ""),
        **{f"{name} version": version for name, version in run.get("versions", {}).items()},
    }
    rows = (row(name, long(value)) for name, value in lines.items() if value != "")
    command = run.get("command", "")
    told = [element("pre", element("code", command))] if command else []
    return join([*told, table(("part", "what it was"), rows, "machine and versions")])


def left_out(skipped: Mapping[str, str], what: str) -> Html | None:
    """Names and reasons."""
    if not skipped:
        return None
    rows = (row(element("code", name), long(reason)) for name, reason in skipped.items())
    return table((what, "why"), rows, f"{what} left out")
