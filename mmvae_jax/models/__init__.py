"""Models: one file each, on the contract of ``base``; ``registry`` knows them by name."""

from mmvae_jax.models.base import MultimodalVAE
from mmvae_jax.models.batches import codes_at_once, prepare
from mmvae_jax.models.latents import Experts, Posterior
from mmvae_jax.models.registry import (
    COMMON_RULES,
    MODELS,
    build,
    model_rules,
    specs_from_config,
)

__all__ = [
    "COMMON_RULES",
    "MODELS",
    "Experts",
    "MultimodalVAE",
    "Posterior",
    "build",
    "codes_at_once",
    "model_rules",
    "prepare",
    "specs_from_config",
]
