"""A run before its first step: what `check`, `fit` and the benchmark have in common."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import optax
from jax.sharding import Mesh

from mmvae_jax import data
from mmvae_jax.models import prepare
from mmvae_jax.training import optimizer as optimizers
from mmvae_jax.training import sharding
from mmvae_jax.training import state as states
from mmvae_jax.training import step as steps
from mmvae_jax.training.plan import Plan
from mmvae_jax.types import Array, Batch

# (state, halted, start, stop) -> the same and the summary of the steps start..stop-1.
Advance = Callable[
    [states.TrainState, Array, int, int], tuple[states.TrainState, Array, steps.Summary]
]


@dataclasses.dataclass(frozen=True, eq=False)
class Setup:
    """A model, its training rows and how it is trained on them; nothing is on a device yet.

    Attributes:
      model: see `mmvae_jax.models` (used here: `init`, `loss`).
      split: the training rows.
      plan: what happens at which step.
      mesh: the devices.
      optimizer: with its schedule over all steps of the plan.
    """

    model: Any
    split: data.Split
    plan: Plan
    mesh: Mesh
    optimizer: optax.GradientTransformation

    @classmethod
    def from_config(cls, model: Any, dataset: Any, config: Any) -> Setup:
        """Reads `seed`, `batch_size`, `num_epochs`, `optimizer` and `training` of a config.

        Raises:
          UserError: there is nothing to train on, or batches or schedule are not possible.
        """
        split = dataset.splits["train"]
        plan = Plan.from_config(config, split)
        mesh = sharding.data_mesh()
        sharding.check_batch_size(plan.batch_size, mesh)
        optimizer = optimizers.make(config.optimizer, plan.total_steps)
        return cls(model, split, plan, mesh, optimizer)

    @property
    def seed(self) -> np.uint32:
        """The seed of parameters and noise."""
        return np.uint32(self.plan.seed)

    def new_state(self) -> states.TrainState:
        """The state before the first step."""
        return states.create(self._initializer, self._first_batch, self.seed, self.mesh)

    def abstract_state(self) -> states.TrainState:
        """Shapes, dtypes and shardings of a state, computing none of it."""
        return states.abstract(self._initializer, self._first_batch, self.seed, self.mesh)

    def not_halted(self) -> Array:
        """The first value of ``halted``: False."""
        return sharding.put_replicated(np.array(False), self.mesh)

    def advance(self) -> Advance:
        """The function that makes steps without waiting for them: see `step.make_chunk`.

        The training split lies on the devices from here on, as it is stored.
        """
        rows = {"x": self.split.x, "present": self.split.present}
        if self.split.label is not None:
            rows["label"] = self.split.label
        rows = sharding.put_replicated(rows, self.mesh)
        model = self.plan.fitted(self.model, self.mesh)
        chunk = steps.make_chunk(model, self.optimizer, prepare, self.mesh)

        def make(
            state: states.TrainState, halted: Array, start: int, stop: int
        ) -> tuple[states.TrainState, Array, steps.Summary]:
            indices = sharding.put_replicated(self.plan.indices(start, stop), self.mesh)
            return chunk(state, halted, rows, indices, stop - start, self.seed)

        return make

    @property
    def _initializer(self) -> states.Initializer:
        return states.initializer(self.model, self.optimizer, prepare)

    @property
    def _first_batch(self) -> Batch:
        return data.take(self.split, self.plan.indices(0, 1)[0])
