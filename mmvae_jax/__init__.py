"""Multimodal variational autoencoders in JAX: trained, evaluated, compared and used."""

from mmvae_jax.inference import Trained, load

__all__ = ["Trained", "load"]
__version__ = "0.1.0"
