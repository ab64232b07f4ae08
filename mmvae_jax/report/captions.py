"""Captions as text: test items, and what a model writes given their other modalities."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from mmvae_jax.data.items import as_data
from mmvae_jax.report import programs
from mmvae_jax.report.style import as_rgb
from mmvae_jax.report.view import View

_SAMPLES = 10
_SMALLEST = 64  # pixels of a picture beside its caption


@dataclasses.dataclass(frozen=True)
class Captions:
    """A table of texts of one modality.

    Attributes:
      title: what they are.
      columns: heading of each text.
      rows: for each item its picture (PNG; None without images) and its texts.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[tuple[bytes | None, Sequence[str]]]


def captions(view: View) -> list[Captions]:
    """Of each modality that is text: its items and draws given each modality, and samples."""
    if not view.texts:
        return []
    drawn = {name: programs.conditional(view, [name]) for name in view.names}
    sampled = programs.generate(view, "captions")
    picture = next((spec.name for spec in view.dataset.specs if spec.is_image), None)
    found = []
    for spec in view.texts:
        here = np.asarray(view.batch["present"][spec.name])
        items = view.words(spec, np.asarray(view.batch["x"][spec.name]))
        items = [text if there else "–" for text, there in zip(items, here, strict=True)]
        made = [view.words(spec, as_data(drawn[name][spec.name][0], spec)) for name in view.names]
        beside = _pictures(view.batch["x"].get(picture), len(items))
        rows = list(zip(beside, zip(items, *made, strict=True), strict=True))
        heads = ["its caption", *(f"given {name}" for name in view.names)]
        found.append(Captions(f"{spec.name}: test items, and one draw each", heads, rows))
        written = view.words(spec, as_data(sampled[spec.name][:_SAMPLES], spec))
        beside = _pictures(sampled.get(picture), len(written))
        rows = [(png, (text,)) for png, text in zip(beside, written, strict=True)]
        found.append(Captions(f"{spec.name}: draws from the prior", ["drawn"], rows))
    return found


def _pictures(images: Any, count: int) -> Iterable[bytes | None]:
    if images is None:
        return [None] * count
    return [_png(image) for image in as_rgb(np.asarray(images)[:count])]


def _png(image: np.ndarray) -> bytes:
    """An image [H, W, 3] in [0, 1], small ones repeated pixel by pixel."""
    factor = max(1, -(-_SMALLEST // max(image.shape[:2])))
    pixels = (image * 255).round().astype(np.uint8).repeat(factor, 0).repeat(factor, 1)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
