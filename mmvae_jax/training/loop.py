"""The training loop: evaluate, checkpoint, fetch, step, in this order until the steps are made."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import json
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import jax

from mmvae_jax.training import state as states
from mmvae_jax.training import step as steps
from mmvae_jax.training.checkpoints import Checkpoints
from mmvae_jax.training.failure import NonFiniteLoss, describe
from mmvae_jax.training.metric_writer import MetricWriter
from mmvae_jax.training.progress import Progress
from mmvae_jax.training.setup import Setup
from mmvae_jax.training.workdir import locked
from mmvae_jax.types import Variables

Validate = Callable[[Variables, int], Mapping[str, float]]

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class FitResult:
    """What `fit` leaves: the trained state, and how long it took.

    Attributes:
      state: state after the last step.
      seconds: wall time of all starts of this run, compilation and validation included.
      steps: updates made since the very first start.
      data_wait_fraction: share of the time of this start's steps in which they waited for data, at
        most; the first chunk, which waits for compilation, does not count. None: it is all there
        was.
    """

    state: states.TrainState
    seconds: float
    steps: int
    data_wait_fraction: float | None = None


def check(model: Any, dataset: Any, config: Any) -> None:
    """Finds what would stop `fit` before its first step, while nothing has been written.

    Args:
      model: see `fit`.
      dataset: see `fit`.
      config: see `fit`.

    Raises:
      UserError: one line.
    """
    Setup.from_config(model, dataset, config).abstract_state()


def fit(
    model: Any,
    dataset: Any,
    config: Any,
    workdir: str | Path,
    *,
    validate: Validate | None = None,
) -> FitResult:
    """Trains a model, or continues its training from the newest whole checkpoint in `workdir`.

    Process 0 writes metrics; checkpoints are written by all. A run whose steps are all made is
    returned as it is. A second start in the same workdir is refused as long as the first one
    trains.

    Args:
      model: see `mmvae_jax.models` (used here: `names`, `init`, `loss`).
      dataset: a `mmvae_jax.data.Dataset`.
      config: reads `seed`, `batch_size`, `num_epochs`, `optimizer` and `training`.
      workdir: the run's folder (see `workdir.prepare_workdir`).
      validate: called with the variables and the step before each checkpoint, by all processes;
        what it returns is logged, and `bound/validation` (higher is better) decides the best step.

    Raises:
      NonFiniteLoss: the loss, its gradient or a parameter turned non-finite. The state before that
        step is the newest checkpoint then.
      UserError: bad options, a workdir in use, or checkpoints that cannot be continued from.
    """
    setup = Setup.from_config(model, dataset, config)
    run = _Run(setup, Path(workdir), validate)
    with locked(workdir), Checkpoints(workdir, _json_config(config)) as checkpoints:
        restored = checkpoints.restore(setup.abstract_state())
        if restored is None:
            state = setup.new_state()
        else:
            state, meta = restored
            if meta["step"] >= setup.plan.total_steps:
                return FitResult(state, meta["seconds"], meta["step"])
            run.continue_from(meta["seconds"])
            _log.info("continuing from step %d of %d", meta["step"], setup.plan.total_steps)
        state = run.train(state, checkpoints)
        # What the last checkpoint says, so that a finished run tells the same time ever after.
        return FitResult(state, run.seconds_saved, int(state.step), run.stopwatch.share)


@dataclasses.dataclass(frozen=True)
class _Dispatched:
    """A chunk on its way: its steps, and what it will tell."""

    start: int
    stop: int
    summary: steps.Summary


class _Stopwatch:
    """Time between lines of metrics, and how much of it passed in waiting for data.

    Attributes:
      share: of all laps but the first; None as long as there is no other.
    """

    def __init__(self, seconds_waiting: Callable[[], float]) -> None:
        self._seconds_waiting, self._totals, self._laps = seconds_waiting, [0.0, 0.0], 0
        self.share: float | None = None
        self.restart()

    def restart(self) -> None:
        """A new lap begins: what was done since the last one is not training."""
        self._began, self._waited = time.monotonic(), self._seconds_waiting()

    def lap(self) -> tuple[float, float]:
        """(seconds, share of them that was waited); the next lap begins."""
        began, waited = self._began, self._waited
        self.restart()
        seconds, waited = max(self._began - began, 1e-9), self._waited - waited
        if self._laps:
            self._totals = [self._totals[0] + waited, self._totals[1] + seconds]
            self.share = self._totals[0] / self._totals[1]
        self._laps += 1
        return seconds, waited / seconds


class _Run:
    """The host's side of one start of a run: it dispatches chunks and reads their summaries."""

    def __init__(self, setup: Setup, workdir: Path, validate: Validate | None) -> None:
        self._setup, self._plan = setup, setup.plan
        self._workdir, self._validate = workdir, validate
        self._writes = jax.process_index() == 0
        self._began = time.monotonic()
        self.seconds_saved = 0.0

    @property
    def seconds(self) -> float:
        """Wall time of the run, that of earlier starts included."""
        return time.monotonic() - self._began

    def continue_from(self, seconds: float) -> None:
        """Counts the time of earlier starts."""
        self._began -= seconds

    def train(self, state: states.TrainState, checkpoints: Checkpoints) -> states.TrainState:
        """Makes all steps that are left and leaves the last state in a checkpoint."""
        plan, step = self._plan, int(state.step)
        advance, halted = self._setup.advance(), self._setup.not_halted()
        with contextlib.ExitStack() as stack:
            self._writer = stack.enter_context(MetricWriter(self._workdir, step, self._writes))
            self._progress = stack.enter_context(
                Progress(plan.total_steps, step, shown=self._writes)
            )
            waiting: collections.deque[_Dispatched] = collections.deque()
            self.stopwatch = _Stopwatch(lambda: advance.seconds_waiting)
            while step < plan.total_steps:
                stop = plan.chunk_end(step)
                state, halted, summary = advance(state, halted, step, stop)
                waiting.append(_Dispatched(step, stop, summary))
                step = stop
                # One chunk stays in flight while the one before it is read and logged.
                while len(waiting) > (0 if plan.is_checkpoint(step) else 1):
                    metrics = self._read(waiting.popleft(), state, checkpoints)
                if plan.is_checkpoint(step):
                    self._evaluate_and_save(state, step, metrics, checkpoints)
        return state

    def _read(
        self, chunk: _Dispatched, state: states.TrainState, checkpoints: Checkpoints
    ) -> dict[str, float]:
        """Waits for a chunk's summary, logs it, and ends the run if the chunk failed."""
        summary = jax.device_get(chunk.summary)
        seconds, waited = self.stopwatch.lap()
        made = int(summary.steps)
        metrics = {
            "epoch": round((chunk.start + made) / self._plan.steps_per_epoch, 4),
            "examples_per_second": made * self._plan.batch_size / seconds,
            "data_wait_fraction": round(waited, 5),
            **{name: float(value) for name, value in summary.terms.items()},
        }
        if chunk.start + made < chunk.stop:
            self._fail(summary, state, metrics, checkpoints)
        self._progress.update(chunk.stop, metrics["loss"])
        if not self._plan.is_checkpoint(chunk.stop):
            self._writer.write(chunk.stop, metrics)
        return metrics

    def _evaluate_and_save(
        self,
        state: states.TrainState,
        step: int,
        metrics: dict[str, float],
        checkpoints: Checkpoints,
    ) -> None:
        if self._validate is not None:
            measured = self._validate(state.variables, step)
            metrics = {**metrics, **{name: float(value) for name, value in measured.items()}}
        # First the line, then the checkpoint: killed in between, the next start drops the line and
        # makes it again; the other way round it would be missing.
        self._writer.write(step, metrics)
        self.seconds_saved = self.seconds
        checkpoints.save(state, metrics=metrics, seconds=self.seconds_saved)
        self.stopwatch.restart()

    def _fail(
        self,
        summary: steps.Summary,
        state: states.TrainState,
        metrics: dict[str, float],
        checkpoints: Checkpoints,
    ) -> NoReturn:
        """Saves the last good state, which later chunks left as it was, and raises."""
        step = int(state.step)
        if int(summary.steps) > 0:
            self._writer.write(step, metrics)
        checkpoints.save(state, metrics={}, seconds=self.seconds)
        checkpoints.wait()
        terms = {name: float(value) for name, value in summary.last.terms.items()}
        params = state.variables["params"]
        modalities = tuple(self._setup.model.names)
        found = describe(step, terms, summary.last.finite_gradients, params, modalities)
        raise NonFiniteLoss(
            f"{found}; the state before it is checkpoint {step} in {self._workdir}: try a lower "
            "config.optimizer.learning_rate or a config.optimizer.clip_norm in a new workdir"
        )


def _json_config(config: Any) -> dict[str, Any]:
    values = config.to_dict() if hasattr(config, "to_dict") else dict(config)
    return json.loads(json.dumps(values))
