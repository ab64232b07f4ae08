"""Decoder output and data to log-likelihood per example: one class per family.

A new likelihood is one class with the decorator `register`. Shapes: decoder outputs and parameters
are [..., *output axes] with any leading sample and batch axes, data are [B, *event axes] or have
sample axes too.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from mmvae_jax.distributions import SCALE_FLOOR, as_float32, laplace_log_prob, normal_log_prob
from mmvae_jax.types import Array, ArrayLike, ModalitySpec, PRNGKey, UserError, nearest

Parameters = Mapping[str, Array]

LIKELIHOODS: dict[str, type[Likelihood]] = {}


def register(name: str) -> Callable[[type[Likelihood]], type[Likelihood]]:
    """Class decorator: makes a `Likelihood` available under `name` in a ModalitySpec."""

    def add(cls: type[Likelihood]) -> type[Likelihood]:
        if name in LIKELIHOODS:
            raise ValueError(f"likelihood {name!r} is registered twice")
        LIKELIHOODS[name] = cls
        return cls

    return add


def for_spec(spec: ModalitySpec) -> Likelihood:
    """The likelihood that a modality asks for.

    Raises:
      UserError: for an unknown name, or values that this likelihood cannot have.
    """
    if spec.likelihood not in LIKELIHOODS:
        raise UserError(
            f"modality {spec.name!r}: unknown likelihood {spec.likelihood!r}, "
            f"use one of {', '.join(sorted(LIKELIHOODS))}{nearest(spec.likelihood, LIKELIHOODS)}"
        )
    return LIKELIHOODS[spec.likelihood](spec)


@dataclasses.dataclass(frozen=True)
class Likelihood:
    """p(x | decoder output) for one modality; hashable, without arrays of its own."""

    spec: ModalitySpec

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of the decoder's raw output for one example."""
        return self.spec.shape

    def init_params(self) -> dict[str, Array]:
        """Trained parameters besides the decoder's, by name; mostly none."""
        return {}

    def parameters(self, outputs: ArrayLike, params: Mapping[str, Array]) -> dict[str, Array]:
        """Parameters of the likelihood, float32 and with the leading axes of `outputs`.

        outputs: [..., *output_shape], raw; params: as from `init_params`.
        """
        raise NotImplementedError

    def log_prob(self, parameters: Parameters, x: ArrayLike) -> Array:
        """log p(x), float32, summed over the event axes.

        parameters: [..., *output axes]; x: [..., *spec.shape], where sample axes at the front may
        be left out. Returns the leading axes of the parameters.
        """
        raise NotImplementedError

    def mean(self, parameters: Parameters) -> Array:
        """Mean in data units, [..., *output_shape]; probabilities for bernoulli, categorical."""
        raise NotImplementedError

    def mode(self, parameters: Parameters) -> Array:
        """Most probable value, [..., *spec.shape]."""
        raise NotImplementedError

    def sample(self, parameters: Parameters, rng: PRNGKey) -> Array:
        """One draw per member of the leading axes, [..., *spec.shape]."""
        raise NotImplementedError

    def _checked_outputs(self, outputs: ArrayLike) -> Array:
        (outputs,) = as_float32(outputs)
        shape = self.output_shape
        if outputs.ndim < len(shape) or outputs.shape[outputs.ndim - len(shape) :] != shape:
            raise ValueError(
                f"modality {self.spec.name!r}: decoder output must end in {shape}, "
                f"got {outputs.shape}"
            )
        return outputs

    def _aligned_data(self, x: ArrayLike, lead: tuple[int, ...]) -> Array:
        """x with axes of size 1 in front where sample axes are left out."""
        x, shape = jnp.asarray(x), self.spec.shape
        num_lead = x.ndim - len(shape)
        ok = 0 <= num_lead <= len(lead) and x.shape[num_lead:] == shape
        if not ok or any(
            size not in (1, wanted)
            for size, wanted in zip(x.shape[:num_lead], lead[len(lead) - num_lead :], strict=True)
        ):
            raise ValueError(
                f"modality {self.spec.name!r}: data of shape {x.shape} do not fit parameters with "
                f"leading axes {lead} and events of shape {shape}"
            )
        return jnp.expand_dims(x, tuple(range(len(lead) - num_lead)))

    def _aligned_real_data(self, x: ArrayLike, lead: tuple[int, ...]) -> Array:
        if jnp.asarray(x).dtype == np.uint8:
            raise TypeError(
                f"modality {self.spec.name!r}: data are uint8; "
                "likelihoods take float32, divide by 255"
            )
        return self._aligned_data(as_float32(x)[0], lead)

    def _sum_event(self, values: Array) -> Array:
        return jnp.sum(values, axis=tuple(range(values.ndim - len(self.spec.shape), values.ndim)))

    def _lead(self, array: Array) -> tuple[int, ...]:
        return array.shape[: array.ndim - len(self.output_shape)]


