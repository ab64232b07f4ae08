"""A dataset whose modalities were inferred, as a table for the log."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmvae_jax.data.contract import SPLITS, Dataset
from mmvae_jax.types import ModalitySpec

_HEADER = ("modality", "kind", "found as", "likelihood", "network", "present in training rows")


def table(dataset: Dataset) -> str:
    """One line per modality, one on the items; "" where nothing was inferred."""
    if not dataset.kinds:
        return ""
    train = dataset.splits["train"]
    lines = [_HEADER]
    for spec in dataset.specs:
        present = train.present[spec.name]
        share = f"{int(present.sum()):,} of {len(present):,} ({present.mean():.0%})"
        kind, why = dataset.kinds[spec.name]
        lines.append((spec.name, kind, why, _likelihood(spec), spec.network, share))
    sizes = ", ".join(f"{name} {len(dataset.splits[name]):,}" for name in SPLITS)
    return "\n".join([*_aligned(lines), f"items: {sizes}; {_classes(dataset)}{_empty(dataset)}"])


def _likelihood(spec: ModalitySpec) -> str:
    if spec.is_tokens:
        return f"{spec.likelihood}, vocabulary of {spec.num_classes}"
    if spec.num_classes:
        return f"{spec.likelihood}, {spec.num_classes} classes"
    if spec.scale:
        return f"{spec.likelihood}, columns standardised"
    if spec.library_size:
        return f"{spec.likelihood}, shares of the row's total ({spec.library_size:,.1f} on average)"
    return spec.likelihood


def _classes(dataset: Dataset) -> str:
    if not dataset.num_classes:
        return "no classes"
    return f"{dataset.num_classes} classes, for evaluation only"


def _empty(dataset: Dataset) -> str:
    """How many items hold nothing: they weigh nothing."""
    count = sum(
        int((~np.stack(list(split.present.values())).any(0)).sum())
        for split in dataset.splits.values()
    )
    return f"; {count:,} items have nothing present and count for nothing" if count else ""


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
