"""Decoder output and data to log-likelihood per example: one class per family.

A new likelihood is one class with the decorator `register`. Shapes: decoder outputs and parameters
are [..., *output axes] with any leading sample and batch axes, data are [B, *event axes] or have
sample axes too.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmvae_jax import distributions
from mmvae_jax.distributions import SCALE_FLOOR, as_float32
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

        outputs: [..., *output_shape], raw; params: as from `init_params`. Here they are the logits
        as they come.
        """
        del params
        return {"logits": self._checked_outputs(outputs)}

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
        """Most probable value, [..., *spec.shape]; here the mean."""
        return self.mean(parameters)

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
        return jnp.sum(values, self._event_axes(values))

    def _event_axes(self, array: Array) -> tuple[int, ...]:
        return tuple(range(array.ndim - len(self.spec.shape), array.ndim))

    def _lead(self, array: Array) -> tuple[int, ...]:
        return array.shape[: array.ndim - len(self.output_shape)]


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
        return logits - jax.nn.softplus(logits).sum(-1, keepdims=True)

    def mean(self, parameters: Parameters) -> Array:
        """The probability of each class's variable, [..., *output_shape]."""
        return jax.nn.sigmoid(parameters["logits"])
