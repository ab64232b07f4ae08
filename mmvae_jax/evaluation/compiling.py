"""Programs that run a few times: most of what they take on a CPU is being compiled."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax

# LLVM's first level in place of its third: half the time, and code that was no slower where most
# of the work is convolutions and products of matrices, which XLA calls from libraries.
_QUICK = {"xla_backend_optimization_level": 1}


def jit(
    *, static_argnums: int | tuple[int, ...] = ()
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`jax.jit` as a decorator; on a CPU it compiles in about half the time.

    Not for what runs for minutes, and not inside another compiled function. ``program()`` of the
    decorated function is what `jax.jit` made of it, at the first call: before that, no backend is
    asked for.

    Args:
      static_argnums: of `jax.jit`.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.cache
        def program() -> Any:
            # A compiler that is told to do next to nothing anyhow is left alone.
            told = jax.config.read("jax_disable_most_optimizations")
            options = _QUICK if jax.default_backend() == "cpu" and not told else None
            return jax.jit(function, static_argnums=static_argnums, compiler_options=options)

        @functools.wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            return program()(*arguments, **named)

        call.program = program  # type: ignore[attr-defined]
        return call

    return decorate
