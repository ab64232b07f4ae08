"""Writing ``results.json``: anew, or with what was measured before at the same step."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmvae_jax.evaluation.registry import METRICS
from mmvae_jax.evaluation.result import OF_THE_RUN, Result, read_results
from mmvae_jax.run_files import write_atomically


def write_results(
    path: str | os.PathLike[str],
    results: Mapping[str, Result],
    skipped: Mapping[str, str],
    *,
    merge: bool = False,
) -> None:
    """Replaces ``results.json`` in one move.

    What an earlier file holds is dropped, but for ``seconds/train``. With ``merge`` it is kept,
    except that a metric which was measured again replaces all its earlier numbers and reasons. One
    that could not be measured this time keeps the numbers it has, without a reason beside them.
    """
    path = Path(path)
    earlier = read_results(path)
    reasons = earlier.pop("skipped", {})
    if merge:
        again = {result.metric for result in results.values()} - {""}
        kept = {name: entry for name, entry in earlier.items() if _metric(entry) not in again}
        reasons = {name: why for name, why in reasons.items() if _owner(name) not in again}
    else:
        kept, reasons = {name: e for name, e in earlier.items() if name == OF_THE_RUN}, {}
    content = {**kept, **{name: result.to_json() for name, result in results.items()}}
    there = {*content, *map(_metric, kept.values())}
    found = {**reasons, **skipped}
    content["skipped"] = {name: why for name, why in found.items() if name not in there}
    write_atomically(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def _metric(entry: Any) -> str:
    """The metric that gave an entry, "" where the file does not say."""
    return str(entry.get("metric", "")) if isinstance(entry, Mapping) else ""


def _owner(name: str) -> str:
    """The metric whose reason this is: the longest of their names that this one begins with."""
    metrics = [metric for metric in METRICS if f"{name}/".startswith(f"{metric}/")]
    return max(metrics, key=len, default="")
