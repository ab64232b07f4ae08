"""What a training step changes, and how it comes into being."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from mmvae_jax.training import random_streams, sharding
from mmvae_jax.types import Array, Batch, UserError, Variables


@flax.struct.dataclass
class TrainState:
    """The state between two steps; replicated over the mesh.

    Attributes:
      step: int32 [], the number of updates made so far.
      variables: `{"params": ...}`, float32, and any other collections of the model.
      opt_state: the optimizer's state for `variables["params"]`.
    """

    step: Array
    variables: Variables
    opt_state: Any


Initializer = Callable[[Batch, Any], TrainState]


def initializer(
    model: Any, optimizer: optax.GradientTransformation, prepare: Callable[[Batch], Batch]
) -> Initializer:
    """A pure function (stored batch, seed) -> the state before the first step."""

    def initialize(batch: Batch, seed: Any) -> TrainState:
        variables = model.init(random_streams.stream(seed, "init"), prepare(batch))
        for path, leaf in jax.tree_util.tree_leaves_with_path(variables["params"]):
            if leaf.dtype != jnp.float32:
                name = jax.tree_util.keystr(path, simple=True, separator="/")
                raise UserError(f"parameter {name} is {leaf.dtype}: parameters must be float32")
        state = TrainState(jnp.zeros([], jnp.int32), variables, optimizer.init(variables["params"]))
        # A leaf made from a Python number is weakly typed, and no longer so after an update or a
        # restore: left alone it would cost a second compilation of the step.
        return jax.tree.map(lambda leaf: leaf.astype(leaf.dtype), state)

    return initialize


def create(initialize: Initializer, batch: Batch, seed: Any, mesh: Mesh) -> TrainState:
    """A new state, made on the devices: its arrays are replicated over the mesh from birth."""
    # XLA on CPU spends 16 s of a core on optimizing the many small random draws of a convolutional
    # model, which run once; unoptimized they compile in 2 s and give the same numbers.
    on_cpu = mesh.devices.flat[0].platform == "cpu"
    options = {"xla_backend_optimization_level": 0} if on_cpu else None
    jitted = jax.jit(initialize, out_shardings=sharding.replicated(mesh), compiler_options=options)
    return jitted(batch, seed)


def abstract(initialize: Initializer, batch: Batch, seed: Any, mesh: Mesh) -> TrainState:
    """Shapes, dtypes and shardings of a state, computing none of it: the target of a restore."""
    target = sharding.replicated(mesh)
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=target),
        jax.eval_shape(initialize, batch, seed),
    )
