"""MMVAE+: mixture of experts with private subspaces (Palumbo, Daunhawer & Vogt, ICLR 2023).

Every modality's expert is a stratum. A stratum's shared codes are decoded into its own modality
with its own private codes, and into every other one with draws from an auxiliary prior of that
target, so that nothing private can carry what is shared (App. B, and Lemma 2).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mmvae_jax import experts, objectives, rules
from mmvae_jax.models import importance
from mmvae_jax.models.latents import Experts, Parameters
from mmvae_jax.models.modalities import common_options
from mmvae_jax.types import Array, Batch, ModalitySpec, PRNGKey, UserError, Variables

POSTERIORS = ("paper", "code")
AUXILIARY_SCALES = ("sum", "free", "fixed")
CROSS_PRIVATE = ("auxiliary", "own")

RULES = {
    **importance.RULES,
    "model.auxiliary_scale": rules.choice(*AUXILIARY_SCALES),
    "model.auxiliary_init": rules.real(0.0, above=True),
    "objective.posterior": rules.choice(*POSTERIORS),
    "objective.cross_private": rules.choice(*CROSS_PRIVATE),
}


class Codes(NamedTuple):
    """Posterior draws: ``shared`` [K, S, B, D]; ``private`` {name: [K, B, W]} of that source."""

    shared: Array
    private: dict[str, Array]


@dataclasses.dataclass(frozen=True)
class MMVAEPlus(importance.ImportanceWeightedMixture):
    """The model of the paper, with the choices of its published code as options.

    Attributes (others: see `importance.ImportanceWeightedMixture`):
      posterior: ``paper`` (mixture over pairs of shared and private densities) or ``code`` (mixture
        over shared densities, times the source's private density).
      auxiliary_scale: scales of the auxiliary priors: ``sum`` (learned, their sum kept at W, as the
        code), ``free`` (learned and positive, as the paper says), ``fixed`` at 1.
      auxiliary_init: where ``free`` auxiliary scales start. The published code starts at 1. A small
        start tells the decoders from the first step which codes are another modality's; starting
        at 1, they learn to tell it from u, ignore w for such codes, and draws lose their variety.
      cross_private: what decodes other sources' codes: ``auxiliary`` priors, or the target's
        ``own`` private posterior (the ablation that opens the shortcut).
    """

    posterior: str = "paper"
    auxiliary_scale: str = "sum"
    auxiliary_init: float = 1.0
    cross_private: str = "auxiliary"

    def __post_init__(self) -> None:
        dims = {spec.private_dim for spec in self.specs}
        if self.posterior == "paper" and len(dims) > 1:
            raise UserError(
                "objective.posterior: 'paper' compares private codes across modalities and needs "
                f"one private_dim for all, got {sorted(dims)}; use 'code'"
            )

    def init_extra(self, rng: PRNGKey) -> dict[str, Any]:
        """Auxiliary prior scales, raw, {"auxiliary": {name: [W]}}: see ``auxiliary_init``."""
        del rng
        if self.auxiliary_scale == "fixed" or self.cross_private == "own":
            return {}
        # softplus(log(exp(s) - 1)) = s, and softmax of equal numbers is uniform: scales of 1.
        free = self.auxiliary_scale == "free"
        start = math.log(math.expm1(self.auxiliary_init)) if free else 0.0
        return {
            "auxiliary": {
                spec.name: jnp.full(spec.private_dim, start)
                for spec in self.specs
                if spec.private_dim
            }
        }

    def auxiliary_prior(self, variables: Variables, spec: ModalitySpec) -> Parameters:
        """p_psi(w~) of one target modality: location 0, scale [W]."""
        space = self.private_space(spec)
        if self.auxiliary_scale == "fixed":
            return space.prior()
        raw = variables["params"]["auxiliary"][spec.name]
        constraint = "sum" if self.auxiliary_scale == "sum" else "softplus"
        scale = dataclasses.replace(space, constraint=constraint).scale(raw)
        return {"loc": jnp.zeros_like(scale), "scale": scale}

    # --- objective ----------------------------------------------------------------------------

    def draw(
        self, variables: Variables, rng: PRNGKey, found: Experts
    ) -> tuple[Codes, dict[str, Array]]:
        """Posterior draws, and those that decode other sources' shared codes."""
        codes = self.sample_codes(rng, found)
        return codes, self.sample_auxiliary(variables, rng, found, codes)

    def weigh(
        self,
        variables: Variables,
        batch: Batch,
        density: Experts,
        draws: tuple[Codes, dict[str, Array]],
        present: Array,
    ) -> tuple[Array, dict[str, Array]]:
        """log-weights [K, S, B] of the draws, and terms [B]: see `log_weight`."""
        return self.log_weight(variables, batch, density, *draws, present)

    def scale_cotangents(
        self, draws: tuple[Codes, dict[str, Array]], weights: Array
    ) -> tuple[Codes, dict[str, Array]]:
        """Each posterior draw gets its own weight; draws of auxiliary priors get none (DReG)."""
        codes, auxiliary = draws
        private = {
            spec.name: objectives.scale_cotangent(codes.private[spec.name], weights[:, index])
            for index, spec in enumerate(self.specs)
            if spec.private_dim
        }
        if self.cross_private == "own":  # posterior draws too, once for each source
            auxiliary = {
                name: objectives.scale_cotangent(code, weights) for name, code in auxiliary.items()
            }
        return Codes(objectives.scale_cotangent(codes.shared, weights), private), auxiliary

    def sample_codes(self, rng: PRNGKey, found: Experts) -> Codes:
        """K posterior draws of every source's shared and private code."""
        sizes = (self.num_samples,)
        shared = self.shared.sample(found.shared, jax.random.fold_in(rng, 0), sizes)
        return Codes(shared, self.draw_private(rng, found.private, sizes))

    def sample_auxiliary(
        self, variables: Variables, rng: PRNGKey, found: Experts, codes: Codes
    ) -> dict[str, Array]:
        """Private codes that decode other sources' shared codes, {target: [K, S, B, W]}."""
        shape = codes.shared.shape[:3]
        draws = {}
        for index, spec in enumerate(self.specs):
            if not spec.private_dim:
                continue
            if self.cross_private == "own":
                draws[spec.name] = jnp.broadcast_to(
                    codes.private[spec.name][:, None], (*shape, spec.private_dim)
                )
            else:
                key = jax.random.fold_in(rng, len(self.specs) + index + 1)
                prior = self.auxiliary_prior(variables, spec)
                draws[spec.name] = self.private_space(spec).sample(prior, key, shape)
        return draws

    def log_weight(
        self,
        variables: Variables,
        batch: Batch,
        density: Experts,
        codes: Codes,
        auxiliary: Mapping[str, Array],
        present: Array,
    ) -> tuple[Array, dict[str, Array]]:
        """log-weights [K, S, B] of sources' draws, and terms [B] averaged over draws and sources.

        Entries of absent sources hold anything finite.
        """
        log_px, terms = 0.0, {}
        for index, spec in enumerate(self.specs):
            private = None
            if spec.private_dim:
                own = codes.private[spec.name]
                private = auxiliary[spec.name].at[:, index].set(own)
            log_px_n = self.log_px(variables, batch, spec, codes.shared, private)
            log_px_n = jnp.where(present[index][None, None], log_px_n, 0.0)
            log_px += spec.weight * log_px_n
            terms[f"log_px/{spec.name}"] = objectives.strata_mean(log_px_n.mean(0), present)
        log_p, log_q, kl = self._prior_and_posterior(density, codes, present)
        return log_px + self.beta * (log_p - log_q), {**terms, **kl}

    def _prior_and_posterior(
        self, density: Experts, codes: Codes, present: Array
    ) -> tuple[Array, Array, dict[str, Array]]:
        """log p(u, w) and log q(u, w | X), each [K, S, B], and the KL terms of the metrics [B]."""
        log_qu = self.strata_log_prob(density.shared, codes.shared)  # [R, K, S, B]
        alive = jnp.broadcast_to(present[:, None, None], log_qu.shape)
        log_mixture = experts.mixture_log_prob(log_qu, alive)
        log_pu = self.shared.prior_log_prob(codes.shared)
        kl = {"kl/shared": objectives.strata_mean((log_mixture - log_pu).mean(0), present)}

        log_pw, log_qw = [], []
        for index, spec in enumerate(self.specs):
            if not spec.private_dim:
                log_pw.append(jnp.zeros_like(log_pu[:, 0]))
                log_qw.append(jnp.zeros_like(log_pu[:, 0]))
                continue
            space, code = self.private_space(spec), codes.private[spec.name]
            log_pw.append(space.prior_log_prob(code))
            log_qw.append(space.log_prob(density.private[spec.name], code))
            ratio = jnp.where(present[index], (log_qw[-1] - log_pw[-1]).mean(0), 0.0)
            kl[f"kl/private/{spec.name}"] = ratio
        log_p = log_pu + jnp.stack(log_pw, 1)
        if self.posterior == "code" or not density.private:
            return log_p, log_mixture + jnp.stack(log_qw, 1), kl
        log_pair = log_qu + self._private_by_every_expert(density, codes)
        return log_p, experts.mixture_log_prob(log_pair, alive), kl

    def _private_by_every_expert(self, density: Experts, codes: Codes) -> Array:
        """log q_r(w) of every source's private code under every expert r, [R, K, S, B]."""
        space = self.private_space(self.specs[0])
        names = [spec.name for spec in self.specs]
        stacked = jnp.stack([codes.private[name] for name in names], 1)  # [K, S, B, W]
        every = jax.tree.map(
            lambda *rows: jnp.stack(rows), *(density.private[name] for name in names)
        )
        return jax.vmap(lambda parameters: space.log_prob(parameters, stacked))(every)


def from_config(
    model: Mapping[str, Any], objective: Mapping[str, Any], specs: tuple[ModalitySpec, ...]
) -> MMVAEPlus:
    """Builds the model from the sections ``model`` and ``objective`` of a config."""
    return MMVAEPlus(
        specs=specs,
        **common_options(model),
        auxiliary_scale=model["auxiliary_scale"],
        auxiliary_init=model["auxiliary_init"],
        num_samples=objective["num_samples"],
        beta=objective["beta"],
        estimator=objective["estimator"],
        bound=objective["bound"],
        posterior=objective["posterior"],
        cross_private=objective["cross_private"],
    )
