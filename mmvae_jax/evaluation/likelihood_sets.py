"""Which log-likelihoods are asked for: of some modalities, alone or given others.

``config.evaluation.likelihood_sets`` is a list such as ``m0+m1|m2, m0, m2|m0+m1``: commas between
sets, plus signs between modalities, and behind a bar what is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mmvae_jax.types import UserError, nearest

_KEY = "config.evaluation.likelihood_sets"

Names = tuple[str, ...]


class Asked(NamedTuple):
    """log p(of | given), or log p(of) where nothing is given."""

    of: Names
    given: Names


def check(text: str) -> None:
    """Raises `UserError` where a set is not well formed, whatever the modalities are called."""
    _parse(text)


def chosen(text: str, names: Sequence[str]) -> dict[str, Asked]:
    """The sets by the end of their results' names, modalities in the order of ``names``.

    Args:
      text: see the module; empty means the joint, every marginal, and every modality given all the
        others.
      names: all modalities.

    Returns:
      ``joint``, ``marginal/<of>`` or ``conditional/<of>|<given>``, several modalities joined by
      ``+``, and what is asked.

    Raises:
      UserError: a set is not well formed, or there is no modality of such a name.
    """
    if not text.strip():
        return _usual(tuple(names))
    found = {}
    for one in _parse(text):
        for name in (*one.of, *one.given):
            if name not in names:
                raise UserError(
                    f"{_KEY}={text}: there is no modality {name!r}, only {', '.join(names)}"
                    f"{nearest(name, names)}"
                )
        ordered = Asked(*(tuple(name for name in names if name in side) for side in one))
        found[_label(ordered, len(names))] = ordered
    return found


def _usual(names: Names) -> dict[str, Asked]:
    found = {"joint": Asked(names, ())}
    found |= {f"marginal/{name}": Asked((name,), ()) for name in names}
    for name in names if len(names) > 1 else ():
        one = Asked((name,), tuple(other for other in names if other != name))
        found[_label(one, len(names))] = one
    return found


def _label(one: Asked, count: int) -> str:
    of, given = "+".join(one.of), "+".join(one.given)
    if given:
        return f"conditional/{of}|{given}"
    return "joint" if len(one.of) == count else f"marginal/{of}"


def _parse(text: str) -> list[Asked]:
    return [_parse_one(part.strip(), text) for part in text.split(",")] if text.strip() else []


def _parse_one(part: str, text: str) -> Asked:
    sides = [[name.strip() for name in side.split("+")] for side in part.split("|")]
    listed = [name for side in sides for name in side]
    if len(sides) > 2 or "" in listed:
        raise UserError(
            f"{_KEY}={text}: {part!r} is not a set such as m0, m0+m1 or m0+m1|m2 (targets, and "
            "behind one bar what is given)"
        )
    twice = [name for name in listed if listed.count(name) > 1]
    if twice:
        raise UserError(f"{_KEY}={text}: {twice[0]!r} stands twice in {part!r}: leave one out")
    return Asked(tuple(sides[0]), tuple(sides[1]) if len(sides) == 2 else ())
