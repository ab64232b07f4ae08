"""mmJSD: the multimodal Jensen-Shannon divergence (Sutter, Daunhawer & Vogt, NeurIPS 2020).

q(z | X) is the even mixture of the experts of the modalities that a row has and of the prior,
regularised by the divergence of these components from their weighted geometric mean, the dynamic
prior. The objective is no lower bound on log p(X).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from mmvae_jax import objectives
from mmvae_jax.models import mixtures
from mmvae_jax.models.latents import Parameters
from mmvae_jax.models.modalities import common_options
from mmvae_jax.types import Array, Batch, ModalitySpec, Variables

RULES = dict(mixtures.RULES)


@dataclasses.dataclass(frozen=True)
class MMJSD(mixtures.MixtureVAE):
    """E log p(X | z) - beta (JS + beta_style sum_m KL_m), z from the experts and the prior.

    Not a lower bound on log p(X), even with beta, beta_style and lambda of 1: the dynamic prior is
    not the prior that codes are generated from, and depends on X itself. Its metric is therefore
    called ``objective``; compare models by their importance-weighted bound.

    As published, 1 / (M + 1) of what is decoded comes from the prior and says nothing of the row.
    The prior is a component in training alone: the posterior for evaluation and use is the mixture
    of the present experts.

    Where ``chunks`` deals a row to a modality that it lacks, the next one that it has stands in
    (in order, the first after the last); a row without any has the prior.
    """

    objective_name: ClassVar[str] = "objective"

    def strata(
        self, variables: Variables, batch: Batch, shared: Parameters, present: Array
    ) -> tuple[Parameters, Array]:
        """The present experts, without the prior."""
        del variables, batch
        return shared, present

    def mixture(self, shared: Parameters, present: Array) -> mixtures.Mixture:
        """The experts and, last, the prior; the divergence is the Jensen-Shannon divergence."""
        standard = self.shared.prior((1, present.shape[1]))
        components = jax.tree.map(lambda e, p: jnp.concatenate([e, p]), shared, standard)
        alive = jnp.concatenate([present, jnp.ones_like(present[:1])])
        divergence = self.jensen_shannon(components, alive)
        chosen = stand_ins(alive)
        components = jax.tree.map(
            lambda x: jnp.take_along_axis(x, chosen[..., None], axis=0), components
        )
        return mixtures.Mixture(components, alive, divergence)

    def dynamic_prior(self, components: Parameters, alive: Array) -> Parameters:
        """f [B, D]: the geometric mean of the living components [S, B, D], evenly weighted.

        Precision sum_k w_k T_k and mean sum_k w_k T_k mu_k over it: the product of Gaussians whose
        precisions are multiplied by w_k = 1 / number of living components.
        """
        count = alive.sum(0).astype(jnp.float32)
        scale = components["scale"] * jnp.sqrt(count)[None, :, None]
        return self.shared.product({"loc": components["loc"], "scale": scale}, alive, prior=False)

    def jensen_shannon(self, components: Parameters, alive: Array) -> Array:
        """sum_k w_k KL(q_k || f), [B], over the living components [S, B, D]."""
        kl = self.shared.kl(components, self.dynamic_prior(components, alive))
        return objectives.strata_mean(kl, alive)


def stand_ins(alive: Array) -> Array:
    """Which component a row dealt to component k takes, int [S, B]: k, or the next that lives.

    The last component, the prior, always lives; a row with nothing else takes it.
    """
    modalities = alive.shape[0] - 1
    order = (np.arange(modalities)[:, None] + np.arange(modalities)[None]) % modalities
    nearest = jnp.argmax(alive[:-1][order], axis=1)  # [M, B]: steps to the next that lives
    chosen = (nearest + np.arange(modalities)[:, None]) % modalities
    chosen = jnp.where(alive[:-1].any(0)[None], chosen, modalities)
    return jnp.concatenate([chosen, jnp.full_like(chosen[:1], modalities)])


def from_config(
    model: Mapping[str, Any], objective: Mapping[str, Any], specs: tuple[ModalitySpec, ...]
) -> MMJSD:
    """Builds the model from the sections ``model`` and ``objective`` of a config."""
    return MMJSD(
        specs=specs,
        **common_options(model),
        beta=objective["beta"],
        beta_style=objective["beta_style"],
        sampling=objective["sampling"],
    )
