"""MMVAE: a mixture of experts (Shi, Siddharth, Paige & Torr, NeurIPS 2019).

q(z | X) = (1/M) sum_m q_m(z | x_m), over the modalities that a row has. Codes are drawn from every
expert and every code is decoded into every modality: M**2 decodings, so that what one modality says
must explain all of them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmvae_jax import objectives, rules
from mmvae_jax.models import importance
from mmvae_jax.models.latents import Experts, Parameters, Posterior
from mmvae_jax.models.modalities import common_options, require_shared_only
from mmvae_jax.types import Array, Batch, ModalitySpec, PRNGKey, Variables

ESTIMATORS = (*importance.ESTIMATORS, "elbo")
PRIOR_SCALES = ("fixed", "sum", "softplus")

# Ratios of densities above exp(30) count as that: float32 would overflow, and nothing is learned
# from one draw of such a weight.
LOG_RATIO_CAP = 30.0

RULES = {
    **importance.RULES,
    "model.prior_scale": rules.choice(*PRIOR_SCALES),
    "model.rescale_likelihoods": rules.of_type(bool),
    "objective.estimator": rules.choice(*ESTIMATORS),
}


@dataclasses.dataclass(frozen=True)
class MMVAE(importance.ImportanceWeightedMixture):
    """The model of the paper.

    Attributes (others: see `importance.ImportanceWeightedMixture`):
      estimator: also ``elbo``: importance sampling in place of cross decoding, see
        `importance_sampled_elbo`; ``bound`` has no say there.
      prior_scale: of p(z), whose location is 0: ``fixed`` at 1; learned and kept to the sum D
        (``sum``, as the published code has it for Laplace codes); learned and positive
        (``softplus``). The raw numbers start at 0: scales of 1 and of log 2.
      rescale_likelihoods: multiplies the log-likelihood of each modality by the size of the
        largest one divided by its own (s_m of the published code), beside its lambda.
    """

    prior_scale: str = "fixed"
    rescale_likelihoods: bool = False

    def __post_init__(self) -> None:
        require_shared_only(
            self.specs,
            "modality {name!r} has private_dim = {size}, but MMVAE has no private codes: "
            "use mmvae_plus, or 0",
        )

    def init_extra(self, rng: PRNGKey) -> dict[str, Any]:
        """Raw scales of a learned prior, {"prior": [D]}."""
        del rng
        return {} if self.prior_scale == "fixed" else {"prior": jnp.zeros(self.shared.dim)}

    def shared_prior(self, variables: Variables, batch_shape: tuple[int, ...] = ()) -> Parameters:
        """p(z), [*batch_shape, D]: location 0, scale 1 or learned."""
        prior = self.shared.prior(batch_shape)
        if self.prior_scale == "fixed":
            return prior
        space = dataclasses.replace(self.shared, constraint=self.prior_scale)
        scale = space.scale(variables["params"]["prior"])
        return {"loc": prior["loc"], "scale": jnp.broadcast_to(scale, prior["scale"].shape)}

    @property
    def weights(self) -> np.ndarray:
        """lambda of every modality, times s_m where likelihoods are rescaled, float32 [M]."""
        sizes = np.array([math.prod(spec.shape) for spec in self.specs], np.float32)
        scaling = sizes.max() / sizes if self.rescale_likelihoods else np.ones_like(sizes)
        return super().weights * scaling

    # --- objective ----------------------------------------------------------------------------

    def loss(
        self, variables: Variables, rng: PRNGKey, batch: Batch, step: Array
    ) -> tuple[Array, dict[str, Array]]:
        """Negative bound per example [B], and its parts for the metrics."""
        if self.estimator == "elbo":
            return self.importance_sampled_elbo(variables, rng, batch)
        return super().loss(variables, rng, batch, step)

    def draw(self, variables: Variables, rng: PRNGKey, found: Experts) -> Array:
        """K codes of every expert, [K, S, B, D]."""
        del variables
        return self.shared.sample(found.shared, rng, (self.num_samples,))

    def weigh(
        self, variables: Variables, batch: Batch, density: Experts, draws: Array, present: Array
    ) -> tuple[Array, dict[str, Array]]:
        """log p(z) + sum_m lambda_m log p(x_m | z) - log q(z | X), [K, S, B], and terms."""
        every = np.ones((len(self.specs), len(self.specs)), bool)
        log_px = self.score(variables, batch, draws, {}, every)  # [K, S, M, B]
        log_pz = self.shared.log_prob(self.shared_prior(variables), draws)
        log_qz = self.shared_log_prob(Posterior(density.shared, present, {}), draws)
        weighted = (self.weights[None, None, :, None] * log_px).sum(-2)
        log_w = weighted + self.beta * (log_pz - log_qz)
        terms = self._log_px_terms(objectives.strata_mean(log_px.mean(0), present))
        terms["kl/shared"] = objectives.strata_mean((log_qz - log_pz).mean(0), present)
        return log_w, terms

    def scale_cotangents(self, draws: Array, weights: Array) -> Array:
        """Multiplies what flows back into each draw by its weight [K, S, B] (DReG)."""
        return objectives.scale_cotangent(draws, weights)

    def importance_sampled_elbo(
        self, variables: Variables, rng: PRNGKey, batch: Batch
    ) -> tuple[Array, dict[str, Array]]:
        """The ELBO whose decoders see their own modality's codes alone; mean over K draws.

        (1/M) sum_r [ sum_d rho_rd lambda_d log p(x_d | z_d) - beta KL(q_r || p) ], z_d ~ q_d. What
        expert r says of x_d is z_d's likelihood times the weight rho_rd = q_r(z_d) / q_d(z_d);
        only its numerator has a gradient, for the parameters of q_r (rho_rr = 1). Sums and means
        are over the present modalities; log rho is capped at `LOG_RATIO_CAP`.
        """
        present = self.present(batch)
        shared = self.experts(variables, batch).shared
        z = self.shared.sample(shared, rng, (self.num_samples,))
        itself = np.eye(len(self.specs), dtype=bool)
        log_px = self.score(variables, batch, z, {}, itself).sum(-3)  # [K, D, B]

        constant = jax.lax.stop_gradient(z)
        log_own = jax.lax.stop_gradient(self.shared.log_prob(shared, z))
        log_ratio = self.strata_log_prob(shared, constant) - log_own[None]  # [R, K, D, B]
        log_ratio = jnp.where(itself[:, None, :, None], 0.0, log_ratio)
        ratio = jnp.exp(jnp.minimum(log_ratio, LOG_RATIO_CAP))
        explained = ratio * (self.weights[None, :, None] * log_px)[None]
        explained = jnp.where(present[None, None], explained, 0.0).sum(-2).mean(1)  # [R, B]

        kl = self.shared.kl(shared, self.shared_prior(variables))
        bound = objectives.strata_mean(explained - self.beta * kl, present)
        terms = self._log_px_terms(log_px.mean(0))
        return -bound, {"elbo": bound, **terms, "kl/shared": objectives.strata_mean(kl, present)}

    def _log_px_terms(self, log_px: Array) -> dict[str, Array]:
        """[M, B] as terms by name."""
        return {f"log_px/{name}": log_px[index] for index, name in enumerate(self.names)}


def from_config(
    model: Mapping[str, Any], objective: Mapping[str, Any], specs: tuple[ModalitySpec, ...]
) -> MMVAE:
    """Builds the model from the sections ``model`` and ``objective`` of a config."""
    return MMVAE(
        specs=specs,
        **common_options(model),
        prior_scale=model["prior_scale"],
        rescale_likelihoods=model["rescale_likelihoods"],
        num_samples=objective["num_samples"],
        beta=objective["beta"],
        estimator=objective["estimator"],
        bound=objective["bound"],
    )
