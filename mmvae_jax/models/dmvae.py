"""DMVAE: private and shared latents, and a product of experts (Lee & Pavlovic 2021).

Every modality has a private code z_p and gives an expert for the shared code z_s; the joint
posterior of z_s is the product of the experts with the prior (Eq. 3). Training sums an ELBO over
modalities i and sources of z_s (Eq. 4): the joint posterior (PoE), the expert of i itself (self),
and that of every other present modality j (cross). The shared space may hold relaxed categoricals,
see ``dmvae_hybrid``; equations are those of the paper on hybrid representations.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmvae_jax import objectives, rules
from mmvae_jax.models.base import MultimodalVAE
from mmvae_jax.models.hybrid_latents import HybridLatents
from mmvae_jax.models.latents import Experts, LatentSpace, Parameters, require_normal
from mmvae_jax.models.modalities import common_options
from mmvae_jax.types import Array, Batch, ModalitySpec, PRNGKey, UserError, Variables

KLS = ("analytic", "sampled")
TC_BLOCKS = ("separate", "joint")


def one_or_each(key: str, value: Any) -> None:
    """A list of numbers of at least 0: one for all modalities, or one for each."""
    if not isinstance(value, list | tuple) or not value:
        rules.fail(key, value, "a list: one number for all modalities, or one for each")
    for number in value:
        rules.real(0.0)(key, number)


RULES = {
    "model.single_expert_prior": rules.of_type(bool),
    "objective.kl": rules.choice(*KLS),
    "objective.beta_tc": one_or_each,
    "objective.tc_blocks": rules.choice(*TC_BLOCKS),
    "objective.poe_reconstruction": rules.of_type(bool),
    "objective.private_kl_weight": rules.real(0.0),
    "objective.pair_weight": rules.real(0.0),
    "objective.balance_patterns": rules.of_type(bool),
}


class Block(NamedTuple):
    """One latent code of every row: its posterior and one draw from it.

    Attributes:
      space: the latent space.
      parameters: of q, [..., B, D].
      code: the draw, [..., B, D].
      rows: bool [..., B], where there is such a posterior.
      num_examples: N, how many training examples have it, [...].
    """

    space: LatentSpace | HybridLatents
    parameters: Parameters
    code: Array
    rows: Array
    num_examples: Array


class KLs(NamedTuple):
    """KL to the prior of every source's shared code [S, B], of every private code [M, B]."""

    shared: Array
    private: Array


