"""One optimizer step, and the compiled program that makes many of them.

A chunk is one `while_loop` over rows of batch indices. The number of steps is a traced number, so
chunks of every length (up to the next checkpoint, the last one, the first after a resume) run the
same compiled program: they cost one trace together, and equal steps give equal bits.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from mmvae_jax.training import random_streams, sharding
from mmvae_jax.training.state import TrainState
from mmvae_jax.types import Array, Batch, PRNGKey

Prepare = Callable[[Batch], Batch]


class Report(NamedTuple):
    """What one step tells.

    Attributes:
      terms: `loss` and the model's terms, each the float32 weighted mean over the global batch.
      finite: whether the loss, its gradient and the updated parameters are finite, bool [].
      finite_gradients: the same of each leaf of the gradient, bool [number of leaves].
    """

    terms: dict[str, Array]
    finite: Array
    finite_gradients: Array


class Summary(NamedTuple):
    """What one chunk tells.

    Attributes:
      steps: updates made, int32 [].
      terms: means of `Report.terms` over those updates.
      last: report of the last step tried; the one that failed if the chunk stopped early.
    """

    steps: Array
    terms: dict[str, Array]
    last: Report


class _Carry(NamedTuple):
    steps: Array
    state: TrainState
    halted: Array
    sums: dict[str, Array]
    last: Report


def weighted_mean(values: Array, weight: Array) -> Array:
    """sum(weight * values) / sum(weight) over the batch axis; 0 where all weights are 0.

    Rows of weight 0 do not count whatever they hold, NaN included.
    """
    total = jnp.sum(jnp.where(weight > 0, weight * values, 0.0))
    return total / jnp.maximum(jnp.sum(weight), jnp.finfo(jnp.float32).tiny)


def training_step(
    model: Any,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    batch: Batch,
    rng: PRNGKey,
) -> tuple[TrainState, Report]:
    """One update on a prepared batch. Where anything is not finite the state stays as it was."""

    def batch_loss(params: Any) -> tuple[Array, dict[str, Array]]:
        variables = {**state.variables, "params": params}
        loss, terms = model.loss(variables, rng, batch, state.step)
        terms = {name: weighted_mean(term, batch["weight"]) for name, term in terms.items()}
        loss = weighted_mean(loss, batch["weight"])
        return loss, {**terms, "loss": loss}

    params = state.variables["params"]
    gradients, terms = jax.grad(batch_loss, has_aux=True)(params)
    updates, opt_state = optimizer.update(gradients, state.opt_state, params)
    variables = {**state.variables, "params": optax.apply_updates(params, updates)}
    finite_gradients = _finite_leaves(gradients)
    finite = (
        jnp.isfinite(terms["loss"])
        & jnp.all(finite_gradients)
        & jnp.all(_finite_leaves(variables["params"]))
    )
    updated = TrainState(state.step + 1, variables, opt_state)
    kept = jax.tree.map(lambda new, old: jnp.where(finite, new, old), updated, state)
    return kept, Report(terms, finite, finite_gradients)


def _finite_leaves(tree: Any) -> Array:
    return jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)])


def take(data: Mapping[str, Any], indices: Array) -> dict[str, Any]:
    """Rows of the split on the device as a batch; -1 is padding: row 0 with weight 0."""
    rows = jnp.maximum(indices, 0)
    batch = jax.tree.map(lambda array: array[rows], dict(data))
    return {**batch, "weight": (indices >= 0).astype(jnp.float32)}


def make_chunk(
    model: Any, optimizer: optax.GradientTransformation, prepare: Prepare, mesh: Mesh
) -> Callable[..., tuple[TrainState, Array, Summary]]:
    """The compiled program `chunk(state, halted, data, indices, num_steps, seed)`.

    It makes the first `num_steps` updates of `indices` (int32 [steps, batch]) and returns the
    state, `halted` and a `Summary`. A step that is not finite sets `halted` and ends the loop, and
    a halted chunk does nothing: the next chunk can be dispatched before this one's summary is read.
    The state is donated.
    """
    # Jitted so that finding the shapes of its report and running it share one trace of the model.
    step = jax.jit(functools.partial(training_step, model, optimizer))

    def chunk(
        state: TrainState,
        halted: Array,
        data: Mapping[str, Any],
        indices: Array,
        num_steps: Array,
        seed: Array,
    ) -> tuple[TrainState, Array, Summary]:
        stream = random_streams.stream(seed, "training")

        def step_inputs(state: TrainState, row: Array) -> tuple[TrainState, Batch, PRNGKey]:
            batch = sharding.split_batch(prepare(take(data, indices[row])), mesh)
            return state, batch, random_streams.at_step(stream, state.step)

        def body(carry: _Carry) -> _Carry:
            state, last = step(*step_inputs(carry.state, carry.steps))
            sums = {
                name: total + jnp.where(last.finite, last.terms[name], 0.0)
                for name, total in carry.sums.items()
            }
            steps = carry.steps + last.finite.astype(jnp.int32)
            return _Carry(steps, state, ~last.finite, sums, last)

        def unfinished(carry: _Carry) -> Array:
            return (carry.steps < num_steps) & ~carry.halted

        nothing = jnp.zeros([], jnp.int32)
        shapes = jax.eval_shape(lambda state: step(*step_inputs(state, nothing))[1], state)
        empty = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        done = jax.lax.while_loop(
            unfinished, body, _Carry(nothing, state, halted, empty.terms, empty)
        )
        count = jnp.maximum(done.steps, 1).astype(jnp.float32)
        terms = {name: total / count for name, total in done.sums.items()}
        return done.state, done.halted, Summary(done.steps, terms, done.last)

    return jax.jit(chunk, donate_argnums=0, out_shardings=sharding.replicated(mesh))
