"""Metrics on the model contract alone: `evaluate` runs them all, `METRICS` names them."""

from mmvae_jax.evaluation.bound import validation_bound
from mmvae_jax.evaluation.context import Context, Settings
from mmvae_jax.evaluation.driver import check, evaluate, measured
from mmvae_jax.evaluation.record import write_results
from mmvae_jax.evaluation.registry import METRICS, chosen, measure
from mmvae_jax.evaluation.result import (
    RESULTS_FILE,
    NotApplicable,
    Result,
    load_results,
    results_at,
    results_file,
)
from mmvae_jax.evaluation.table import Measured

__all__ = [
    "METRICS",
    "RESULTS_FILE",
    "Context",
    "Measured",
    "NotApplicable",
    "Result",
    "Settings",
    "check",
    "chosen",
    "evaluate",
    "load_results",
    "measure",
    "measured",
    "results_at",
    "results_file",
    "validation_bound",
    "write_results",
]
