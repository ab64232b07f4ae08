"""Mixtures of experts trained on importance-weighted bounds: what MMVAE and MMVAE+ share.

Every present modality's expert is a stratum: K codes are drawn from each, and each is weighed
under the mixture of all (Shi et al. 2019). The two models differ in what is drawn beside the
shared code and in how a draw is decoded.
"""

from __future__ import annotations

import abc
import dataclasses
from typing import Any

import jax

from mmvae_jax import objectives, rules
from mmvae_jax.models.base import MultimodalVAE
from mmvae_jax.models.latents import Experts, Parameters
from mmvae_jax.types import Array, Batch, PRNGKey, Variables

ESTIMATORS = ("iwae", "stl", "dreg")
BOUNDS = ("looser", "tighter")

RULES = {
    "objective.num_samples": rules.integer(1),
    "objective.beta": rules.real(0.0),
    "objective.estimator": rules.choice(*ESTIMATORS),
    "objective.bound": rules.choice(*BOUNDS),
}


@dataclasses.dataclass(frozen=True)
class ImportanceWeightedMixture(MultimodalVAE):
    """A mixture of experts with its bound and the estimators of that bound's gradient.

    Attributes:
      num_samples: K, draws of every expert.
      beta: factor on log p(z) - log q(z | X), never on likelihoods.
      estimator: gradient of the bound: ``iwae`` (reparameterised), ``stl`` (posterior parameters
        detached in the density), ``dreg`` (doubly reparameterised: squared weights on the way to
        the encoders). The hook of the published ``dreg`` never fires: MMVAE's code runs ``stl``,
        MMVAE+'s runs ``iwae``.
      bound: ``looser`` (mean over experts outside the log) or ``tighter`` (one log-mean-exp over
        samples and experts).
    """

    num_samples: int = 1
    beta: float = 1.0
    estimator: str = "iwae"
    bound: str = "looser"

    @abc.abstractmethod
    def draw(self, variables: Variables, rng: PRNGKey, found: Experts) -> Any:
        """All codes that the bound needs, reparameterised: a pytree."""

    @abc.abstractmethod
    def weigh(
        self, variables: Variables, batch: Batch, density: Experts, draws: Any, present: Array
    ) -> tuple[Array, dict[str, Array]]:
        """log-weights [K, S, B] of the draws under the posterior ``density``, and terms [B].

        Entries of absent experts hold anything finite.
        """

    @abc.abstractmethod
    def scale_cotangents(self, draws: Any, weights: Array) -> Any:
        """Multiplies what flows back into each posterior draw by its weight [K, S, B]."""

    def strata(
        self, variables: Variables, batch: Batch, shared: Parameters, present: Array
    ) -> tuple[Parameters, Array]:
        """A mixture: the present experts themselves."""
        del variables, batch
        return shared, present

    def loss(
        self, variables: Variables, rng: PRNGKey, batch: Batch, step: Array
    ) -> tuple[Array, dict[str, Array]]:
        """Negative bound per example [B], and its parts for the metrics."""
        del step
        present, tighter = self.present(batch), self.bound == "tighter"
        found = self.experts(variables, batch)
        draws = self.draw(variables, rng, found)
        density = found if self.estimator == "iwae" else jax.lax.stop_gradient(found)
        if self.estimator == "dreg":
            constant = jax.lax.stop_gradient(draws)
            log_w, _ = self.weigh(variables, batch, density, constant, present)
            weights = objectives.stratified_weights(log_w, present, tighter=tighter)
            draws = self.scale_cotangents(draws, weights)
        # The bound's own derivative with respect to log_w is the first factor w.
        log_w, terms = self.weigh(variables, batch, density, draws, present)
        bound = objectives.stratified_bound(log_w, present, tighter=tighter)
        return -bound, {"elbo": bound, **terms}
