"""Densities, their sums in the log domain, scales, and what distrax lacks: the Concrete."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmvae_jax.distributions.densities import (
    SCALE_FLOOR,
    Axis,
    as_float32,
    check_same_rank,
    laplace_kl,
    laplace_log_prob,
    log_mean_exp,
    masked_log_sum_exp,
    negative_binomial_log_prob,
    normal_kl,
    normal_log_prob,
    poisson_log_prob,
    positive_scale,
    selection,
    softplus,
    sum_constrained_scale,
)

if TYPE_CHECKING:
    from mmvae_jax.distributions.concrete import Concrete

__all__ = [
    "SCALE_FLOOR",
    "Axis",
    "Concrete",
    "as_float32",
    "check_same_rank",
    "laplace_kl",
    "laplace_log_prob",
    "log_mean_exp",
    "masked_log_sum_exp",
    "negative_binomial_log_prob",
    "normal_kl",
    "normal_log_prob",
    "poisson_log_prob",
    "positive_scale",
    "selection",
    "softplus",
    "sum_constrained_scale",
]


def __getattr__(name: str) -> Any:
    """Concrete, on first use: distrax is a third of the time that everything takes to import."""
    if name != "Concrete":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mmvae_jax.distributions.concrete import Concrete

    return Concrete
