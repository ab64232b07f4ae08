"""One optimizer step, and chunks of many that the host dispatches without waiting.

A chunk has any number of steps (up to the next checkpoint, the last one, the first after a resume)
and one shape: all chunks of a run share one trace and one compiled program, and equal steps give
equal bits.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from mmvae_jax.training import random_streams, sharding
from mmvae_jax.training.state import TrainState
from mmvae_jax.types import Array, Batch, PRNGKey

Prepare = Callable[[Batch], Batch]
Augment = Callable[[Batch, Array, Array], Batch]


class Report(NamedTuple):
    """What one step tells.

    Attributes:
      terms: `loss` and the model's terms, each the float32 weighted mean over the global batch;
        for a term named `<quantity>/<modality>`, over the rows that have the modality.
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


class _Inputs(NamedTuple):
    piece: Any  # what batches are taken from
    first: Array  # steps of the chunk before this piece, int32 []
    seed: Array


class _Carry(NamedTuple):
    steps: Array
    state: TrainState
    halted: Array
    sums: dict[str, Array]
    last: Report


def unchanged(batch: Batch, seed: Array, step: Array) -> Batch:
    """No augmentation."""
    del seed, step
    return batch


def weighted_mean(values: Array, weight: Array) -> Array:
    """sum(weight * values) / sum(weight) over the batch axis; 0 where all weights are 0.

    Rows of weight 0 do not count whatever they hold, NaN included.
    """
    total = jnp.sum(jnp.where(weight > 0, weight * values, 0.0))
    return total / jnp.maximum(jnp.sum(weight), jnp.finfo(jnp.float32).tiny)


def _weight_of(term: str, batch: Batch) -> Array:
    """The weights [B] of a term's mean: those of the rows that have the modality it ends in."""
    present = batch["present"].get(term.rpartition("/")[2])
    return batch["weight"] if present is None else jnp.where(present, batch["weight"], 0.0)


def training_step(
    model: Any,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    batch: Batch,
    rng: PRNGKey,
) -> tuple[TrainState, Report]:
    """One update on a prepared batch, to be used only where the report says that it is finite."""

    def batch_loss(params: Any) -> tuple[Array, dict[str, Array]]:
        variables = {**state.variables, "params": params}
        loss, terms = model.loss(variables, rng, batch, state.step)
        terms = {name: weighted_mean(term, _weight_of(name, batch)) for name, term in terms.items()}
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
    return TrainState(state.step + 1, variables, opt_state), Report(terms, finite, finite_gradients)


def _finite_leaves(tree: Any) -> Array:
    """Whether each leaf is finite, bool [number of leaves]."""
    flags = jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)])
    # Else XLA inlines the conjunction of all leaves into the update of every single one, and the
    # compiled step is four times as large and as long in the making.
    return jax.lax.optimization_barrier(flags)


# (state, halted, pieces, seed) -> ...: see `make_chunk`.
Chunk = Callable[
    [TrainState, Array, Iterable[tuple[Any, int]], Any], tuple[TrainState, Array, Summary]
]


def make_chunk(
    model: Any,
    optimizer: optax.GradientTransformation,
    batch: Callable[[Any, Array], Batch],
    prepare: Prepare,
    mesh: Mesh,
    *,
    augment: Augment = unchanged,
    looped: bool | None = None,
) -> Chunk:
    """The function `chunk(state, halted, pieces, seed)`.

    It makes the updates of all pieces, which are (inputs, number of steps) and have one shape, and
    returns the state, `halted` and a `Summary`, without waiting for any of it. A step that is not
    finite sets `halted`, and what is halted changes no more: the next chunk can be dispatched
    before this one's summary is read. The state is donated.

    Args:
      model: the model.
      optimizer: from `optimizer.make`.
      batch: (inputs, number of a step in the piece) -> the batch as it is stored; see `feeds`.
      prepare: `mmvae_jax.models.prepare`.
      mesh: from `sharding.data_mesh`.
      augment: (prepared batch, seed, step) -> the batch to learn from.
      looped: whether the steps are a `while_loop` inside one program, or calls of a program of
        one step. Default: a loop except on CPU, where XLA brings convolutions into a form with a
        fast kernel only outside of loops (jax-ml/jax#12868): the gradient of a 3x3 kernel took
        85 times as long inside one.
    """
    if looped is None:
        looped = mesh.devices.flat[0].platform != "cpu"
    # Jitted so that finding the shapes of its report and running it share one trace of the model.
    step = jax.jit(functools.partial(training_step, model, optimizer), inline=True)
    compiled = functools.partial(jax.jit, donate_argnums=0, out_shardings=sharding.replicated(mesh))
    parts = _Parts(step, batch, prepare, augment, mesh)
    begin, finish = compiled(parts.begin), compiled(parts.finish)
    advance = (_loop if looped else _calls)(parts, compiled)

    def chunk(state, halted, pieces, seed):
        carry, first = None, 0
        for piece, num_steps in pieces:
            inputs = _Inputs(piece, np.int32(first), seed)
            carry = begin(state, halted, inputs) if carry is None else carry
            carry = advance(carry, inputs, num_steps)
            first += num_steps
        return finish(carry)

    return chunk


