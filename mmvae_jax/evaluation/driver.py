"""Runs every metric on a trained model, writes ``results.json`` and prints a table.

Measured on the validation rows (``config.evaluation.split``), they go to a file of their own.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from tqdm import tqdm

from mmvae_jax.evaluation import likelihood_sets, table
from mmvae_jax.evaluation.context import Context, Settings
from mmvae_jax.evaluation.record import write_results
from mmvae_jax.evaluation.registry import ALL, ON_REQUEST, chosen, measure
from mmvae_jax.evaluation.result import (
    NotApplicable,
    Result,
    load_results,
    results_file,
)
from mmvae_jax.types import Variables

_log = logging.getLogger(__name__)
_SECONDS = "seconds/evaluate"


def check(config: Any, names: Sequence[str]) -> None:
    """Raises `UserError` where the settings ask for modalities that are not among these names.

    Args:
      config: the whole config, or its ``evaluation`` section.
      names: the modalities of the data.
    """
    settings = Settings.from_config(config.get("evaluation", config))
    likelihood_sets.chosen(settings.likelihood_sets, names)


def evaluate(
    model: Any,
    variables: Variables,
    dataset: Any,
    config: Any,
    workdir: str | os.PathLike[str],
    *,
    step: int,
) -> dict[str, Result]:
    """The metrics of one model, on the test rows or on the validation rows.

    The draws come from ``config.evaluation.seed`` alone: the same call gives the same numbers.
    With several processes each computes the same; process 0 writes and prints.

    Args:
      model: any model of the contract (``mmvae_jax.models.base``).
      variables: its Flax collections.
      dataset: see ``mmvae_jax.data.Dataset``.
      config: the whole config, or its ``evaluation`` section.
      workdir: gets ``results.json`` (``results-validation.json``).
      step: the training step of these variables, recorded.

    Returns:
      The results by flat name. What could not be had is in ``results.json`` under "skipped".
    """
    start = time.monotonic()
    check(config, [spec.name for spec in dataset.specs])
    context = Context(
        model=model,
        # To the host and back: replicated arrays of a mesh become arrays of one device.
        variables=jax.tree.map(jnp.asarray, jax.device_get(variables)),
        dataset=dataset,
        settings=Settings.from_config(config.get("evaluation", config)),
        workdir=Path(workdir),
        step=int(step),
    )
    file = context.workdir / results_file(context.settings.split)
    earlier = load_results(file)
    results = dict(measured(context))
    results["step"] = Result(value=float(step), how="training step of the evaluated parameters")
    # Some metrics leave the numbers of the others as they are, if they are of the same step.
    same = _only_some(context) and "step" in earlier and earlier["step"].value == step
    # So does their time leave that of the evaluation which measured the others.
    if not (same and _SECONDS in earlier):
        results[_SECONDS] = Result(value=time.monotonic() - start, how=_timed(context))
    if jax.process_index() == 0:
        write_results(file, results, context.skipped, merge=same)
        print(table.render(results, context.skipped, context.names), flush=True)
    return results


def measured(context: Context) -> table.Measured:
    """The results of the metrics that ``context.settings`` asks for, and why others are missing.

    Raises:
      UserError: there is no metric of such a name.
    """
    results: dict[str, Result] = {}
    metrics = chosen(context.settings.metrics)
    if "quality/inception" in metrics and context.settings.inception:
        _ = context.inception  # a bad file is found before minutes are spent on the others
    silent = None if jax.process_index() == 0 else True
    with tqdm(metrics, desc="evaluate", disable=silent) as progress:
        for name in progress:
            progress.set_postfix_str(name)
            results |= _run(name, context)
    if not _only_some(context):
        reason = f"takes longer: config.evaluation.metrics = {ALL!r} measures it"
        context.skipped.update(dict.fromkeys(sorted(ON_REQUEST - metrics.keys()), reason))
    return table.Measured(results, context.skipped, context.names)


def _only_some(context: Context) -> bool:
    return context.settings.metrics not in ("", ALL)


def _timed(context: Context) -> str:
    """What the time of an evaluation is the time of."""
    if _only_some(context):
        return f"wall clock of {', '.join(chosen(context.settings.metrics))} alone"
    return "wall clock, training of the classifiers included"


def _run(name: str, context: Context) -> dict[str, Result]:
    start = time.monotonic()
    try:
        found = measure(name, context)
    except (NotApplicable, NotImplementedError) as reason:
        context.skipped[name] = str(reason) or "this model cannot answer"
        _log.info("%s skipped: %s", name, context.skipped[name])
        return {}
    _log.info("%s in %.1f s", name, time.monotonic() - start)
    return found
