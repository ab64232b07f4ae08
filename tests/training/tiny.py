"""A tiny model, dataset and config for tests, and a run of them as a process of its own.

`python -m tests.training.tiny --workdir=... ` trains; tests that need a process to kill, several
processes or several devices start it.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import signal
import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jax.experimental.compilation_cache import compilation_cache

from mmvae_jax import data
from mmvae_jax.training import fit, initialize_distributed, prepare_workdir, sharding
from mmvae_jax.training.runtime import leave
from mmvae_jax.types import ModalitySpec

# The tests start the same few programs many times, some of them in processes of their own.
CACHE = os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(Path(tempfile.gettempdir()) / "mmvae_jax_tests_cache")
)
jax.config.update("jax_compilation_cache_dir", CACHE)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
compilation_cache.reset_cache()

SPECS = (
    ModalitySpec(name="a", shape=(4, 4, 1), likelihood="normal"),
    ModalitySpec(name="b", shape=(6,), dtype="float32", likelihood="normal"),
)


@dataclasses.dataclass(frozen=True)
class LinearVAE:
    """A linear-Gaussian VAE of two modalities, its posterior the mean of two linear encoders.

    Attributes:
      dim: latent size.
      break_at: the step at which the likelihood of `b` turns to NaN; -1 for never.
      break_gradient_at: the step at which only the gradient of `b`'s decoder does.
    """

    dim: int = 2
    break_at: int = -1
    break_gradient_at: int = -1
    traces = 0  # How often Python ran `loss`.

    names = ("a", "b")

    def init(self, rng, batch):
        sizes = {name: x.reshape(len(x), -1).shape[1] for name, x in batch["x"].items()}
        params = {
            kind: {
                name: 0.3 * jax.random.normal(jax.random.fold_in(rng, m), (sizes[name], self.dim))
                for m, name in enumerate(self.names, start=10 * k)
            }
            for k, kind in enumerate(("encoder", "decoder"))
        }
        # Weakly typed, as parameters made from Python numbers are.
        return {"params": {**params, "scale": jnp.full((self.dim,), 0.1)}}

    def loss(self, variables, rng, batch, step):
        type(self).traces += 1
        params = variables["params"]
        x = {name: batch["x"][name].reshape(len(batch["weight"]), -1) for name in self.names}
        loc = sum(x[name] @ params["encoder"][name] for name in self.names) / 2.0
        z = loc + params["scale"][None] * jax.random.normal(rng, loc.shape)
        terms = {"kl/shared": 0.5 * jnp.sum(loc**2, -1)}
        for name in self.names:
            decoder = params["decoder"][name]
            if name == "b":
                # Nothing is added; but at the square root of zero the gradient is 0 * inf.
                inside = jnp.where(step == self.break_gradient_at, 0.0, 1.0) * jnp.sum(decoder**2)
                decoder += 0.0 * jnp.sqrt(inside)
            terms[f"log_px/{name}"] = -0.5 * jnp.sum((x[name] - z @ decoder.T) ** 2, -1)
        broken = jnp.where(step == self.break_at, jnp.nan, 0.0)
        terms["log_px/b"] += broken
        terms["elbo"] = terms["log_px/a"] + terms["log_px/b"] - terms["kl/shared"]
        return -terms["elbo"], terms


def dataset(num_examples: int = 50, gaps: bool = False) -> data.Dataset:
    """Random rows around a line; with gaps, the first five are whole and the others alternate."""
    rng = np.random.default_rng(0)
    code = rng.normal(size=(num_examples, 1))

    def split() -> data.Split:
        pixels = np.clip(128 + 40 * code + 10 * rng.normal(size=(num_examples, 16)), 0, 255)
        return data.Split.complete(
            {
                "a": pixels.astype(np.uint8).reshape(-1, 4, 4, 1),
                "b": (code + 0.1 * rng.normal(size=(num_examples, 6))).astype(np.float32),
            },
            np.zeros(num_examples, np.int32),
        )

    splits = {name: split() for name in data.SPLITS}
    if gaps:
        for number, name in enumerate(splits["train"].present):
            rows = np.arange(num_examples)
            splits["train"].present[name][:] = (rows < 5) | (rows % 2 == number)
    return data.Dataset("tiny", SPECS, splits)


def config(**changes: Any) -> ml_collections.ConfigDict:
    """Six steps an epoch, a line every four, a checkpoint every epoch."""
    values = ml_collections.ConfigDict(
        {
            "seed": 3,
            "batch_size": 8,
            "num_epochs": 3,
            "optimizer": {
                "name": "adam",
                "learning_rate": 1e-2,
                "schedule": "cosine",
                "warmup_steps": 2,
                "clip_norm": 5.0,
                "weight_decay": 1e-4,
            },
            "training": {
                "log_every": 4,
                "checkpoint_every": 0,
                "steps_per_epoch": 0,
                "batch_mix": {},
                "data": "auto",
                "augment": {"flip": "", "flip_together": True},
            },
        }
    )
    values.update_from_flattened_dict(changes)
    return values


def run(
    workdir,
    model: LinearVAE | None = None,
    *,
    validate=None,
    num_examples=50,
    gaps=False,
    redrawn=(),
    **changes,
):
    """Trains the tiny model."""
    return fit(
        LinearVAE() if model is None else model,
        dataclasses.replace(dataset(num_examples, gaps), redrawn=redrawn),
        config(**changes),
        workdir,
        validate=validate,
    )


def main() -> None:
    """A run in a process of its own."""
    jax.config.update("jax_numpy_rank_promotion", "raise")
    jax.config.update("jax_numpy_dtype_promotion", "strict")
    parser = argparse.ArgumentParser()
    parser.add_argument("--workdir", required=True)
    parser.add_argument("--kill_at", type=int, default=-1, help="step of validation to die in")
    parser.add_argument("--fail_at", type=int, default=-1)
    parser.add_argument("--num_epochs", type=int, default=3)
    parser.add_argument("--data", default="auto")
    parser.add_argument("--coordinator_address")
    parser.add_argument("--num_processes", type=int)
    parser.add_argument("--process_id", type=int)
    args = parser.parse_args()
    initialize_distributed(
        args.coordinator_address, args.num_processes, args.process_id, timeout=60
    )
    print(f"devices {jax.device_count()}", flush=True)

    def validate(variables, step):
        if step == args.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if step == args.fail_at and args.process_id == 1:
            leave(3)
        return {}

    put, sizes = sharding.put_batches, set()

    def noting(read, shape, mesh):
        def noted(part):
            found = read(part)
            sizes.add(found.shape[1])
            return found

        return put(noted, shape, mesh)

    sharding.put_batches = noting
    changes = {"num_epochs": args.num_epochs, "training.data": args.data}
    prepare_workdir(args.workdir, {"config": config(**changes).to_dict()})
    run(args.workdir, validate=validate, **changes)
    print(f"rows of a batch read at once: {sorted(sizes)}", flush=True)


if __name__ == "__main__":
    main()
