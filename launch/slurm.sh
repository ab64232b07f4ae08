#!/bin/bash
# One run on several nodes of a SLURM cluster, one process a node with all its GPUs.
#
#   sbatch --nodes=2 launch/slurm.sh --config=configs/mmvae_plus.py --workdir=/shared/run
#
# The workdir must lie on a file system that all nodes share. The processes find each other through
# SLURM's environment (--coordinator_address=auto). Submitting the same command again continues the
# run from its newest checkpoint, so a job that hits its time limit loses nothing older than that.
#SBATCH --job-name=mmvae_jax
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --output=slurm-%j.out

set -euo pipefail
cd "${SLURM_SUBMIT_DIR:?submit this with sbatch}"

srun --kill-on-bad-exit=1 .venv/bin/python -m mmvae_jax.main --coordinator_address=auto "$@"
