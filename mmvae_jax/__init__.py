"""Multimodal variational autoencoders in JAX: trained, evaluated, compared and used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmvae_jax.inference import Trained, load

__all__ = ["Trained", "load"]
__version__ = "0.1.0"

_ROOMS = (
    *("data", "distributions", "experts", "inference", "likelihoods", "models", "networks"),
    *("objectives", "training", "types"),
)


def __getattr__(name: str) -> Any:
    """Imports on first use: a command that only reads files need not wait seconds for JAX."""
    if name in __all__:
        return getattr(importlib.import_module("mmvae_jax.inference"), name)
    if name in _ROOMS:
        return importlib.import_module(f"mmvae_jax.{name}")
    raise AttributeError(f"module 'mmvae_jax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_ROOMS})
