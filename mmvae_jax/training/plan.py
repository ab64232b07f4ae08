"""What a run will do at which step: epochs, lines of metrics, checkpoints and batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from jax.sharding import Mesh

from mmvae_jax import data
from mmvae_jax.types import UserError, nearest

# {group: (its rows, how many of them a batch holds)}
Mix = Mapping[str, tuple[np.ndarray, int]]


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """When what happens; all of it a function of the step, so every start agrees.

    Attributes:
      seed: decides the order of the rows.
      batch_size: rows of a batch, over all devices.
      num_examples: rows of the training split.
      steps_per_epoch: updates that count as one pass over the training split.
      total_steps: updates of the whole run.
      log_every: updates between two lines of metrics.
      checkpoint_every: updates between two checkpoints.
      mix: the set proportions of a batch; empty where it is drawn from all rows alike.
    """

    seed: int
    batch_size: int
    num_examples: int
    steps_per_epoch: int
    total_steps: int
    log_every: int
    checkpoint_every: int
    mix: Mix

    @classmethod
    def from_config(cls, config: Any, split: data.Split) -> Plan:
        """Derives step counts from a config and the training split.

        Raises:
          UserError: there is nothing to train on, or the batches cannot be filled as asked for.
        """
        if not len(split):
            raise UserError("the training split is empty: there is nothing to train on")
        derived = data.steps_per_epoch(len(split), config.batch_size)
        per_epoch = config.training.steps_per_epoch or derived
        return cls(
            seed=config.seed,
            batch_size=config.batch_size,
            num_examples=len(split),
            steps_per_epoch=per_epoch,
            total_steps=config.num_epochs * per_epoch,
            log_every=config.training.log_every,
            checkpoint_every=config.training.checkpoint_every or per_epoch,
            mix=_mix(dict(config.training.batch_mix or {}), config.batch_size, split),
        )

    def is_checkpoint(self, step: int) -> bool:
        """Whether the run is validated and saved after this many steps."""
        return step % self.checkpoint_every == 0 or step == self.total_steps

    def chunk_end(self, step: int) -> int:
        """Where the chunk that begins at `step` ends: at the next line or checkpoint.

        Ends are fixed points of the run, not counted from where a start began: a resumed run logs
        means over the same steps as the uninterrupted one.
        """
        line = (step // self.log_every + 1) * self.log_every
        checkpoint = (step // self.checkpoint_every + 1) * self.checkpoint_every
        return min(line, checkpoint, self.total_steps)

    def fitted(self, model: Any, mesh: Mesh) -> Any:
        """The model for the batches of this plan: told what rows they hold, where that is set.

        On several devices it stays as it is: every device would need rows that others have; so does
        a model that is no `models.MultimodalVAE` and cannot be told.
        """
        if not self.mix or mesh.size > 1 or not hasattr(model, "kinds"):
            return model
        # What rows of the group "other" have varies: they count as whole.
        kinds = tuple(
            (tuple(group in (name, "complete", "other") for name in model.names), count)
            for group, (_, count) in self.mix.items()
        )
        return dataclasses.replace(model, kinds=kinds)

    def indices(self, start: int, stop: int) -> np.ndarray:
        """Rows of the batches of steps start..stop-1, filled up with -1 to [log_every, batch]."""
        rows = np.full((self.log_every, self.batch_size), -1, np.int32)
        if self.mix:
            rows[: stop - start] = data.mixed_batch_indices(
                self.seed, start, stop - start, self.mix
            )
        else:
            rows[: stop - start] = data.batch_indices(
                self.seed,
                start,
                stop - start,
                num_examples=self.num_examples,
                batch_size=self.batch_size,
            )
        return rows


def _mix(counts: Mapping[str, int], batch_size: int, split: data.Split) -> Mix:
    """The rows of each group that a batch holds some of."""
    counts = {name: count for name, count in counts.items() if count}
    if not counts:
        return {}
    key = "config.training.batch_mix"
    total = sum(counts.values())
    if total != batch_size:
        raise UserError(f"{key} makes {total} rows, config.batch_size is {batch_size}; they differ")
    groups = data.groups(split)
    for name in counts:
        if name not in groups:
            there = ", ".join(f"{group} ({len(rows):,} rows)" for group, rows in groups.items())
            raise UserError(
                f"{key}.{name}: the training data have no such rows, they have {there}"
                f"{nearest(name, groups)}"
            )
    return {name: (groups[name], count) for name, count in counts.items()}
