"""What several metrics ask of a model: codes given each of several sources, and their pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from mmvae_jax.data.items import as_data
from mmvae_jax.evaluation import compiling
from mmvae_jax.evaluation.context import Context, stream
from mmvae_jax.types import Array, Batch, ModalitySpec, PRNGKey, Variables


def draws_given(
    model: Any,
    variables: Variables,
    key: PRNGKey,
    batch: Batch,
    sources: Sequence[tuple[str, ...]],
) -> list[tuple[Array, dict[str, Array]]]:
    """One draw given each source: shared codes [1, B, D] and private ones {name: [1, B, W]}.

    Args:
      model: of the contract.
      variables: its Flax collections.
      key: of all draws; each source has a stream of its own.
      batch: a prepared batch.
      sources: the names of what is given.
    """
    return [
        model.sample_posterior(variables, jax.random.fold_in(key, place), batch, given, 1)
        for place, given in enumerate(sources)
    ]


def decoder_mean(
    model: Any, variables: Variables, spec: ModalitySpec, shared: Array, private: Array | None
) -> Array:
    """What one modality's decoder shows of codes [..., D] and [..., W]: [..., *shape]."""
    return model.mean({spec.name: model.decode_one(variables, spec, shared, private)})[spec.name]


def generated(
    context: Context,
    purpose: str,
    given: Sequence[str],
    target: str,
    rows: Any = None,
    private: str = "prior",
) -> np.ndarray:
    """A modality as it is stored, [N, *shape], generated from each row's given ones.

    One sample of the shared code, decoder means (the most probable token, 8 bits of an image).

    Args:
      context: the evaluation.
      purpose: what the draws are for: names their stream, with what is given.
      given: names of modalities.
      target: name of a modality.
      rows: a split; by default all rows that are measured.
      private: where private codes come from: see `conditional` of a model.
    """
    rows = context.rows if rows is None else rows
    spec = next(spec for spec in context.model.specs if spec.name == target)
    seed = context.seed_for(f"{purpose}/{'+'.join(given)}")
    asked = (context.model, tuple(given), target, private, context.variables, seed)
    parts = [
        np.asarray(_conditional(*asked, np.uint32(index), batch))
        for index, batch in enumerate(context.batches(rows))
    ]
    return as_data(np.concatenate(parts)[: len(rows)], spec)


def from_prior(context: Context, purpose: str, count: int) -> dict[str, np.ndarray]:
    """Every modality as it is stored, [count, *shape], of draws from the prior."""
    parts = [jax.device_get(part) for part in means_of_prior(context, f"{purpose}/prior", count)]
    return {
        spec.name: as_data(np.concatenate([part[spec.name] for part in parts])[:count], spec)
        for spec in context.model.specs
    }


def means_of_prior(context: Context, purpose: str, count: int) -> Iterator[dict[str, Array]]:
    """Batches of decoder means {name: [B, *shape]} of ``count`` prior draws, or a few more.

    The purpose names their stream; all metrics share the program.
    """
    size, seed = min(context.settings.batch_size, count), context.seed_for(purpose)
    for index in range(-(-count // size)):
        yield _prior(context.model, size, context.variables, seed, np.uint32(index))


@compiling.jit(static_argnums=(0, 1, 2, 3))
def _conditional(
    model: Any,
    given: tuple[str, ...],
    target: str,
    private: str,
    variables: Variables,
    seed: Array,
    index: Array,
    batch: Batch,
) -> Array:
    """Decoder means [B, *shape] of one batch."""
    drawn = model.conditional(variables, stream(seed, index), batch, given, 1, private=private)
    return drawn[target][0]


@compiling.jit(static_argnums=(0, 1))
def means_given(
    model: Any, source: str, variables: Variables, seed: Array, index: Array, batch: Batch
) -> dict[str, Array]:
    """Every modality generated from one, decoder means {name: [B, *shape]}: one draw per row.

    One sample of the shared code, private codes from their priors. A program of its own, so that
    it is compiled once for all metrics that look at such draws.
    """
    drawn = model.conditional(variables, stream(seed, index), batch, (source,), 1, private="prior")
    return {name: mean[0] for name, mean in drawn.items()}


@compiling.jit(static_argnums=(0, 1))
def _prior(
    model: Any, count: int, variables: Variables, seed: Array, index: Array
) -> dict[str, Array]:
    """Decoder means {name: [count, *shape]} of draws from the prior."""
    return model.generate(variables, stream(seed, index), count)
