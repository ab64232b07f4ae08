"""Checkpoints by Orbax, with a checksum of our own and a restore that survives damage.

A checkpoint holds three items: `variables` (all that inference needs), `training` (step and
optimizer state) and `meta`: JSON with the checksum of both, their structure, the metrics of the
step, the seconds trained so far and the config. Orbax makes saves atomic, but does not notice a
flipped byte, and lists a step that was only half deleted when the process died; hence the checksum.
"""

from __future__ import annotations

import hashlib
import logging
import math
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from mmvae_jax.training.state import TrainState
from mmvae_jax.training.workdir import CHECKPOINTS
from mmvae_jax.types import UserError, Variables

BEST_METRIC = "bound/validation"
DAMAGED = "checkpoints_damaged"
# Below every bound; a step that was not validated is the best one only if no step was.
_UNKNOWN = -sys.float_info.max

_log = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoints of a run that is being trained; a context manager, used by all processes.

    Kept are the two latest steps and the best one by `bound/validation` (higher is better).

    Args:
      workdir: the run's folder.
      config: the run's config as JSON values, stored in every checkpoint.
    """

    def __init__(self, workdir: str | Path, config: Mapping[str, Any] | None = None) -> None:
        self.folder = Path(workdir).absolute() / CHECKPOINTS
        self._config = dict(config or {})
        self._manager = _open(self.folder, writable=True)

    def save(
        self, state: TrainState, *, metrics: Mapping[str, float], seconds: float = 0.0
    ) -> None:
        """Saves the state under its step, unless that step is there already.

        The device may go on at once: what is written was copied before this returns.

        Args:
          state: a state in global arrays.
          metrics: the step's metrics; `bound/validation` decides which step is the best.
          seconds: time trained so far, for a later start.
        """
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        items = _items(state)
        score = metrics.get(BEST_METRIC, _UNKNOWN)
        meta = {
            "step": step,
            "seconds": seconds,
            "metrics": {k: float(v) if math.isfinite(v) else None for k, v in metrics.items()},
            "structure": {name: structure(item) for name, item in items.items()},
            "checksum": {name: checksum(item) for name, item in items.items()},
            "config": self._config,
        }
        self._manager.save(
            step,
            args=ocp.args.Composite(
                meta=ocp.args.JsonSave(meta),
                **{name: ocp.args.StandardSave(item) for name, item in items.items()},
            ),
            metrics={"score": float(score) if math.isfinite(score) else _UNKNOWN},
        )

    def restore(self, target: TrainState) -> tuple[TrainState, dict[str, Any]] | None:
        """The newest whole checkpoint and its `meta`; None where there is no checkpoint.

        Damaged ones that are newer are moved to `checkpoints_damaged/` (the run will come to their
        steps again) and the log says why.

        Args:
          target: abstract state (`state.abstract`).

        Raises:
          UserError: every checkpoint is damaged, or they are another model's.
        """
        if not self._manager.all_steps():
            return None
        items, meta, damaged = _newest(self._manager, self.folder, _items(target))
        for step in damaged:
            self._set_aside(step)
        state = TrainState(
            items["training"]["step"], items["variables"], items["training"]["opt_state"]
        )
        return state, meta

    def _set_aside(self, step: int) -> None:
        if jax.process_index() == 0:
            aside = self.folder.parent / DAMAGED
            aside.mkdir(exist_ok=True)
            (self.folder / str(step)).rename(aside / f"{step}-{uuid.uuid4().hex[:8]}")
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("damaged checkpoint set aside")
        self._manager.reload()

    def wait(self) -> None:
        """Returns when the last save is complete on disk."""
        self._manager.wait_until_finished()

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *exception: object) -> None:
        self._manager.close()


def restore_variables(
    workdir: str | Path, target: Variables, step: int | str | None = None
) -> tuple[Variables, int]:
    """A trained model's variables, for evaluation and inference; nothing on disk is changed.

    Args:
      workdir: the run's folder.
      target: abstract variables, such as `jax.eval_shape(model.init, rng, batch)` gives. Leaves
        that name no sharding are put on the first local device.
      step: None for the latest whole checkpoint, "best" for the one with the highest
        `bound/validation`, or a number.

    Returns:
      The variables and the step that they are from.

    Raises:
      UserError: no such checkpoint, it is damaged, or it is another model's.
    """
    folder = Path(workdir).absolute() / CHECKPOINTS
    if not folder.is_dir():
        raise UserError(f"{workdir} holds no checkpoints: train there first, or check --workdir")
    placed = jax.tree.map(_placed, target)
    with _open(folder, writable=False) as manager:
        steps = sorted(manager.all_steps())
        if not steps:
            raise UserError(f"{folder} holds no checkpoint yet: train there first")
        if step is None:
            items, meta, _ = _newest(manager, folder, {"variables": placed})
            return items["variables"], meta["step"]
        wanted = manager.best_step() if step == "best" else step
        if wanted not in steps:
            known = ", ".join(map(str, steps))
            raise UserError(f"{folder} holds no checkpoint of step {step}: it has {known}")
        try:
            items, _ = _restore_step(manager, wanted, {"variables": placed})
        except _Damaged as error:
            raise UserError(
                f"checkpoint {folder / str(wanted)} is damaged ({error}): choose another step"
            ) from error
        return items["variables"], wanted


def checksum(tree: Any) -> str:
    """SHA-256 over paths, dtypes, shapes and bytes of a tree of arrays."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{_name(path)} {_kind(leaf)};".encode())
        digest.update(array.reshape(-1).view(np.uint8))
    return digest.hexdigest()


