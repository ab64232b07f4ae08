"""What every room shares: array aliases, the batch, what is known of a modality, user errors.

Shape letters, everywhere and in this order: ``K`` samples, ``S`` strata (sources), ``M``
modalities (targets), ``B`` batch, ``D`` shared latent size, ``W`` private latent size.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import jax

    Array = jax.Array
    ArrayLike = jax.Array | np.ndarray
    PRNGKey = jax.Array

# {"x": {name: [B, ...]}, "present": {name: bool [B]}, "label": int32 [B] (optional),
#  "weight": float32 [B]}. An absent modality's array may hold any finite content.
Batch = Mapping[str, Any]

# Flax collections: {"params": {...}} and, where a network has them, {"batch_stats": {...}}.
Variables = Mapping[str, Any]


def __getattr__(name: str) -> Any:
    """`Array`, `ArrayLike`, `PRNGKey`: whoever asks for them imports JAX, and nobody else."""
    if name not in ("Array", "ArrayLike", "PRNGKey"):
        raise AttributeError(f"module 'mmvae_jax.types' has no attribute {name!r}")
    import jax

    return jax.Array | np.ndarray if name == "ArrayLike" else jax.Array


class UserError(Exception):
    """Bad input from the user: one line that says what is wrong, where, and what to do."""


def nearest(word: object, options: Iterable[str]) -> str:
    """End of an error message: "; did you mean 'x'?" for the option most like `word`, or ""."""
    close = difflib.get_close_matches(str(word), list(options), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModalitySpec:
    """What a model needs to know of one modality.

    Attributes:
      name: key of the modality in a batch.
      shape: shape of one example, without the batch axis.
      dtype: how it is stored: ``uint8`` (an image; models see it divided by 255), ``float32``,
        ``int32`` (class indices, tokens) or ``bool``.
      likelihood: name of a class in ``mmvae_jax.likelihoods``.
      likelihood_scale: scale of a ``laplace`` or standard deviation of a ``normal`` likelihood;
        the starting value where it is learned.
      learn_likelihood_scale: whether that scale is a trained parameter.
      weight: lambda, the factor on this modality's log-likelihood in training objectives.
      private_dim: size of the private latent space; 0 means none.
      num_classes: size of the alphabet of a categorical modality, or of the vocabulary of tokens;
        else 0.
      end_id: the token that ends a text; -1 where none does.
      pad_id: the token that fills a text up behind its end, perhaps `end_id` itself; -1: none.
      unscored_id: the class that a categorical likelihood passes over and no encoder sees; -1:
        none.
      num_examples: how many training examples have this modality; 0 where it is not known.
      location: of a vector's columns, in the data's units; decoders and encoders work with
        (x - location) / scale, while batches, likelihoods, means and draws have the data's units.
        Of counts: the logarithm of each column's mean, where decoders start. Empty: 0.
      scale: of a vector's columns; empty: 1.
      library_size: what a typical row of counts adds up to, where each column's rate is a share of
        its row's own total; 0: rates do not depend on the row.
      network: family of its encoder and decoder, a key of ``mmvae_jax.networks``.
      network_options: the family's sizes as sorted ``(key, value)`` pairs, hashable.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "uint8"
    likelihood: str = "laplace"
    likelihood_scale: float = 0.75
    learn_likelihood_scale: bool = False
    weight: float = 1.0
    private_dim: int = 0
    num_classes: int = 0
    end_id: int = -1
    pad_id: int = -1
    unscored_id: int = -1
    num_examples: int = 0
    location: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    library_size: float = 0.0
    network: str = "conv"
    network_options: tuple[tuple[str, Any], ...] = ()

    @property
    def is_grid(self) -> bool:
        """Whether examples are [height, width, channels] intensities."""
        return len(self.shape) == 3 and not self.num_classes

    @property
    def is_image(self) -> bool:
        """Whether examples are intensities that can be shown: with 1 or 3 channels."""
        return self.is_grid and self.shape[-1] in (1, 3)

    @property
    def is_counts(self) -> bool:
        """Whether examples are non-negative whole numbers, and not classes."""
        return self.dtype == "int32" and not self.num_classes

    @property
    def is_tokens(self) -> bool:
        """Whether examples are sequences of tokens [length]."""
        return len(self.shape) == 1 and self.num_classes > 0

    def behind_end(self, tokens: ArrayLike) -> ArrayLike:
        """Which positions of tokens [..., length] come after the first `end_id`, bool."""
        ends = (tokens == self.end_id).astype("int32")
        return ends.cumsum(-1) > ends

    def standardised(self, x: Array) -> Array:
        """(x - location) / scale of data [..., *shape], where there is a scale."""
        if not self.scale:
            return x
        return (x - self.columns("location", x)) / self.columns("scale", x)

    def in_data_units(self, x: Array) -> Array:
        """The inverse of `standardised`."""
        if not self.scale:
            return x
        return self.columns("location", x) + self.columns("scale", x) * x

    def columns(self, field: str, like: Array) -> Array:
        """``location`` or ``scale`` as [1, ..., 1, *shape], of the rank and dtype of `like`."""
        shape = (1,) * (like.ndim - len(self.shape)) + self.shape
        return np.asarray(getattr(self, field), like.dtype).reshape(shape)

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``config.json``; `from_json` is its inverse."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ModalitySpec:
        """Rebuilds a spec from `to_json` (lists become tuples again)."""
        values = dict(values)
        for key in ("shape", "location", "scale"):
            values[key] = tuple(values.get(key, ()))
        values["network_options"] = tuple(
            (key, _tupled(value)) for key, value in values["network_options"]
        )
        return cls(**values)


def _tupled(value: Any) -> Any:
    return tuple(_tupled(item) for item in value) if isinstance(value, list) else value
