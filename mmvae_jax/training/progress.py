"""How far a run is, for a person: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TextIO

import tqdm

SECONDS_BETWEEN_LINES = 15.0


class Progress:
    """Shows step, loss and steps per second; a context manager.

    Args:
      total: steps of the whole run.
      initial: steps made before, by an earlier start of the same run.
      shown: False in the processes that stay silent.
      stream: where to show it.
    """

    def __init__(
        self, total: int, initial: int, *, shown: bool = True, stream: TextIO | None = None
    ) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._total, self._step, self._shown = total, initial, shown
        self._bar = None
        if shown and self._stream.isatty():
            self._bar = tqdm.tqdm(
                total=total, initial=initial, unit="step", file=self._stream, dynamic_ncols=True
            )
        # The first line comes soon: it tells that the steps have begun.
        self._next_line = 0.0
        self._since = (time.monotonic(), initial)

    def update(self, step: int, loss: float) -> None:
        """Moves to `step`."""
        if self._bar is not None:
            self._bar.set_postfix(loss=f"{loss:.4g}", refresh=False)
            self._bar.update(step - self._step)
        elif self._shown and (time.monotonic() >= self._next_line or step == self._total):
            self._line(step, loss)
        self._step = step

    def _line(self, step: int, loss: float) -> None:
        now = time.monotonic()
        then, step_then = self._since
        speed = (step - step_then) / max(now - then, 1e-9)
        print(
            f"step {step}/{self._total}  loss {loss:.4g}  {speed:.3g} steps/s",
            file=self._stream,
            flush=True,
        )
        self._since, self._next_line = (now, step), now + SECONDS_BETWEEN_LINES

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()
