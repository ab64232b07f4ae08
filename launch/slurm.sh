#!/bin/bash
# One run on the GPUs of one or several nodes of a SLURM cluster, one process a GPU.
#
#   sbatch --nodes=2 --ntasks-per-node=4 --gpus-per-node=4 launch/slurm.sh \
#       --config=configs/mmvae_plus.py --workdir=/shared/run
#
# The workdir must lie on a file system that all nodes share. The processes find each other through
# SLURM's environment (--coordinator_address=auto); JAX then gives each of them the one GPU whose
# number on the node is the process's own (SLURM_LOCALID), so a node needs as many tasks as GPUs,
# and every task must see all of its node's GPUs: ask with --gpus-per-node, not --gpus-per-task.
# Submitting the same command again continues the run from its newest checkpoint, so a job that
# hits its time limit loses nothing older than that.
#SBATCH --job-name=mmvae_jax
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --output=slurm-%j.out

set -euo pipefail
cd "${SLURM_SUBMIT_DIR:?submit this with sbatch}"

# SLURM_GPUS_PER_NODE is a number, or a kind and a number: "a100:4".
gpus=${SLURM_GPUS_PER_NODE:-1}
tasks=${SLURM_NTASKS_PER_NODE:-1}
if [ "${gpus##*:}" != "$tasks" ]; then
  echo "error: --gpus-per-node=$gpus with --ntasks-per-node=$tasks: must be the same number" >&2
  exit 2
fi

# srun does not take the number of CPUs over from sbatch by itself.
srun --kill-on-bad-exit=1 --cpus-per-task="${SLURM_CPUS_PER_TASK:-8}" \
  .venv/bin/python -m mmvae_jax.main --coordinator_address=auto "$@"
