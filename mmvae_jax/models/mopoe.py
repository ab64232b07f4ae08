"""MoPoE-VAE: a mixture of products of experts (Sutter, Daunhawer & Vogt, ICLR 2021).

q(z | X) is the even mixture, over the non-empty subsets A of the modalities that a row has, of the
products q_A of their Gaussian experts. Single experts alone would be a mixture of experts, the full
product alone a product of experts.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmvae_jax import experts, objectives, rules
from mmvae_jax.models import mixtures
from mmvae_jax.models.latents import Parameters
from mmvae_jax.models.modalities import common_options
from mmvae_jax.types import Array, Batch, ModalitySpec, UserError, Variables

PRIOR_EXPERTS = ("full", "every", "none")
EXACT_UP_TO = 6  # modalities: 63 subsets
SUBSET_SEED = 0

RULES = {
    **mixtures.RULES,
    "model.prior_expert": rules.choice(*PRIOR_EXPERTS),
    "objective.num_subsets": rules.integer(1),
}


@dataclasses.dataclass(frozen=True)
class MoPoE(mixtures.MixtureVAE):
    """The model of the paper, with what its published code does as options.

    The objective is E log p(X | z) - beta (mean_A KL(q_A || p) + beta_style sum_m KL_m), the KL of
    the mixture bounded by the mean KL of its components; with beta, beta_style and lambda of 1 a
    lower bound on log p(X). (With ``chunks``, a row's draw is from one component and its KL from
    all: a bound in the mean over the places that the row may have in a batch.)

    A row's mixture has the subsets whose members are all present, equally weighted. A subset that
    lacks members is stood in for, where ``chunks`` deals a row to it, by the product of those that
    there are, or of all present modalities where there are none.

    Attributes (others: see `mixtures.MixtureVAE`):
      prior_expert: which products have N(0, I) among their factors: ``full``, as published, the
        product of all modalities, which for a row that lacks some is the product of all that it
        has, and for a posterior given some, of all that are given (so a single modality's posterior
        has it when that modality is all there is); ``every``; ``none``.
      num_subsets: how many subsets the mixture has above 6 modalities: the singletons, the full
        set and others drawn once and for all with a fixed seed (a size uniformly, then a subset
        of that size). Up to 6 modalities there are all 2**M - 1.
    """

    prior_expert: str = "full"
    num_subsets: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        subset_table(len(self.specs), self.num_subsets)

    @property
    def subsets(self) -> np.ndarray:
        """The members of every subset, bool [S, M]; the full set is the last."""
        return subset_table(len(self.specs), self.num_subsets)

    def strata(
        self, variables: Variables, batch: Batch, shared: Parameters, present: Array
    ) -> tuple[Parameters, Array]:
        """The products of all subsets [S, B, D] and whether a row has them [S, B]."""
        del variables, batch
        return self.products(shared, present), self.alive(present)

    def mixture(self, shared: Parameters, present: Array) -> mixtures.Mixture:
        """All products; the divergence is the mean of the living ones' KLs from the prior."""
        products, alive = self.products(shared, present), self.alive(present)
        kl = objectives.strata_mean(self.shared.prior_kl(products), alive)
        return mixtures.Mixture(products, alive, kl)

    def alive(self, present: Array) -> Array:
        """Which subsets form a row's mixture, bool [S, B], from ``present`` [M, B].

        Those whose members are all present. The last, the full set, stands for all present
        modalities in rows where no other subset is exactly these (they may not have been drawn).
        """
        proper = self.subsets[:-1, :, None]
        complete = (~proper | present[None]).all(1)
        is_all_present = (proper == present[None]).all(1).any(0)
        return jnp.concatenate([complete, (present.any(0) & ~is_all_present)[None]])

    def products(self, shared: Parameters, present: Array) -> Parameters:
        """q_A of every subset [S, B, D], or its stand-in's; N(0, I) where nothing is present."""
        members = self.subsets[..., None] & present[None]  # [S, M, B]
        members = jnp.where(members.any(1, keepdims=True), members, present[None])
        if self.prior_expert == "full":
            prior = (members == present[None]).all(1, keepdims=True)
        else:
            prior = jnp.full_like(members[:, :1], self.prior_expert == "every")
        standard = self.shared.prior((1, present.shape[1]))
        factors = jax.tree.map(lambda e, p: jnp.concatenate([e, p]), shared, standard)
        product = functools.partial(self.shared.product, factors, prior=False)
        return jax.vmap(product)(jnp.concatenate([members, prior], 1))


@functools.cache
def subset_table(num_modalities: int, num_subsets: int) -> np.ndarray:
    """The subsets of a mixture, bool [S, M]: all up to 6 modalities, else ``num_subsets`` of them.

    Singletons first, the full set last.
    """
    if num_modalities <= EXACT_UP_TO or num_subsets >= 2**num_modalities - 1:
        return experts.subsets(num_modalities)
    singletons = np.eye(num_modalities, dtype=bool)
    if num_subsets <= num_modalities:
        raise UserError(
            f"config.objective.num_subsets = {num_subsets}: must be at least "
            f"{num_modalities + 1}, for {num_modalities} single modalities and all together"
        )
    generator, drawn = np.random.default_rng(SUBSET_SEED), set()
    while len(drawn) < num_subsets - num_modalities - 1:
        size = generator.integers(2, num_modalities)
        members = generator.choice(num_modalities, size, replace=False)
        drawn.add(tuple(sorted(members.tolist())))
    others = np.zeros((len(drawn), num_modalities), bool)
    for row, members in zip(others, sorted(drawn, key=lambda m: (len(m), m)), strict=True):
        row[list(members)] = True
    return np.concatenate([singletons, others, np.ones((1, num_modalities), bool)])


def from_config(
    model: Mapping[str, Any], objective: Mapping[str, Any], specs: tuple[ModalitySpec, ...]
) -> MoPoE:
    """Builds the model from the sections ``model`` and ``objective`` of a config."""
    return MoPoE(
        specs=specs,
        **common_options(model),
        prior_expert=model["prior_expert"],
        num_subsets=objective["num_subsets"],
        beta=objective["beta"],
        beta_style=objective["beta_style"],
        sampling=objective["sampling"],
    )
