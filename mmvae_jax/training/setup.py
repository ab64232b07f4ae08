"""A run before its first step: what `check`, `fit` and the benchmark have in common."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import optax
from jax.sharding import Mesh

from mmvae_jax import data
from mmvae_jax.models import prepare
from mmvae_jax.training import augmentation, feeds, sharding
from mmvae_jax.training import optimizer as optimizers
from mmvae_jax.training import state as states
from mmvae_jax.training import step as steps
from mmvae_jax.training.plan import Plan
from mmvae_jax.types import Array, Batch


class Advance:
    """Makes steps without waiting for them; see `step.make_chunk`."""

    def __init__(self, chunk: steps.Chunk, feed: feeds.Feed, seed: np.uint32) -> None:
        self._chunk, self._feed, self._seed = chunk, feed, seed

    def __call__(
        self, state: states.TrainState, halted: Array, start: int, stop: int
    ) -> tuple[states.TrainState, Array, steps.Summary]:
        """(state, halted) after the steps start..stop-1, and their summary."""
        return self._chunk(state, halted, self._feed.pieces(start, stop), self._seed)

    @property
    def seconds_waiting(self) -> float:
        """How long it has waited for data since it was made."""
        return self._feed.seconds_waiting


@dataclasses.dataclass(frozen=True, eq=False)
class Setup:
    """A model, its training rows and how it is trained on them; nothing is on a device yet.

    Attributes:
      model: see `mmvae_jax.models` (used here: `init`, `loss`).
      split: the training rows.
      plan: what happens at which step.
      mesh: the devices.
      optimizer: with its schedule over all steps of the plan.
      augment: what is done to batches to learn from them.
      road: how the rows come to the devices; see `feeds.make`.
    """

    model: Any
    split: data.Split
    plan: Plan
    mesh: Mesh
    optimizer: optax.GradientTransformation
    augment: steps.Augment
    road: str

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
        return cls(
            model=model,
            split=split,
            plan=plan,
            mesh=mesh,
            optimizer=optimizers.make(config.optimizer, plan.total_steps),
            augment=augmentation.from_config(
                config.training.get("augment", {}), dataset.specs, dataset.redrawn
            ),
            road=config.training.get("data", "auto"),
        )

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
        """What makes steps; where the split goes to the devices, it is there from here on."""
        feed = feeds.make(self.road, self.split, self.plan, self.mesh)
        model = self.plan.fitted(self.model, self.mesh)
        chunk = steps.make_chunk(
            model, self.optimizer, feed.batch, prepare, self.mesh, augment=self.augment
        )
        return Advance(chunk, feed, self.seed)

    @property
    def _initializer(self) -> states.Initializer:
        return states.initializer(self.model, self.optimizer, prepare)

    @property
    def _first_batch(self) -> Batch:
        return data.take(self.split, self.plan.indices(0, 1)[0])
