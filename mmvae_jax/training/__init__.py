"""Training: state, step, loop, checkpoints, and where arrays and files go."""

from mmvae_jax.training.checkpoints import restore_variables
from mmvae_jax.training.failure import NonFiniteLoss
from mmvae_jax.training.loop import FitResult, check, fit
from mmvae_jax.training.runtime import configure, initialize_distributed
from mmvae_jax.training.workdir import locked, prepare_workdir, read_run, write_atomically

__all__ = [
    "FitResult",
    "NonFiniteLoss",
    "check",
    "configure",
    "fit",
    "initialize_distributed",
    "locked",
    "prepare_workdir",
    "read_run",
    "restore_variables",
    "write_atomically",
]