def structure(tree: Any) -> dict[str, str]:
    """Dtype and shape of every leaf by path, such as {"params/w": "float32[3, 4]"}."""
    return {_name(path): _kind(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


class _Manager(ocp.CheckpointManager):
    """Orbax's manager; a damaged metrics file does not keep it from opening the others."""

    def metrics(self, step: int) -> Any:
        try:
            return super().metrics(step)
        except (OSError, ValueError):
            return None


class _Damaged(Exception):
    """A checkpoint that is not what was saved; says how."""


def _items(state: TrainState) -> dict[str, Any]:
    training = {"step": state.step, "opt_state": state.opt_state}
    return {"variables": state.variables, "training": training}


def _open(folder: Path, *, writable: bool) -> ocp.CheckpointManager:
    policies = ocp.checkpoint_managers
    keep = policies.AnyPreservationPolicy(
        # Not `max_to_keep`: with `best_fn` it would delete the newest step if it is not the best.
        [
            policies.LatestN(2),
            policies.BestN(get_metric_fn=_score, n=1, keep_checkpoints_without_metrics=False),
        ]
    )
    options = ocp.CheckpointManagerOptions(
        preservation_policy=keep,
        best_fn=_score,
        create=writable,
        cleanup_tmp_directories=writable,
        # Not `read_only`, which warns each time: nothing is written unless `save` is called.
        enable_async_checkpointing=writable,
    )
    try:
        return _Manager(folder, options=options)
    except Exception as error:  # Whatever Orbax meets in the files, the reader gets one line.
        raise UserError(f"{folder} cannot be opened: {_first_line(error)}") from error


def _score(metrics: Mapping[str, float]) -> float:
    return metrics["score"]


def _newest(
    manager: ocp.CheckpointManager, folder: Path, targets: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any], list[int]]:
    """Items and meta of the newest whole step, and the damaged steps that are newer."""
    damaged: list[int] = []
    reason = ""
    for step in sorted(manager.all_steps(), reverse=True):
        try:
            items, meta = _restore_step(manager, step, targets)
        except _Damaged as error:
            reason = str(error)
            _log.warning("checkpoint %s is damaged and skipped: %s", folder / str(step), reason)
            damaged.append(step)
        else:
            return items, meta, damaged
    raise UserError(
        f"every checkpoint in {folder} is damaged (the oldest: {reason}): "
        "restore them from a copy, or train in another workdir"
    )


def _restore_step(
    manager: ocp.CheckpointManager, step: int, targets: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    failure, meta, items = None, {}, {}
    try:
        meta = manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore())).meta
        _require_same_structure(meta["structure"], targets)
        restored = manager.restore(
            step,
            args=ocp.args.Composite(
                **{name: ocp.args.StandardRestore(target) for name, target in targets.items()}
            ),
        )
        items = {name: restored[name] for name in targets}
        for name, item in items.items():
            if checksum(item) != meta["checksum"][name]:
                failure = f"the values of {name} are not those that were saved"
    except UserError:
        raise
    except Exception as error:  # Damage shows as anything: OSError, ValueError, KeyError ...
        failure = _first_line(error)
    if jax.process_count() > 1:
        # A step counts as whole only if every process read it, so that all restore the same.
        whole = multihost_utils.process_allgather(np.array(failure is None))
        failure = failure if whole.all() else failure or "another process could not read it"
    if failure is not None:
        raise _Damaged(failure)
    return items, meta


def _require_same_structure(saved: Mapping[str, Any], targets: Mapping[str, Any]) -> None:
    # Orbax casts a wrong dtype silently and words a wrong tree in many lines.
    for item, target in targets.items():
        wanted = structure(target)
        for name in saved[item] | wanted:
            there, here = saved[item].get(name, "absent"), wanted.get(name, "absent")
            if there != here:
                raise UserError(
                    f"the checkpoint is another model's: {item}/{name} is {there} there and "
                    f"{here} here; use the config that it was trained with"
                )


def _placed(leaf: Any) -> jax.ShapeDtypeStruct:
    sharding = getattr(leaf, "sharding", None)
    if sharding is None:
        sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _name(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _kind(leaf: Any) -> str:
    return f"{leaf.dtype}{list(leaf.shape)}"


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
