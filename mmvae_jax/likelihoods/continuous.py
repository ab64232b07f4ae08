"""Pixels and real-valued vectors: Bernoulli, normal, Laplace."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmvae_jax import distributions
from mmvae_jax.distributions import SCALE_FLOOR, as_float32
from mmvae_jax.likelihoods.base import Likelihood, Parameters, register
from mmvae_jax.types import Array, ArrayLike, PRNGKey, UserError


@register("bernoulli")
@dataclasses.dataclass(frozen=True)
class Bernoulli(Likelihood):
    """Independent binary pixels; the decoder gives logits.

    Grey levels in [0, 1] are accepted as targets, as is usual; the result is then minus the
    cross-entropy, which is not a normalised density.
    """

    def log_prob(self, parameters: Parameters, x: ArrayLike) -> Array:
        """See `Likelihood.log_prob`."""
        (logits,) = as_float32(parameters["logits"])
        x = self._aligned_real_data(x, self._lead(logits))
        # In one axis: XLA's CPU loops over [28, 28, 1] take four times as long as over [784].
        x, logits = self._flat(x), self._flat(logits)
        return jnp.sum(x * logits - distributions.softplus(logits), -1)

    def mean(self, parameters: Parameters) -> Array:
        """See `Likelihood.mean`."""
        return jax.nn.sigmoid(parameters["logits"])

    def mode(self, parameters: Parameters) -> Array:
        """See `Likelihood.mode`."""
        return (parameters["logits"] > 0.0).astype(jnp.float32)

    def sample(self, parameters: Parameters, rng: PRNGKey) -> Array:
        """See `Likelihood.sample`."""
        return jax.random.bernoulli(rng, self.mean(parameters)).astype(jnp.float32)


@dataclasses.dataclass(frozen=True)
class _LocationScale(Likelihood):
    """The decoder gives the location; one scale for the modality, fixed or learned.

    A learned scale is exp(log_scale) + SCALE_FLOOR and starts at spec.likelihood_scale. Where the
    spec has locations and scales by column, these parameters are those of (x - location) / scale;
    data, log-likelihoods (with the Jacobian), means, modes and draws are x's.
    """

    def __post_init__(self) -> None:
        smallest = SCALE_FLOOR if self.spec.learn_likelihood_scale else 0.0
        if not (
            self.spec.likelihood_scale > smallest and math.isfinite(self.spec.likelihood_scale)
        ):
            raise UserError(
                f"modality {self.spec.name!r}: likelihood_scale must be finite and above "
                f"{smallest:g}, got {self.spec.likelihood_scale}"
            )

    def init_params(self) -> dict[str, Array]:
        """{"log_scale": scalar} where the scale is learned, else {}."""
        if not self.spec.learn_likelihood_scale:
            return {}
        return {
            "log_scale": jnp.asarray(
                math.log(self.spec.likelihood_scale - SCALE_FLOOR), jnp.float32
            )
        }

    def parameters(self, outputs: ArrayLike, params: Mapping[str, Array]) -> dict[str, Array]:
        """{"loc": [..., *shape], "scale": [..., 1, ..., 1]}: one scale for all event axes."""
        loc = self._checked_outputs(outputs)
        if self.spec.learn_likelihood_scale:
            scale = jnp.exp(params["log_scale"].astype(jnp.float32)) + SCALE_FLOOR
        else:
            scale = jnp.asarray(self.spec.likelihood_scale, jnp.float32)
        shape = self._lead(loc) + (1,) * len(self.spec.shape)
        return {"loc": loc, "scale": jnp.broadcast_to(scale, shape)}

    def log_prob(self, parameters: Parameters, x: ArrayLike) -> Array:
        """See `Likelihood.log_prob`."""
        loc, scale = parameters["loc"], parameters["scale"]
        x = self.spec.standardised(self._aligned_real_data(x, self._lead(loc)))
        jacobian = -float(np.sum(np.log(self.spec.scale or 1.0)))
        return self._sum_event(self._log_density(x, loc, scale)) + jacobian

    def mean(self, parameters: Parameters) -> Array:
        """See `Likelihood.mean`."""
        return self.spec.in_data_units(parameters["loc"])

    def sample(self, parameters: Parameters, rng: PRNGKey) -> Array:
        """See `Likelihood.sample`."""
        loc, scale = parameters["loc"], parameters["scale"]
        return self.spec.in_data_units(loc + scale * self._noise(rng, loc.shape, loc.dtype))

    def _log_density(self, x: Array, loc: Array, scale: Array) -> Array:
        """Elementwise, in standardised units."""
        raise NotImplementedError

    def _noise(self, rng: PRNGKey, shape: tuple[int, ...], dtype: Any) -> Array:
        """Draws at location 0 and scale 1."""
        raise NotImplementedError


@register("normal")
@dataclasses.dataclass(frozen=True)
class Normal(_LocationScale):
    """Independent Gaussians; the scale is a standard deviation."""

    def _log_density(self, x: Array, loc: Array, scale: Array) -> Array:
        return distributions.normal_log_prob(x, loc, scale)

    def _noise(self, rng: PRNGKey, shape: tuple[int, ...], dtype: Any) -> Array:
        return jax.random.normal(rng, shape, dtype)


@register("laplace")
@dataclasses.dataclass(frozen=True)
class Laplace(_LocationScale):
    """Independent Laplace variables; the standard deviation is sqrt(2) times the scale."""

    def _log_density(self, x: Array, loc: Array, scale: Array) -> Array:
        return distributions.laplace_log_prob(x, loc, scale)

    def _noise(self, rng: PRNGKey, shape: tuple[int, ...], dtype: Any) -> Array:
        return jax.random.laplace(rng, shape, dtype)
