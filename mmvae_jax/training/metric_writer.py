"""Metrics of a run: `metrics.jsonl`, one JSON object a line, and TensorBoard events beside it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmvae_jax.training import workdir as workdirs

FILE = "metrics.jsonl"


class MetricWriter:
    """Appends a line per logged step; a context manager.

    Opening it drops what lies beyond `step`, the step that the run continues from: those steps are
    made and logged again, and no step shall appear twice. A line cut short by a kill goes too.

    Args:
      workdir: the run's folder.
      step: the step that the run continues from; 0 for a new one.
      enabled: False in the processes that write nothing.
    """

    def __init__(self, workdir: str | Path, step: int, enabled: bool = True) -> None:
        self._enabled = enabled
        if not enabled:
            return
        import tensorboardX  # Not needed, and not paid for, by the other processes.

        path = Path(workdir) / FILE
        if path.exists():
            kept = [line for line in read(workdir) if line["step"] <= step]
            workdirs.write_atomically(path, "".join(_encode(line) for line in kept))
        self._file = path.open("a", encoding="utf-8")
        self._events = tensorboardX.SummaryWriter(str(workdir), purge_step=step + 1)

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Logs one step's metrics; the line is in the file when this returns."""
        if not self._enabled:
            return
        self._file.write(_encode({"step": step, **metrics}))
        self._file.flush()
        for name, value in metrics.items():
            if math.isfinite(value):
                self._events.add_scalar(name, value, step)

    def __enter__(self) -> MetricWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._enabled:
            self._file.close()
            self._events.close()


def read(workdir: str | Path) -> list[dict[str, Any]]:
    """The logged lines in order; lines that are not whole JSON objects are left out."""
    path = Path(workdir) / FILE
    if not path.exists():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        if isinstance(line, dict) and isinstance(line.get("step"), int):
            lines.append(line)
    return lines


def _encode(line: Mapping[str, Any]) -> str:
    # JSON has no NaN or infinity.
    plain = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in line.items()
    }
    return json.dumps(plain, allow_nan=False) + "\n"
