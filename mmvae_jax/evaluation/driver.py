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
from mmvae_jax.evaluation.registry import ALL, ON_REQUEST, chosen, measure
from mmvae_jax.evaluation.result import (
    NotApplicable,
    Result,
    load_results,
    results_file,
    write_results,
)
from mmvae_jax.types import Variables

_log = logging.getLogger(__name__)


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
    first = jax.process_index() == 0
    results: dict[str, Result] = {}
    metrics = chosen(context.settings.metrics)
    if "quality/inception" in metrics and context.settings.inception:
        _ = context.inception  # a bad file is found before minutes are spent on the others
    with tqdm(metrics, desc="evaluate", disable=None if first else True) as progress:
        for name in progress:
            progress.set_postfix_str(name)
            results |= _run(name, context)
    results["step"] = Result(value=float(step), how="training step of the evaluated parameters")
    results["seconds/evaluate"] = Result(
        value=time.monotonic() - start, how="wall clock, training of the classifiers included"
    )
    only_some = context.settings.metrics not in ("", ALL)
    if not only_some:
        reason = f"takes longer: config.evaluation.metrics = {ALL!r} measures it"
        context.skipped.update(dict.fromkeys(sorted(ON_REQUEST - metrics.keys()), reason))
    if first:
        file = results_file(context.settings.split)
        # Some metrics leave the numbers of the others as they are, if they are of the same step.
        earlier = load_results(context.workdir / file).get("step")
        same = only_some and earlier is not None and earlier.value == step
        write_results(context.workdir / file, results, context.skipped, merge=same)
        print(table.render(results, context.skipped, context.names), flush=True)
    return results


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
