"""Decoder output and data to log-likelihood per example: one class per family.

A new likelihood is one class with the decorator `register`, in one of these modules or in one that
is imported here.
"""

from __future__ import annotations

from mmvae_jax.likelihoods.base import LIKELIHOODS, Likelihood, Parameters, for_spec, register
from mmvae_jax.likelihoods.classes import Categorical, OneHotBernoulli, Tokens
from mmvae_jax.likelihoods.continuous import Bernoulli, Laplace, Normal
from mmvae_jax.likelihoods.counts import NegativeBinomial, Poisson

__all__ = [
    "LIKELIHOODS",
    "Bernoulli",
    "Categorical",
    "Laplace",
    "Likelihood",
    "NegativeBinomial",
    "Normal",
    "OneHotBernoulli",
    "Parameters",
    "Poisson",
    "Tokens",
    "for_spec",
    "register",
]
