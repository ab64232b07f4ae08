"""What distrax lacks: the Concrete distribution."""

from __future__ import annotations

import distrax
import jax
import jax.numpy as jnp

from mmvae_jax.distributions.densities import as_float32
from mmvae_jax.types import Array, ArrayLike, PRNGKey


class Concrete(distrax.Distribution):
    """Relaxed one-hot variable on the open simplex of n classes (Maddison et al. 2017).

    z = softmax((logits + Gumbel noise) / temperature), with density, with respect to the simplex
    coordinates dz_1 .. dz_{n-1} (the last one follows from the sum)::

        (n-1)! T^(n-1) prod_k [ pi_k z_k^(-T-1) / sum_j pi_j z_j^(-T) ],   pi = exp(logits)

    Logits need not be normalised. At large logits a coordinate of z is below the smallest float32,
    its logarithm is not: `sample_log` and `log_prob_of_log` carry log z and are exact there, and
    code of this package uses those. `sample` and `log_prob` take and give z itself.
    """

    def __init__(self, temperature: ArrayLike | float, logits: ArrayLike):
        """Makes the distribution.

        Args:
          temperature: T > 0, a scalar or one value per member of the batch, [...]; may be traced.
          logits: [..., n] with n >= 2; finite.

        Raises:
          ValueError: where the shapes do not fit.
        """
        super().__init__()
        temperature, logits = as_float32(temperature, logits)
        if logits.ndim < 1 or logits.shape[-1] < 2:
            raise ValueError(
                f"logits must be [..., n] with n >= 2 classes, got shape {logits.shape}"
            )
        if temperature.ndim and temperature.shape != logits.shape[:-1]:
            raise ValueError(
                f"temperature must be a scalar or have shape {logits.shape[:-1]} of the batch, "
                f"got {temperature.shape}"
            )
        self._logits = logits
        self._temperature = temperature

    @property
    def logits(self) -> Array:
        """Unnormalised log-probabilities [..., n], as given."""
        return self._logits

    @property
    def temperature(self) -> Array:
        """T, a scalar or [...]."""
        return self._temperature

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(n,)."""
        return tuple(self._logits.shape[-1:])

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Shape of the logits without their last axis."""
        return tuple(self._logits.shape[:-1])

    def _aligned(self, ndim: int) -> tuple[Array, Array]:
        """Logits and temperature with axes of size 1 in front, for values with sample axes."""
        logits, temperature = self._logits, self._temperature
        if ndim < logits.ndim:
            raise ValueError(f"value has rank {ndim}, fewer axes than the logits {logits.shape}")
        logits = jnp.expand_dims(logits, tuple(range(ndim - logits.ndim)))
        if temperature.ndim:
            temperature = jnp.expand_dims(
                temperature, (*range(ndim - 1 - temperature.ndim), ndim - 1)
            )
        return temperature, logits

    def sample_log(self, *, seed: PRNGKey, sample_shape: tuple[int, ...] = ()) -> Array:
        """Reparametrised samples as log z, [*sample_shape, ..., n]; exp(log z) sums to 1."""
        shape = (*sample_shape, *self._logits.shape)
        temperature, logits = self._aligned(len(shape))
        noise = jax.random.gumbel(seed, shape, self._logits.dtype)
        return jax.nn.log_softmax((logits + noise) / temperature, axis=-1)

    def log_prob_of_log(self, log_z: ArrayLike) -> Array:
        """Log-density of z = exp(log_z) on the simplex (not of log z: no Jacobian), [...].

        log_z: [*sample axes, ..., n]. The sums are arranged so that what is large at extreme logits
        cancels class by class before anything is added up.
        """
        _, log_z = as_float32(self._logits, log_z)
        n = self._logits.shape[-1]
        if log_z.ndim < 1 or log_z.shape[-1] != n:
            raise ValueError(
                f"value must have {n} classes on its last axis, got shape {log_z.shape}"
            )
        temperature, logits = self._aligned(log_z.ndim)
        log_ratio = jax.nn.log_softmax(logits - temperature * log_z, axis=-1)
        log_temperature = jnp.log(temperature[..., 0] if temperature.ndim else temperature)
        constant = jax.lax.lgamma(jnp.asarray(n, log_z.dtype)) + (n - 1) * log_temperature
        return jnp.sum(log_ratio - log_z, axis=-1) + constant

    def log_prob(self, value: ArrayLike) -> Array:
        """Log-density at z = value, [*sample axes, ..., n] -> [...]; -inf where z_k < 0.

        A coordinate that underflowed to 0 is taken at the smallest normal float, since its true
        value is lost; use `log_prob_of_log` where that can happen.
        """
        (value,) = as_float32(value)
        smallest = float(jnp.finfo(value.dtype).tiny)
        log_prob = self.log_prob_of_log(jnp.log(jnp.maximum(value, smallest)))
        return jnp.where(jnp.all(value >= 0, axis=-1), log_prob, -jnp.inf)

    def _sample_n(self, key: PRNGKey, n: int) -> Array:
        return jnp.exp(self.sample_log(seed=key, sample_shape=(n,)))

    def _sample_n_and_log_prob(self, key: PRNGKey, n: int) -> tuple[Array, Array]:
        log_z = self.sample_log(seed=key, sample_shape=(n,))
        return jnp.exp(log_z), self.log_prob_of_log(log_z)
