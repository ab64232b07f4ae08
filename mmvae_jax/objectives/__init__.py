"""Bounds and regularisers: scores in, one number per example out. Larger is better."""

from mmvae_jax.distributions import log_mean_exp
from mmvae_jax.objectives.elbo import elbo
from mmvae_jax.objectives.importance_weighted import (
    doubly_reparameterized,
    iwae,
    normalized_weights,
    scale_cotangent,
)
from mmvae_jax.objectives.mutual_supervision import mutual_supervision
from mmvae_jax.objectives.schedules import linear_warmup
from mmvae_jax.objectives.stratified import strata_mean, stratified_bound, stratified_weights
from mmvae_jax.objectives.total_correlation import minibatch_kl_decomposition
from mmvae_jax.objectives.weight_summary import (
    WeightSummary,
    merge_summaries,
    summarize_weights,
)

__all__ = [
    "WeightSummary",
    "doubly_reparameterized",
    "elbo",
    "iwae",
    "linear_warmup",
    "log_mean_exp",
    "merge_summaries",
    "minibatch_kl_decomposition",
    "mutual_supervision",
    "normalized_weights",
    "scale_cotangent",
    "strata_mean",
    "stratified_bound",
    "stratified_weights",
    "summarize_weights",
]