@dataclasses.dataclass(frozen=True)
class DMVAE(MultimodalVAE):
    """The model of the paper, with the choices of its published code as options.

    A row with n > 1 present modalities has n (n + 1) terms: what is absent is neither source nor
    target. A row with one has one source, that modality's expert, and one term: its plain ELBO.

    Attributes:
      single_expert_prior: whether z_s given one modality comes from its expert times the prior, or
        from the expert alone (Sec. 4.2, Eq. 4 and the published code); in training and at test
        time alike.
      kl: ``analytic`` (closed form; Concretes have none and are sampled) or ``sampled``
        (log q - log p at the one draw, as the published code).
      beta_tc: beta_i of Eq. 5, one number for all modalities or one for each. Where all are 1 the
        three parts of Eq. 5 are the KL, and are not computed.
      tc_blocks: total correlation of z_s and of z_p, each for itself (``separate``, Eq. 5), or of
        the two as one vector (``joint``, the published code).
      poe_reconstruction: whether PoE terms reconstruct. The published code sets that to 0, which
        leaves their KLs.
      private_kl_weight: kappa, a factor on what regularises private codes; 1 in the paper.
      pair_weight: w, a factor on rows with more than one modality.
      balance_patterns: whether every pattern of presence in a batch counts alike, however many
        rows it has: the batch loss is the sum over patterns of their rows' mean loss.
    """

    single_expert_prior: bool = False
    kl: str = "analytic"
    beta_tc: tuple[float, ...] = (1.0,)
    tc_blocks: str = "separate"
    poe_reconstruction: bool = True
    private_kl_weight: float = 1.0
    pair_weight: float = 1.0
    balance_patterns: bool = False

    def __post_init__(self) -> None:
        if len(self.beta_tc) not in (1, len(self.specs)):
            raise UserError(
                f"objective.beta_tc has {len(self.beta_tc)} numbers for {len(self.specs)} "
                "modalities: give one, or one for each"
            )
        unknown = [spec.name for spec in self.specs if not spec.num_examples]
        if self.weighs_tc and unknown:
            raise UserError(
                "objective.beta_tc: total correlation needs the number of training examples, "
                f"which is not known for {', '.join(unknown)}"
            )

    @property
    def betas(self) -> np.ndarray:
        """beta_i of every modality, float32 [M]."""
        return np.broadcast_to(np.array(self.beta_tc, np.float32), len(self.specs))

    @property
    def weighs_tc(self) -> bool:
        """Whether some beta_i is not 1."""
        return any(beta != 1.0 for beta in self.beta_tc)

    def private_space(self, spec: ModalitySpec) -> LatentSpace:
        """Private codes are Gaussian, whatever the shared space is."""
        return LatentSpace(spec.private_dim, "normal", self.shared.constraint)

    def shared_at(self, step: Array) -> LatentSpace | HybridLatents:
        """The shared space of a training step."""
        del step
        return self.shared

    # --- posteriors of the shared code --------------------------------------------------------

    def strata(
        self, variables: Variables, batch: Batch, shared: Parameters, present: Array
    ) -> tuple[Parameters, Array]:
        """One stratum: q(z_s | what is present)."""
        del variables, batch
        joint = self.joint_posterior(shared, present)
        return jax.tree.map(lambda x: x[None], joint), present.any(0)[None]

    def joint_posterior(self, shared: Parameters, present: Array) -> Parameters:
        """q(z_s | present modalities) [B, D] from experts [M, B, D], Eq. 3."""
        product = self.shared.product(shared, present)
        if self.single_expert_prior:
            return product
        expert = self.shared.product(shared, present, prior=False)
        lone = (present.sum(0) == 1)[:, None]
        return jax.tree.map(lambda one, many: jnp.where(lone, one, many), expert, product)

    def sources(self, shared: Parameters, present: Array) -> tuple[Parameters, Array]:
        """The posteriors of z_s in Eq. 4: the joint one, then q(z_s | x_j) of every modality.

        Returns:
          Parameters [S, B, D] with S = 1 + M, and bool [S, B]: which of them a row has.
        """
        joint = self.joint_posterior(shared, present)
        single = shared
        if self.single_expert_prior:
            single = jax.vmap(self._with_prior)(shared)
        every = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), joint, single)
        return every, self.has_source(present)

    def has_source(self, present: Array) -> Array:
        """Which posteriors of `sources` a row with these modalities [M, B] has: bool [S, B]."""
        return jnp.concatenate([present.sum(0, keepdims=True) > 1, present])

    def _with_prior(self, expert: Parameters) -> Parameters:
        return self.shared.product(jax.tree.map(lambda x: x[None], expert))

    # --- objective ----------------------------------------------------------------------------

    def loss(
        self, variables: Variables, rng: PRNGKey, batch: Batch, step: Array
    ) -> tuple[Array, dict[str, Array]]:
        """Minus Eq. 4 per example [B], and its parts for the metrics."""
        # Rows of weight 0 are padding and enter no estimate over the batch: nothing is present.
        present = self.present(batch) & (batch["weight"] > 0.0)[None]
        found = self.experts(variables, batch)
        shared, private = self.blocks(rng, found, present, self.shared_at(step))
        kl = self.kls(shared, private, present)

        # The terms of Eq. 4, (source s, target i): a source that the row has, a present target.
        terms = shared.rows[:, None] & present[None]  # [S, M, B]
        decoded = terms & self.sees[..., None]
        log_px = self.reconstructions(variables, batch, shared, private)
        log_px = jnp.where(decoded, log_px, 0.0)
        reconstruction = (jnp.asarray(self.weights)[None, :, None] * log_px).sum((0, 1))

        # Every term brings its own KLs: z_s's one per target, z_p's one per source.
        count = terms.astype(jnp.float32)
        regulariser = (count.sum(1) * kl.shared).sum(0)
        regulariser += self.private_kl_weight * (count.sum(0) * kl.private).sum(0)
        if self.weighs_tc:
            regulariser += self.excess_tc(shared, private, count)

        loss = self.row_weights(batch, present) * (regulariser - reconstruction)
        return loss, self.metrics(found, present, log_px, decoded, kl)

    @property
    def sees(self) -> np.ndarray:
        """Which source's codes are decoded into which modality, bool [S, M]."""
        table = np.ones((1 + len(self.specs), len(self.specs)), bool)
        table[0] = self.poe_reconstruction
        return table

    def blocks(
        self,
        rng: PRNGKey,
        found: Experts,
        present: Array,
        space: LatentSpace | HybridLatents,
    ) -> tuple[Block, dict[str, Block]]:
        """One draw of z_s from every source [S, B, D], and of every z_p, the same for all terms.

        N of a private code and of q(z_s | x_j) is that of the modality; of the joint posterior it
        is the largest of these.
        """
        sizes = [spec.num_examples for spec in self.specs]
        parameters, rows = self.sources(found.shared, present)
        code = space.sample(parameters, jax.random.fold_in(rng, 0))
        num_examples = jnp.array([max(sizes), *sizes], jnp.float32)
        private = {}
        for index, spec in enumerate(self.specs):
            if spec.private_dim:
                own, q = self.private_space(spec), found.private[spec.name]
                draw = own.sample(q, jax.random.fold_in(rng, index + 1))
                private[spec.name] = Block(own, q, draw, present[index], num_examples[1 + index])
        return Block(space, parameters, code, rows, num_examples), private

    def reconstructions(
        self, variables: Variables, batch: Batch, shared: Block, private: Mapping[str, Block]
    ) -> Array:
        """log p(x_i | z_pi, z_s of source s), [S, M, B]."""
        sources = shared.code.shape[0]
        codes = {
            name: jnp.broadcast_to(block.code[None], (sources, *block.code.shape))
            for name, block in private.items()
        }
        return self.score(variables, batch, shared.code, codes, self.sees, self.has_source)

    def kls(self, shared: Block, private: Mapping[str, Block], present: Array) -> KLs:
        """KL of every posterior to its prior; 0 where there is none."""
        rows = [
            self.kl_to_prior(private[spec.name]) if spec.private_dim else jnp.zeros(row.shape)
            for spec, row in zip(self.specs, present, strict=True)
        ]
        return KLs(self.kl_to_prior(shared), jnp.stack(rows))

    def kl_to_prior(self, block: Block) -> Array:
        """KL(q || p), in closed form or log q - log p at the draw: [..., B]."""
        space, q = block.space, block.parameters
        if self.kl == "analytic" and isinstance(space, LatentSpace):
            kl = space.prior_kl(q)
        else:
            kl = space.log_prob(q, block.code) - space.prior_log_prob(block.code)
        return jnp.where(block.rows, kl, 0.0)

    def excess_tc(self, shared: Block, private: Mapping[str, Block], count: Array) -> Array:
        """What Eq. 5 adds to the KLs of all terms together, [B].

        MI + beta_i TC + dimension-wise KL is KL + (beta_i - 1) TC. ``count`` [S, M, B] is 1 for
        the terms that a row has.
        """
        count = (self.betas - 1.0)[None, :, None] * count
        log_q = jax.vmap(lambda q, z: pairwise(shared.space, q, z))(shared.parameters, shared.code)
        own = {name: pairwise(b.space, b.parameters, b.code) for name, b in private.items()}
        excess = jnp.zeros(count.shape[-1])
        if self.tc_blocks == "separate":
            tc = jax.vmap(total_correlation)(log_q, shared.rows, shared.num_examples)
            excess += (count.sum(1) * tc).sum(0)
            for index, name in enumerate(self.names):
                if name in private:
                    block = private[name]
                    tc = total_correlation(own[name], block.rows, block.num_examples)
                    excess += self.private_kl_weight * count[:, index].sum(0) * tc
            return excess
        for index, name in enumerate(self.names):
            log_q_both, rows, sizes = log_q, shared.rows, shared.num_examples
            if name in private:  # [z_p, z_s] as one vector, of the examples that have both
                repeated = jnp.broadcast_to(
                    own[name][None], (*log_q.shape[:-1], own[name].shape[-1])
                )
                log_q_both = jnp.concatenate([repeated, log_q], axis=-1)
                rows = rows & private[name].rows[None]
                sizes = jnp.minimum(sizes, private[name].num_examples)
            tc = jax.vmap(total_correlation)(log_q_both, rows, sizes)
            excess += (count[:, index] * tc).sum(0)
        return excess

    def row_weights(self, batch: Batch, present: Array) -> Array:
        """The factor on each row's loss, [B]: see ``pair_weight`` and ``balance_patterns``."""
        factor = jnp.where(present.sum(0) > 1, self.pair_weight, 1.0)
        if not self.balance_patterns:
            return factor
        alike = (present[:, :, None] == present[:, None, :]).all(0)  # [B, B]: of one pattern
        weight = batch["weight"]
        of_pattern = jnp.where(alike, weight[None], 0.0).sum(1)
        return factor * weight.sum() / jnp.where(of_pattern > 0.0, of_pattern, 1.0)

    # --- metrics ------------------------------------------------------------------------------

    def metrics(
        self, found: Experts, present: Array, log_px: Array, decoded: Array, kl: KLs
    ) -> dict[str, Array]:
        """Terms [B], without lambda, beta, kappa and w.

        ``elbo`` is a lower bound on log p(x) of what a row has, averaged over the sources that are
        decoded. ``log_px_cross/<name>`` is the mean, over the batch's rows with several modalities,
        of what other modalities' codes say of this one; ``kl/shared/<name>`` that of one expert.
        """
        del found
        bound = log_px.sum(1) - kl.shared - kl.private.sum(0)[None]
        terms = {
            "elbo": objectives.strata_mean(bound, decoded.any(1)),
            "kl/shared": jnp.where(present.sum(0) > 1, kl.shared[0], kl.shared[1:].sum(0)),
        }
        for index, spec in enumerate(self.specs):
            of_it, here = log_px[:, index], decoded[:, index]  # [S, B]
            terms[f"log_px/{spec.name}"] = objectives.strata_mean(of_it, here)
            others = np.delete(np.arange(1, len(log_px)), index)
            cross = objectives.strata_mean(
                of_it[others].reshape(-1, 1), here[others].reshape(-1, 1)
            )
            terms[f"log_px_cross/{spec.name}"] = jnp.broadcast_to(cross, present[index].shape)
            terms[f"kl/shared/{spec.name}"] = kl.shared[1 + index]
            if spec.private_dim:
                terms[f"kl/private/{spec.name}"] = kl.private[index]
        return terms


