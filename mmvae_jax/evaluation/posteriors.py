"""What each modality alone says of the rows of a split, and how far two such posteriors lie apart.

The distance is the 2-Wasserstein one, in closed form. Of independent coordinates of one
location-scale family W_2^2 = |m_1 - m_2|^2 + v |s_1 - s_2|^2, where v is the variance at scale 1:
1 for Gaussians (MEME, Joy et al. 2022, whose print has m_1 + m_2), 2 for Laplace ones. A relaxed
categorical counts as what it tends to when its temperature falls, a draw among the corners of the
simplex, which lie sqrt 2 apart: W_2^2 = sum_c |p_c - q_c|.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial.distance import cdist

from mmvae_jax.evaluation import compiling
from mmvae_jax.evaluation.context import Context
from mmvae_jax.evaluation.result import NotApplicable
from mmvae_jax.types import Array, Batch, Variables

Parameters = Mapping[str, np.ndarray]

_VARIANCES = {"normal": 1.0, "laplace": 2.0}  # of a coordinate whose scale is 1


class Encoded(NamedTuple):
    """Posterior parameters of N rows, arrays [N, ...] of NumPy.

    Attributes:
      alone: {name: of q(z | x_name)}; means over the strata that live.
      joint: of q(z | all that is present), likewise.
      private: {name: of q(w | x_name)}.
      strata: {name: how many strata live given it alone [N]}, of the joint one under "".
      present: {name: bool [N]}.
    """

    alone: dict[str, Parameters]
    joint: Parameters
    private: dict[str, Parameters]
    strata: dict[str, np.ndarray]
    present: dict[str, np.ndarray]

    def is_mixture(self, name: str) -> bool:
        """Whether the posterior given one modality ("": all) has several strata in some row."""
        everything = np.stack(list(self.present.values())).any(0)
        here = self.present[name] if name else everything
        return bool((self.strata[name][here] > 1).any())


class Pair(NamedTuple):
    """Two modalities: their places, the rows [n] that have both, and W_2^2 between them [n, n]."""

    first: int
    second: int
    rows: np.ndarray
    distances: np.ndarray

    @property
    def turned(self) -> Pair:
        """The same, seen from the second modality."""
        return Pair(self.second, self.first, self.rows, self.distances.T)

    def among(self, chosen: np.ndarray) -> Pair:
        """Only those of its rows for which ``chosen``, bool for every row of the data, holds."""
        here = np.flatnonzero(chosen[self.rows])
        return self._replace(rows=self.rows[here], distances=self.distances[np.ix_(here, here)])


def encode(context: Context, rows: Any) -> Encoded:
    """The posteriors of all rows of a split, in one program for all modalities."""
    parts = [
        jax.device_get(_encoded(context.model, context.variables, batch))
        for batch in context.batches(rows)
    ]
    alone, joint, private, strata = jax.tree.map(
        lambda *found: np.concatenate(found)[: len(rows)], *parts
    )
    present = {name: np.asarray(rows.present[name], bool) for name in context.names}
    return Encoded(alone, joint, private, strata, present)


@compiling.jit(static_argnums=0)
def _encoded(model: Any, variables: Variables, batch: Batch) -> tuple[dict, dict, dict, dict]:
    """The first four fields of `Encoded` of one batch. Encoders are the same in every call."""
    found, strata, private = {}, {}, {}
    for name in ("", *(spec.name for spec in model.specs)):
        posterior = model.encode(variables, batch, (name,) if name else None)
        weight = shares(posterior.strata)[..., None]
        found[name] = {key: (weight * p).sum(0) for key, p in posterior.shared.items()}
        strata[name] = posterior.strata.sum(0)
        private = private or dict(posterior.private)
    return {name: found[name] for name in found if name}, found[""], private, strata


def shares(strata: Array) -> Array:
    """What each stratum counts in the mean over those that live, [S, B]: 0 where it does not."""
    alive = strata.astype(jnp.float32)
    return alive / jnp.maximum(alive.sum(0, keepdims=True), 1.0)


def pairs(context: Context, rows: Any) -> list[Pair]:
    """Every two modalities that at least two rows have, with the distances between posteriors.

    `NotApplicable` where there are none, or no such distance.
    """
    if len(context.names) < 2:
        raise NotApplicable("there is one modality only")
    found = encode(context, rows)
    for name in context.names:
        if found.is_mixture(name):
            raise NotApplicable(f"given {name} alone the posterior is a mixture, not one expert")
    made = list(_pairs(context.model.shared, found, context.names))
    if not made:
        raise NotApplicable(f"fewer than two {context.settings.split} rows have two modalities")
    return made


def _pairs(space: Any, found: Encoded, names: tuple[str, ...]) -> Iterator[Pair]:
    for (i, first), (j, second) in itertools.combinations(enumerate(names), 2):
        rows = np.flatnonzero(found.present[first] & found.present[second])
        if len(rows) < 2:
            continue
        one, other = (
            {key: values[rows] for key, values in found.alone[name].items()}
            for name in (first, second)
        )
        yield Pair(i, j, rows, squared_wasserstein(space, one, other))


def squared_wasserstein(space: Any, first: Parameters, second: Parameters) -> np.ndarray:
    """W_2^2 of every posterior of ``first`` from every one of ``second``, float64 [N, N'].

    Equal posteriors are at distance 0 exactly, so that ties stay ties.

    Args:
      space: the latent space, `LatentSpace` or `HybridLatents`.
      first: its parameters, [N, ...] each.
      second: the same of N' others.

    Raises:
      NotApplicable: the family of the space is not known here.
    """
    normals = getattr(space, "normals", space)
    if normals.family not in _VARIANCES:
        raise NotApplicable(f"there is no closed-form distance for the family {normals.family!r}")
    found = _between(first["loc"], second["loc"], "sqeuclidean")
    found += _VARIANCES[normals.family] * _between(first["scale"], second["scale"], "sqeuclidean")
    categorical = getattr(space, "num_logits", 0)
    if categorical:
        p, q = (np.asarray(space.mean(x))[:, :categorical] for x in (first, second))
        found += _between(p, q, "cityblock")
    return found


def _between(x: np.ndarray, y: np.ndarray, metric: str) -> np.ndarray:
    if not x.shape[1]:
        return np.zeros((len(x), len(y)))
    return cdist(np.asarray(x, np.float64), np.asarray(y, np.float64), metric)
