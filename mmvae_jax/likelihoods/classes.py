"""Class indices: labels, and texts as sequences of tokens."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

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
    log-likelihood NaN, so that wrong labels stop a run instead of training it. The class
    `unscored_id` of the spec has log-likelihood 0, which is not the logarithm of a probability: so
    published models treat unknown words.
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
        index = self._indices(x, logits)
        valid = (index >= 0) & (index < self.spec.num_classes)
        found = jnp.where(valid, index, 0)[..., None]
        log_probs = jnp.take_along_axis(self._scores(logits), found, axis=-1)[..., 0]
        log_probs = jnp.where(self._counted(index), log_probs, 0.0)
        return self._sum_event(jnp.where(valid, log_probs, jnp.nan))

    def _indices(self, x: ArrayLike, logits: Array) -> Array:
        index = jnp.asarray(x)
        if not jnp.issubdtype(index.dtype, jnp.integer):
            raise TypeError(
                f"modality {self.spec.name!r}: categorical data are class indices, "
                f"got {index.dtype}"
            )
        return self._aligned_data(index.astype(jnp.int32), self._lead(logits))

    def _counted(self, index: Array) -> Array:
        """Which positions have a share in the log-likelihood, of the shape of ``index``."""
        return index != self.spec.unscored_id  # -1, which is no class, means none

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


@register("tokens")
@dataclasses.dataclass(frozen=True)
class Tokens(Categorical):
    """Texts of varying length: one categorical for each position up to the end.

    A text ends with the token `end_id`, which counts; what stands behind it is padding, which does
    not. Positions are independent given the code, so that

        log p(x) = sum_{t <= T} log softmax(logits_t)[x_t],   x_T the first end,

    where padding has no probability before the end (unless the end is marked by it): over all
    texts of at most L tokens, cut off or ended, p adds up to 1. In published models of captions
    every position counts, padding too: that is `Categorical`.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        name, spec = self.spec.name, self.spec
        if len(spec.shape) != 1:
            raise UserError(
                f"modality {name!r} of shape {spec.shape}: likelihood 'tokens' is of texts "
                "[length]; use 'categorical'"
            )
        for key in ("end_id", "pad_id"):
            if not 0 <= getattr(spec, key) < spec.num_classes:
                raise UserError(
                    f"modality {name!r}: likelihood 'tokens' needs {key} in the vocabulary of "
                    f"{spec.num_classes}, it is {getattr(spec, key)}; where all positions count, "
                    "use 'categorical'"
                )

    def parameters(self, outputs: ArrayLike, params: Mapping[str, Array]) -> dict[str, Array]:
        """See `Likelihood.parameters`; the logits of padding become -inf."""
        logits = super().parameters(outputs, params)["logits"]
        if self.spec.pad_id != self.spec.end_id:
            logits = logits.at[..., self.spec.pad_id].set(-jnp.inf)
        return {"logits": logits}

    def _counted(self, index: Array) -> Array:
        text = ~self.spec.behind_end(index)
        if self.spec.pad_id == self.spec.end_id:
            return text
        return text & (index != self.spec.pad_id)

    def mean(self, parameters: Parameters) -> Array:
        """Probability of each token at each position, [..., L, V]; padding's: that it is over."""
        tokens = jax.nn.softmax(parameters["logits"], axis=-1)
        goes_on = jnp.cumprod(1.0 - tokens[..., self.spec.end_id], axis=-1)
        begun = jnp.concatenate([jnp.ones_like(goes_on[..., :1]), goes_on[..., :-1]], axis=-1)
        tokens = begun[..., None] * tokens
        return tokens.at[..., self.spec.pad_id].add(1.0 - begun)

    def mode(self, parameters: Parameters) -> Array:
        """The most probable token of each position up to the first end, then padding.

        Not the most probable text: of texts that are hard to foretell that is the empty one.
        """
        return self._padded(super().mode(parameters))

    def sample(self, parameters: Parameters, rng: PRNGKey) -> Array:
        """See `Likelihood.sample`."""
        return self._padded(super().sample(parameters, rng))

    def _padded(self, tokens: Array) -> Array:
        return jnp.where(self.spec.behind_end(tokens), self.spec.pad_id, tokens)
