"""Optimizers and learning rate schedules by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from mmvae_jax.types import Array, UserError, nearest

Schedule = Callable[[Array], Array]

# What is left of the learning rate when a share `progress` in [0, 1] of the decay has passed.
SCHEDULES: dict[str, Callable[[Array], Array]] = {
    "constant": jnp.ones_like,
    "cosine": lambda progress: 0.5 * (1.0 + jnp.cos(jnp.pi * progress)),
    "linear": lambda progress: 1.0 - progress,
}

OPTIMIZERS: dict[str, Callable[[], optax.GradientTransformation]] = {
    "adam": optax.scale_by_adam,
    "amsgrad": optax.scale_by_amsgrad,
    "adamw": optax.scale_by_adam,
    "sgd": optax.identity,
}


def make(options: Mapping[str, Any], total_steps: int) -> optax.GradientTransformation:
    """The gradient transformation of `config.optimizer`.

    In this order: clip the gradient's global norm to `clip_norm` (0 = off), add `weight_decay`
    times the parameters (before the moments for adam, amsgrad and sgd, which makes it an L2
    penalty; after them for adamw: Loshchilov & Hutter 2019), scale by the schedule.

    Args:
      options: `name`, `learning_rate`, `schedule`, `warmup_steps`, `clip_norm`, `weight_decay`.
      total_steps: length of the whole run, where cosine and linear schedules reach zero.

    Raises:
      UserError: for an unknown optimizer or schedule and for a number out of range.
    """
    name = options["name"]
    _require_known("optimizer.name", name, OPTIMIZERS)
    for key in ("clip_norm", "weight_decay"):
        if options[key] < 0:
            raise UserError(f"optimizer.{key}={options[key]} must not be negative (0 turns it off)")
    decay = [optax.add_decayed_weights(options["weight_decay"])] if options["weight_decay"] else []
    clip = [optax.clip_by_global_norm(options["clip_norm"])] if options["clip_norm"] else []
    moments = [OPTIMIZERS[name]()]
    return _with_optax_promotion(
        optax.chain(
            *clip,
            *(moments + decay if name == "adamw" else decay + moments),
            optax.scale_by_learning_rate(learning_rate(options, total_steps)),
        )
    )


def learning_rate(options: Mapping[str, Any], total_steps: int) -> Schedule:
    """The learning rate as a function of the step: linear warm-up, then the named decay.

    The first step of a warm-up of n steps uses 1/n of the rate, not zero; the decay spans the
    steps after the warm-up.
    """
    base, warmup, name = options["learning_rate"], options["warmup_steps"], options["schedule"]
    _require_known("optimizer.schedule", name, SCHEDULES)
    if base <= 0:
        raise UserError(f"optimizer.learning_rate={base} must be positive")
    if not 0 <= warmup < max(total_steps, 1):
        raise UserError(
            f"optimizer.warmup_steps={warmup} must be at least 0 and below the {total_steps} steps "
            "of the run: lower it or raise num_epochs"
        )

    def schedule(step: Array) -> Array:
        step = jnp.asarray(step).astype(jnp.float32)
        progress = jnp.clip((step - warmup) / (total_steps - warmup), 0.0, 1.0)
        ramp = jnp.minimum(1.0, (step + 1.0) / max(warmup, 1))
        return base * ramp * SCHEDULES[name](progress)

    return schedule


def _with_optax_promotion(chain: optax.GradientTransformation) -> optax.GradientTransformation:
    """Runs optax under JAX's standard promotion: its bias correction fails under the strict one."""

    def update(*args: Any) -> Any:
        with jax.numpy_dtype_promotion("standard"):
            return chain.update(*args)

    return optax.GradientTransformation(chain.init, update)


def _require_known(key: str, name: str, known: Iterable[str]) -> None:
    if name not in known:
        raise UserError(
            f"{key}={name!r} is unknown: choose one of {', '.join(known)}{nearest(name, known)}"
        )
