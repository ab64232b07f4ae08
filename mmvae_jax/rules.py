"""Rules for values of a config: each raises UserError with one line, or says nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from mmvae_jax.types import UserError, nearest

Rule = Callable[[str, Any], None]


def fail(key: str, value: Any, must: str) -> None:
    """Raises the UserError of a value that does not fit."""
    raise UserError(f"config.{key} = {value!r}: must be {must}")


def integer(minimum: int, maximum: int | None = None) -> Rule:
    """An int from ``minimum`` to ``maximum``."""
    limit = f"at least {minimum}" if maximum is None else f"from {minimum} to {maximum}"

    def rule(key: str, value: Any) -> None:
        good = isinstance(value, int) and not isinstance(value, bool) and value >= minimum
        if not good or (maximum is not None and value > maximum):
            fail(key, value, f"an integer {limit}" if maximum else f"an integer of {limit}")

    return rule


def real(minimum: float, *, above: bool = False, below: float = math.inf) -> Rule:
    """A finite number of at least, or where ``above`` greater than, ``minimum``; and ``below``."""
    must = f"a number {'above' if above else 'of at least'} {minimum:g}"
    must += f" and below {below:g}" if math.isfinite(below) else ""

    def rule(key: str, value: Any) -> None:
        good = isinstance(value, int | float) and not isinstance(value, bool)
        if not good or not minimum <= value < below or (above and value == minimum):
            fail(key, value, must)

    return rule


def choice(*options: str) -> Rule:
    """One of ``options``; the message names the nearest."""

    def rule(key: str, value: Any) -> None:
        if value not in options:
            fail(key, value, f"one of {', '.join(map(repr, options))}{nearest(value, options)}")

    return rule


def of_type(kind: type) -> Rule:
    """A value of that type."""

    def rule(key: str, value: Any) -> None:
        if not isinstance(value, kind):
            fail(key, value, f"of type {kind.__name__}, not {type(value).__name__}")

    return rule
