"""Class indices: labels and tokens."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from mmvae_jax import distributions
from mmvae_jax.distributions import as_float32
from mmvae_jax.likelihoods.base import Likelihood, Parameters, register
from mmvae_jax.types import Array, ArrayLike, PRNGKey, UserError


@register("categorical")
@dataclasses.dataclass(frozen=True)
class Categorical(Likelihood):
    """Class indices: one per example (shape ()) or L independent ones, say tokens (shape (L,)).

    The decoder gives logits [..., *shape, num_classes]. An index outside 0 .. num_classes - 1 has
    log-likelihood NaN, so that wrong labels stop a run instead of training it.
    """

    def __post_init__(self) -> None:
        if self.spec.num_classes < 2:
            raise UserError(
                f"modality {self.spec.name!r}: a categorical likelihood needs num_classes >= 2, "
                f"got {self.spec.num_classes}"
            )

    @property
    def output_shape(self) -> tuple[int, ...]:
        """One logit per class: spec.shape + (num_classes,)."""
        return (*self.spec.shape, self.spec.num_classes)

    def log_prob(self, parameters: Parameters, x: ArrayLike) -> Array:
        """See `Likelihood.log_prob`."""
        (logits,) = as_float32(parameters["logits"])
        index = jnp.asarray(x)
        if not jnp.issubdtype(index.dtype, jnp.integer):
            raise TypeError(
                f"modality {self.spec.name!r}: categorical data are class indices, "
                f"got {index.dtype}"
            )
        index = self._aligned_data(index.astype(jnp.int32), self._lead(logits))
        valid = (index >= 0) & (index < self.spec.num_classes)
        index = jnp.where(valid, index, 0)[..., None]
        log_probs = jnp.take_along_axis(self._scores(logits), index, axis=-1)[..., 0]
        return self._sum_event(jnp.where(valid, log_probs, jnp.nan))

    def _scores(self, logits: Array) -> Array:
        """The log-likelihood of every class, [..., C]."""
        return jax.nn.log_softmax(logits, axis=-1)

    def mean(self, parameters: Parameters) -> Array:
        """See `Likelihood.mean`."""
        return jax.nn.softmax(parameters["logits"], axis=-1)

    def mode(self, parameters: Parameters) -> Array:
        """See `Likelihood.mode`."""
        return jnp.argmax(parameters["logits"], axis=-1).astype(jnp.int32)

    def sample(self, parameters: Parameters, rng: PRNGKey) -> Array:
        """See `Likelihood.sample`."""
        return jax.random.categorical(rng, parameters["logits"], axis=-1).astype(jnp.int32)


@register("one_hot_bernoulli")
@dataclasses.dataclass(frozen=True)
class OneHotBernoulli(Categorical):
    """Class indices scored as one-hot vectors of independent Bernoulli variables.

    What a label decoder with sigmoid outputs means (DMVAE): minus log p is the binary cross-entropy
    summed over classes. The one-hot vectors' probabilities add up to less than 1. Given that the
    vector is one-hot, class c has probability softmax(logits)_c, which is what `sample` draws:
    p_c prod_{k != c} (1 - p_k) is proportional to p_c / (1 - p_c).
    """

    def _scores(self, logits: Array) -> Array:
        return logits - distributions.softplus(logits).sum(-1, keepdims=True)

    def mean(self, parameters: Parameters) -> Array:
        """The probability of each class's variable, [..., *output_shape]."""
        return jax.nn.sigmoid(parameters["logits"])
