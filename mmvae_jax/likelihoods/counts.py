"""Non-negative whole numbers: Poisson and negative binomial."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from mmvae_jax import distributions
from mmvae_jax.distributions import as_float32
from mmvae_jax.likelihoods.base import Likelihood, Parameters, register
from mmvae_jax.types import Array, ArrayLike, PRNGKey


@register("poisson")
@dataclasses.dataclass(frozen=True)
class Poisson(Likelihood):
    """Independent counts; the decoder gives logarithms of rates, beside spec.location.

    With a library size, it gives (the logits of) each column's share of the row's total, and the
    rate is that share times the total of the row that is scored: the likelihood is that of a row
    given its total. What has no total yet, means and draws, gets spec.library_size.
    """

    def parameters(self, outputs: ArrayLike, params: Mapping[str, Array]) -> dict[str, Array]:
        """{"log_rate": [..., *shape]}, at spec.library_size where there is one."""
        del params
        log_rate = self._checked_outputs(outputs)
        if self.spec.location:
            log_rate = log_rate + self.spec.columns("location", log_rate)
        if self.spec.library_size:
            log_rate = jax.nn.log_softmax(log_rate, self._event_axes(log_rate))
            log_rate += math.log(self.spec.library_size)
        return {"log_rate": log_rate}

    def log_prob(self, parameters: Parameters, x: ArrayLike) -> Array:
        """See `Likelihood.log_prob`; NaN for negative numbers."""
        log_rate = parameters["log_rate"]
        x = self._aligned_data(as_float32(x)[0], self._lead(log_rate))
        certain = jnp.zeros_like(x, bool)
        if self.spec.library_size:
            total = jnp.sum(x, self._event_axes(x), keepdims=True)
            size = jnp.maximum(total, 1.0)
            log_rate = log_rate + jnp.log(size) - math.log(self.spec.library_size)
            certain = total == 0  # a row without any counts, given that it has none
        log_density = jnp.where(certain, 0.0, self._log_density(x, log_rate, parameters))
        return self._sum_event(jnp.where(x >= 0, log_density, jnp.nan))

    def mean(self, parameters: Parameters) -> Array:
        """See `Likelihood.mean`."""
        return jnp.exp(parameters["log_rate"])

    def mode(self, parameters: Parameters) -> Array:
        """See `Likelihood.mode`."""
        return jnp.floor(self.mean(parameters)).astype(jnp.int32)

    def sample(self, parameters: Parameters, rng: PRNGKey) -> Array:
        """See `Likelihood.sample`."""
        return jax.random.poisson(rng, self.mean(parameters), dtype=jnp.int32)

    def _log_density(self, x: Array, log_rate: Array, parameters: Parameters) -> Array:
        return distributions.poisson_log_prob(x, log_rate)


@register("negative_binomial")
@dataclasses.dataclass(frozen=True)
class NegativeBinomial(Poisson):
    """The same with variance m + dispersion * m**2 at mean m; each column learns its dispersion."""

    def init_params(self) -> dict[str, Array]:
        """{"log_dispersion": [*shape]}, at first 0."""
        return {"log_dispersion": jnp.zeros(self.spec.shape)}

    def parameters(self, outputs: ArrayLike, params: Mapping[str, Array]) -> dict[str, Array]:
        """{"log_rate": [..., *shape], "dispersion": the same shape}."""
        found = super().parameters(outputs, params)
        dispersion = jnp.exp(params["log_dispersion"].astype(jnp.float32))
        shape = found["log_rate"].shape
        return {**found, "dispersion": jnp.broadcast_to(dispersion, shape)}

    def mode(self, parameters: Parameters) -> Array:
        """See `Likelihood.mode`."""
        share = jnp.maximum(1.0 - parameters["dispersion"], 0.0)
        return jnp.floor(share * self.mean(parameters)).astype(jnp.int32)

    def sample(self, parameters: Parameters, rng: PRNGKey) -> Array:
        """See `Likelihood.sample`."""
        choose, draw = jax.random.split(rng)
        dispersion = parameters["dispersion"]
        rate = self.mean(parameters) * dispersion * jax.random.gamma(choose, 1.0 / dispersion)
        return jax.random.poisson(draw, rate, dtype=jnp.int32)

    def _log_density(self, x: Array, log_rate: Array, parameters: Parameters) -> Array:
        r = 1.0 / parameters["dispersion"]
        return distributions.negative_binomial_log_prob(x, log_rate, r)
