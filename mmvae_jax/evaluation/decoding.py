"""What several metrics ask of a model: codes given each of several sources, and their pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax

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
