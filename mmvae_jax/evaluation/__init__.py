"""Metrics on the model contract alone: `evaluate` runs them all, `METRICS` names them."""

from mmvae_jax.evaluation.bound import validation_bound
from mmvae_jax.evaluation.context import Context, Settings
from mmvae_jax.evaluation.driver import check, evaluate
from mmvae_jax.evaluation.registry import METRICS, chosen, measure
from mmvae_jax.evaluation.result import (
    RESULTS_FILE,
    NotApplicable,
    Result,
    load_results,
    results_at,
    results_file,
    write_results,
)

__all__ = [
    "METRICS",
    "RESULTS_FILE",
    "Context",
    "NotApplicable",
    "Result",
    "Settings",
    "check",
    "chosen",
    "evaluate",
    "load_results",
    "measure",
    "results_at",
    "results_file",
    "validation_bound",
    "write_results",
]