@register("bernoulli")
@dataclasses.dataclass(frozen=True)
class Bernoulli(Likelihood):
    """Independent binary pixels; the decoder gives logits.

    Grey levels in [0, 1] are accepted as targets, as is usual; the result is then minus the
    cross-entropy, which is not a normalised density.
    """

    def parameters(self, outputs: ArrayLike, params: Mapping[str, Array]) -> dict[str, Array]:
        """{"logits": [..., *output_shape]}; nothing is learned besides the decoder."""
        del params
        return {"logits": self._checked_outputs(outputs)}

    def log_prob(self, parameters: Parameters, x: ArrayLike) -> Array:
        """See `Likelihood.log_prob`."""
        (logits,) = as_float32(parameters["logits"])
        x = self._aligned_real_data(x, self._lead(logits))
        return self._sum_event(x * logits - jax.nn.softplus(logits))

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

    A learned scale is exp(log_scale) + SCALE_FLOOR and starts at spec.likelihood_scale.
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

    def mean(self, parameters: Parameters) -> Array:
        """See `Likelihood.mean`."""
        return parameters["loc"]

    def mode(self, parameters: Parameters) -> Array:
        """See `Likelihood.mode`."""
        return parameters["loc"]


@register("normal")
@dataclasses.dataclass(frozen=True)
class Normal(_LocationScale):
    """Independent Gaussians; the scale is a standard deviation."""

    def log_prob(self, parameters: Parameters, x: ArrayLike) -> Array:
        """See `Likelihood.log_prob`."""
        loc, scale = parameters["loc"], parameters["scale"]
        x = self._aligned_real_data(x, self._lead(loc))
        return self._sum_event(normal_log_prob(x, loc, scale))

    def sample(self, parameters: Parameters, rng: PRNGKey) -> Array:
        """See `Likelihood.sample`."""
        loc, scale = parameters["loc"], parameters["scale"]
        return loc + scale * jax.random.normal(rng, loc.shape, loc.dtype)


@register("laplace")
@dataclasses.dataclass(frozen=True)
class Laplace(_LocationScale):
    """Independent Laplace variables; the standard deviation is sqrt(2) times the scale."""

    def log_prob(self, parameters: Parameters, x: ArrayLike) -> Array:
        """See `Likelihood.log_prob`."""
        loc, scale = parameters["loc"], parameters["scale"]
        x = self._aligned_real_data(x, self._lead(loc))
        return self._sum_event(laplace_log_prob(x, loc, scale))

    def sample(self, parameters: Parameters, rng: PRNGKey) -> Array:
        """See `Likelihood.sample`."""
        loc, scale = parameters["loc"], parameters["scale"]
        return loc + scale * jax.random.laplace(rng, loc.shape, loc.dtype)


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

    def parameters(self, outputs: ArrayLike, params: Mapping[str, Array]) -> dict[str, Array]:
        """{"logits": [..., *output_shape]}; nothing is learned besides the decoder."""
        del params
        return {"logits": self._checked_outputs(outputs)}

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
        return logits - jax.nn.softplus(logits).sum(-1, keepdims=True)

    def mean(self, parameters: Parameters) -> Array:
        """The probability of each class's variable, [..., *output_shape]."""
        return jax.nn.sigmoid(parameters["logits"])