def pairwise(space: LatentSpace | HybridLatents, q: Parameters, code: Array) -> Array:
    """log q(z_i^f | x_j) at [i, j, f], for codes [B, D] and posteriors [B, D]: [B, B, F]."""
    return space.factor_log_prob(q, code[:, None])


def total_correlation(log_q_pairwise: Array, rows: Array, num_examples: Array) -> Array:
    """Estimate of log q(z) - sum_f log q(z_f) per row, by minibatch weighted sampling: [B].

    Args:
      log_q_pairwise: [B, B, F].
      rows: bool [B]; the others enter no sum.
      num_examples: N.
    """
    no_prior = jnp.zeros(log_q_pairwise.shape[1:])  # which the total correlation does not have
    return objectives.minibatch_kl_decomposition(
        log_q_pairwise, no_prior, num_examples, present=rows
    )[1]


def options(model: Mapping[str, Any], objective: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes that RULES has keys for, from the sections of a config."""
    require_normal(model["latent"])
    return {
        "single_expert_prior": model["single_expert_prior"],
        "kl": objective["kl"],
        "beta_tc": tuple(float(beta) for beta in objective["beta_tc"]),
        "tc_blocks": objective["tc_blocks"],
        "poe_reconstruction": objective["poe_reconstruction"],
        "private_kl_weight": objective["private_kl_weight"],
        "pair_weight": objective["pair_weight"],
        "balance_patterns": objective["balance_patterns"],
    }


def from_config(
    model: Mapping[str, Any], objective: Mapping[str, Any], specs: tuple[ModalitySpec, ...]
) -> DMVAE:
    """Builds the model from the sections ``model`` and ``objective`` of a config."""
    return DMVAE(specs=specs, **common_options(model), **options(model, objective))
