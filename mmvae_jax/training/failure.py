"""A run that turned non-finite: where, in which term, of which modality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from mmvae_jax.types import UserError


class NonFiniteLoss(UserError):
    """The loss, its gradient or an updated parameter is not finite; one line says which."""


def describe(
    step: int,
    terms: Mapping[str, float],
    finite_gradients: np.ndarray,
    params: Any,
    modalities: Sequence[str],
) -> str:
    """One line that names the step and what turned non-finite in it.

    A term of one modality ("log_px/m1") says more than the sums that it went into ("loss"), so it
    is named first.

    Args:
      step: index of the step that failed; the number of updates made before it.
      terms: its terms, the loss among them.
      finite_gradients: bool per leaf of the gradient, in the order of `jax.tree.leaves`.
      params: a tree of the gradient's structure.
      modalities: names of the modalities.
    """
    bad = [name for name, value in terms.items() if not np.isfinite(value)]
    bad.sort(key=lambda name: (_modality(name, modalities) is None, name == "loss"))
    if bad:
        culprit = f"term {bad[0]} is {terms[bad[0]]}{_of(bad[0], modalities)}"
        if len(bad) > 1:
            culprit += f", as are {', '.join(bad[1:6])}" + (", ..." if len(bad) > 6 else "")
        return f"non-finite loss at step {step}: {culprit}"
    paths = [
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, _ in jax.tree_util.tree_leaves_with_path(params)
    ]
    leaves = [path for path, finite in zip(paths, finite_gradients, strict=True) if not finite]
    if leaves:
        return (
            f"non-finite gradient at step {step}: that of parameter {leaves[0]}"
            f"{_of(leaves[0], modalities)} ({len(leaves)} of {len(paths)} parameters), "
            "while every term is finite"
        )
    return f"non-finite parameters after the update of step {step}, while its gradient is finite"


def _modality(name: str, modalities: Sequence[str]) -> str | None:
    return next((part for part in name.split("/") if part in modalities), None)


def _of(name: str, modalities: Sequence[str]) -> str:
    modality = _modality(name, modalities)
    return f" (modality {modality})" if modality else ""
