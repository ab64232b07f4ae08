"""Checks of options that several data sets have."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from mmvae_jax.types import UserError, nearest


def check_choice(key: str, value: object, allowed: Collection[str]) -> None:
    """Raises UserError, with the nearest match, where ``data.<key>`` is none of ``allowed``."""
    if value not in allowed:
        raise UserError(
            f"data.{key} is {value!r}, it must be one of {', '.join(allowed)}"
            f"{nearest(value, allowed)}"
        )


def check_sizes(dataset: str, sizes: Mapping[str, int], row: str) -> None:
    """Raises UserError where a split is to have no row; for data sets that are made, not read.

    Args:
      dataset: its name, for the message.
      sizes: {split: ``data.num_<split>``}.
      row: what a row is called.
    """
    for name, size in sizes.items():
        if size < 1:
            raise UserError(f"data.num_{name} is {size}, {dataset} needs at least 1 {row}")
