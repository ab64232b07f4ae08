"""Mixtures trained on one draw and a divergence in closed form: what MoPoE and mmJSD share.

The shared code comes from a mixture of Gaussians that experts, and what is made of them, form; a
private code comes from its own modality's posterior and decodes every component's draw. The models
differ in the components and in the divergence that regularises them.
"""

from __future__ import annotations

import abc
import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmvae_jax import objectives, rules
from mmvae_jax.models.base import MultimodalVAE
from mmvae_jax.models.latents import Parameters, require_normal
from mmvae_jax.types import Array, Batch, PRNGKey, Variables

SAMPLING = ("stratified", "chunks")

RULES = {
    "objective.beta": rules.real(0.0),
    "objective.beta_style": rules.real(0.0),
    "objective.sampling": rules.choice(*SAMPLING),
}


class Mixture(NamedTuple):
    """Where shared codes come from.

    Attributes:
      components: parameters [S, B, D]; those of a component that does not live are its stand-in's,
        which takes its place where rows are dealt to components.
      alive: which components a row's mixture has, with equal weights, bool [S, B].
      divergence: what regularises the row's shared code, [B].
    """

    components: Parameters
    alive: Array
    divergence: Array


@dataclasses.dataclass(frozen=True)
class MixtureVAE(MultimodalVAE):
    """E_mixture sum_m lambda_m log p(x_m | z, w_m) - beta (divergence + beta_style sum_m KL_m).

    Attributes:
      beta: factor on the divergence and, with beta_style, on the KLs of private codes.
      beta_style: further factor on the KLs of private codes.
      sampling: ``stratified``: one draw of every living component is decoded, and the expectation
        is their mean; ``chunks``, as published: the batch is cut into contiguous chunks of
        floor(B / S) rows, one for each component, and what remains goes to the last component (all
        of a batch with fewer than S rows); one draw of a row is decoded.
    """

    beta: float = 1.0
    beta_style: float = 1.0
    sampling: str = "stratified"

    objective_name: ClassVar[str] = "elbo"

    def __post_init__(self) -> None:
        require_normal(self.shared.family)

    @abc.abstractmethod
    def mixture(self, shared: Parameters, present: Array) -> Mixture:
        """The mixture of experts [M, B, D] of which ``present`` [M, B] count."""

    def loss(
        self, variables: Variables, rng: PRNGKey, batch: Batch, step: Array
    ) -> tuple[Array, dict[str, Array]]:
        """Negative objective per example [B], and its parts for the metrics."""
        del step
        present = self.present(batch)
        found = self.experts(variables, batch)
        components, alive, divergence = self.mixture(found.shared, present)
        if self.sampling == "chunks":
            components, alive = choose(components), present.any(0)[None]
        z = self.shared.sample(components, jax.random.fold_in(rng, 0))  # [S, B, D]
        style = self._sample_private(rng, found.private, present, 1)
        style = {
            name: jnp.broadcast_to(w, (*z.shape[:2], w.shape[-1])) for name, w in style.items()
        }
        every = np.ones((z.shape[0], len(self.specs)), bool)
        log_px = self.score(variables, batch, z, style, every)  # [S, M, B]
        log_px = objectives.strata_mean(log_px, alive)  # [M, B]

        terms = {f"log_px/{name}": log_px[index] for index, name in enumerate(self.names)}
        terms["kl/shared"] = divergence
        regulariser = divergence
        for index, spec in enumerate(self.specs):
            if spec.private_dim:
                kl = self.private_space(spec).prior_kl(found.private[spec.name])
                kl = jnp.where(present[index], kl, 0.0)
                terms[f"kl/private/{spec.name}"] = kl
                regulariser += self.beta_style * kl
        objective = objectives.elbo(self.weights[:, None] * log_px, regulariser, beta=self.beta)
        return -objective, {self.objective_name: objective, **terms}


def chunk_of_rows(rows: int, components: int) -> np.ndarray:
    """Which component each row of a batch is dealt to, int [B]: contiguous, the rest to the last.

    Chunks have floor(B / S) rows, so a batch of fewer than S rows belongs to the last component.
    """
    size = rows // components
    if size == 0:
        return np.full(rows, components - 1)
    return np.minimum(np.arange(rows) // size, components - 1)


def choose(components: Parameters) -> Parameters:
    """Parameters [1, B, D] of the component that each row of [S, B, D] is dealt to."""
    strata, rows = components["loc"].shape[:2]
    chosen = chunk_of_rows(rows, strata)
    return jax.tree.map(lambda x: x[chosen, np.arange(rows)][None], components)
