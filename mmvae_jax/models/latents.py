"""Latent spaces: how an encoder's raw output becomes a posterior, and how that is sampled.

A posterior is a dictionary of arrays whose leading axes are free; codes carry theirs in front of
them, ``[K, S, B, D]`` against ``[S, B, D]`` say, and ranks are aligned here, explicitly.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from mmvae_jax import distributions, experts
from mmvae_jax.types import Array, PRNGKey, UserError

Parameters = dict[str, Array]

FAMILIES = ("normal", "laplace")
CONSTRAINTS = ("softplus", "sum")


class Experts(NamedTuple):
    """What the encoders say: shared posteriors [M, B, D] and private ones by name [B, W]."""

    shared: Parameters
    private: dict[str, Parameters]


class Posterior(NamedTuple):
    """q(z | observed): ``shared`` [S, B, D], which ``strata`` live [S, B], ``private`` [B, W]."""

    shared: Parameters
    strata: Array
    private: dict[str, Parameters]


@dataclasses.dataclass(frozen=True)
class LatentSpace:
    """A product of ``dim`` independent normal or Laplace coordinates with a standard prior.

    Attributes:
      dim: number of coordinates D.
      family: ``normal`` or ``laplace``.
      constraint: how a raw number becomes a scale: ``softplus`` (free and positive) or ``sum``
        (D softmax: the scales sum to D, as in the published MMVAE and MMVAE+ code).
    """

    dim: int
    family: str = "normal"
    constraint: str = "softplus"

    @property
    def num_outputs(self) -> int:
        """How many raw numbers an encoder must give."""
        return 2 * self.dim

    @property
    def size(self) -> int:
        """Length of a code, and of what `features` makes of it."""
        return self.dim

    @property
    def num_factors(self) -> int:
        """Independent factors of the prior: the last axis of `factor_log_prob`."""
        return self.dim

    def scale(self, raw: Array) -> Array:
        """Raw numbers [..., D] to scales [..., D]."""
        raw = raw.astype(jnp.float32)
        if self.constraint == "sum":
            return distributions.sum_constrained_scale(raw)
        return distributions.positive_scale(raw)

    def posterior(self, raw: Array) -> Parameters:
        """Raw encoder outputs [..., 2 D] to {"loc", "scale"}, each [..., D]."""
        loc, raw_scale = jnp.split(raw.astype(jnp.float32), 2, axis=-1)
        return {"loc": loc, "scale": self.scale(raw_scale)}

    def prior(self, batch_shape: tuple[int, ...] = ()) -> Parameters:
        """The standard prior, location 0 and scale 1, [*batch_shape, D]."""
        shape = (*batch_shape, self.dim)
        return {"loc": jnp.zeros(shape), "scale": jnp.ones(shape)}

    def sample(
        self, parameters: Parameters, rng: PRNGKey, sample_shape: tuple[int, ...] = ()
    ) -> Array:
        """Reparameterised draws [*sample_shape, ..., D]."""
        loc, scale = parameters["loc"], parameters["scale"]
        draw = jax.random.normal if self.family == "normal" else jax.random.laplace
        noise = draw(rng, (*sample_shape, *loc.shape))
        return align(loc, noise.ndim) + align(scale, noise.ndim) * noise

    def factor_log_prob(self, parameters: Parameters, z: Array) -> Array:
        """Log-density of each coordinate of codes z [..., D]; parameters have z's trailing axes."""
        loc, scale = align(parameters["loc"], z.ndim), align(parameters["scale"], z.ndim)
        if self.family == "normal":
            return distributions.normal_log_prob(z, loc, scale)
        return distributions.laplace_log_prob(z, loc, scale)

    def log_prob(self, parameters: Parameters, z: Array) -> Array:
        """Log-density of codes z [..., D] summed over D; parameters have z's trailing axes."""
        return self.factor_log_prob(parameters, z).sum(-1)

    def prior_log_prob(self, z: Array) -> Array:
        """Log-density of the standard prior at codes z [..., D]."""
        return self.log_prob(self.prior(), z)

    def mean(self, parameters: Parameters) -> Array:
        """Posterior means, as `features` gives codes [..., D]."""
        return parameters["loc"]

    def mean_code(self, parameters: Parameters) -> Array:
        """The code [..., D] whose `features` are the `mean`: what predictions decode."""
        return parameters["loc"]

    def features(self, z: Array) -> Array:
        """Codes as decoders and probes see them."""
        return z

    def product(
        self, parameters: Parameters, present: Array | None = None, *, prior: bool = True
    ) -> Parameters:
        """Product of experts [M, ..., D] of which ``present`` [M, ...] count, with the prior."""
        require_normal(self.family)
        loc, scale = experts.product_of_gaussians(
            parameters["loc"], parameters["scale"], present, prior=prior
        )
        return {"loc": loc, "scale": scale}

    def factor_kl(self, q: Parameters, p: Parameters) -> Array:
        """KL(q || p) of each coordinate in closed form, [..., D]; ranks are aligned."""
        ndim = max(q["loc"].ndim, p["loc"].ndim)
        arrays = (align(x, ndim) for x in (q["loc"], q["scale"], p["loc"], p["scale"]))
        kl = distributions.normal_kl if self.family == "normal" else distributions.laplace_kl
        return kl(*arrays)

    def kl(self, q: Parameters, p: Parameters) -> Array:
        """KL(q || p) summed over D in closed form, [...]; ranks are aligned."""
        return self.factor_kl(q, p).sum(-1)

    def prior_kl(self, q: Parameters) -> Array:
        """KL(q || standard prior) summed over D in closed form, [...]."""
        return self.kl(q, self.prior())


def require_normal(family: str, what: str = "a product of experts", further: str = "") -> None:
    """Raises UserError for another family: ``what`` needs it, and what there is to say further."""
    if family != "normal":
        raise UserError(f"config.model.latent = {family!r}: {what} needs 'normal'{further}")


def align(x: Array, ndim: int) -> Array:
    """Adds leading axes of size 1 until ``x`` has ``ndim`` axes."""
    return x.reshape((1,) * (ndim - x.ndim) + x.shape)