@dataclasses.dataclass(frozen=True, eq=False)
class _Parts:
    """Beginning, one step, and end of a chunk, each a function that can be compiled."""

    step: Callable[[TrainState, Batch, PRNGKey], tuple[TrainState, Report]]
    batch: Callable[[Any, Array], Batch]
    prepare: Prepare
    augment: Augment
    mesh: Mesh

    def begin(self, state: TrainState, halted: Array, inputs: _Inputs) -> _Carry:
        """Nothing done yet; the shapes of the report are found without running the model."""
        nothing = _Carry(jnp.zeros([], jnp.int32), state, halted, {}, None)
        report = jax.eval_shape(lambda: self._next(nothing, inputs)[1])
        empty = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), report)
        return nothing._replace(sums=empty.terms, last=empty)

    def advance(self, carry: _Carry, inputs: _Inputs) -> _Carry:
        """One more step, which counts only if it is finite and all before it were."""
        updated, report = self._next(carry, inputs)
        good = report.finite & ~carry.halted
        added = {n: total + report.terms[n] for n, total in carry.sums.items()}
        state, sums = _choose(good, (updated, added), (carry.state, carry.sums))
        return _Carry(
            steps=carry.steps + good.astype(jnp.int32),
            state=state,
            halted=~good,
            sums=sums,
            last=_choose(carry.halted, carry.last, report),
        )

    def finish(self, carry: _Carry) -> tuple[TrainState, Array, Summary]:
        """The state, and what the chunk tells."""
        count = jnp.maximum(carry.steps, 1).astype(jnp.float32)
        terms = {name: total / count for name, total in carry.sums.items()}
        return carry.state, carry.halted, Summary(carry.steps, terms, carry.last)

    def _next(self, carry: _Carry, inputs: _Inputs) -> tuple[TrainState, Report]:
        step = carry.state.step
        batch = self.prepare(self.batch(inputs.piece, carry.steps - inputs.first))
        batch = self.augment(batch, inputs.seed, step)
        key = random_streams.at_step(random_streams.stream(inputs.seed, "training"), step)
        return self.step(carry.state, sharding.split_batch(batch, self.mesh), key)


# (carry, inputs, number of steps) -> the carry after the steps of one piece.
_Advance = Callable[[_Carry, _Inputs, int], _Carry]


def _loop(parts: _Parts, compiled: Any) -> _Advance:
    """All steps of a piece in one program; their number is a traced value."""

    @compiled
    def program(carry: _Carry, inputs: _Inputs, num_steps: Array) -> _Carry:
        return jax.lax.while_loop(
            lambda carry: (carry.steps < inputs.first + num_steps) & ~carry.halted,
            lambda carry: parts.advance(carry, inputs),
            carry,
        )

    return lambda carry, inputs, num_steps: program(carry, inputs, np.int32(num_steps))


def _calls(parts: _Parts, compiled: Any) -> _Advance:
    """A program of one step, dispatched once a step."""
    program = compiled(parts.advance)

    def advance(carry: _Carry, inputs: _Inputs, num_steps: int) -> _Carry:
        for _ in range(num_steps):
            carry = program(carry, inputs)
        return carry

    return advance


def _choose(condition: Array, yes: Any, no: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)
