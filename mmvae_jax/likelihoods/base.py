"""What every likelihood answers, and the names under which they are found.

Shapes: decoder outputs and parameters are [..., *output axes] with any leading sample and batch
axes, data are [B, *event axes] or have sample axes too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import jax.numpy as jnp
import numpy as np

from mmvae_jax.distributions import as_float32
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

    def _flat(self, array: Array) -> Array:
        """[..., *shape] to [..., numbers of one event]."""
        return array.reshape(*array.shape[: array.ndim - len(self.spec.shape)], -1)

    def _event_axes(self, array: Array) -> tuple[int, ...]:
        return tuple(range(array.ndim - len(self.spec.shape), array.ndim))

    def _lead(self, array: Array) -> tuple[int, ...]:
        return array.shape[: array.ndim - len(self.output_shape)]
