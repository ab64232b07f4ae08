"""What a figure is given: the model, a few test items to look at, the results."""

from __future__ import annotations

import dataclasses
import functools
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mmvae_jax import data, models
from mmvae_jax.evaluation.classifiers import is_label
from mmvae_jax.evaluation.sampling import fair_order, turns
from mmvae_jax.report.style import plain, short
from mmvae_jax.types import ModalitySpec, Variables

_ITEMS = 10
_LETTERS = 80  # of a text


class NothingToShow(Exception):
    """A figure has no content for this run; the text says why."""


@dataclasses.dataclass(frozen=True, eq=False)
class View:
    """One run, as the figures see it."""

    model: Any
    variables: Variables
    dataset: Any
    workdir: Path
    results: Mapping[str, Any]
    seed: int = 0

    @functools.cached_property
    def images(self) -> tuple[ModalitySpec, ...]:
        """The modalities that can be shown; `NothingToShow` where there is none."""
        found = tuple(spec for spec in self.dataset.specs if spec.is_image)
        if not found:
            raise NothingToShow("no modality is an image")
        return found

    @property
    def names(self) -> tuple[str, ...]:
        """All modalities, in the order of their specs."""
        return tuple(spec.name for spec in self.dataset.specs)

    @functools.cached_property
    def label(self) -> ModalitySpec | None:
        """The modality that is the class label, which sheets show as text; None without one."""
        split, count = self.dataset.splits["test"], self.dataset.num_classes
        return next((spec for spec in self.dataset.specs if is_label(spec, split, count)), None)

    def class_texts(self, classes: np.ndarray, letters: int = 10) -> list[str]:
        """What stands for each class in a sheet; a dash for a negative one, which is none."""
        names = self.dataset.class_names or [str(i) for i in range(self.dataset.num_classes)]
        return [short(names[i], letters) if i >= 0 else "–" for i in classes]

    @functools.cached_property
    def texts(self) -> tuple[ModalitySpec, ...]:
        """The modalities that are tokens of a known vocabulary, which sheets show as words."""
        return tuple(spec for spec in self.dataset.specs if spec.name in self.dataset.vocabularies)

    def words(self, spec: ModalitySpec, tokens: np.ndarray) -> list[str]:
        """Texts [N, L] up to their ends, in words."""
        words = self.dataset.vocabularies[spec.name]
        over = spec.behind_end(tokens) | (tokens == spec.end_id) | (tokens == spec.pad_id)
        return [
            " ".join(words[i] for i in row[~behind])
            for row, behind in zip(tokens, over, strict=True)
        ]

    def sentences(self, spec: ModalitySpec, tokens: np.ndarray) -> list[str]:
        """`words` as sheets show them; quotation marks show empty ones."""
        return [f"“{short(text, _LETTERS)}”" for text in self.words(spec, tokens)]

    @property
    def note(self) -> str:
        """Which modalities are left out of sheets of images."""
        left = [
            plain(spec.name)
            for spec in self.dataset.specs
            if not spec.is_image and spec is not self.label and spec not in self.texts
        ]
        return f"not images, and not shown: {', '.join(left)}" if left else ""

    @functools.cached_property
    def batch(self) -> dict[str, Any]:
        """Up to ten test items, prepared: one of each class where there are classes."""
        return self.items(_ITEMS)

    def items(self, count: int) -> dict[str, Any]:
        """So many test items (or all), prepared: different ones, of all classes alike."""
        split = self.dataset.splits["test"]
        if not len(split):
            raise NothingToShow("the dataset has no test rows")
        return models.prepare(data.take(split, items_to_show(split, count)))

    def key(self, purpose: str) -> jax.Array:
        """A random key that is the same in every run of the same seed."""
        return jax.random.fold_in(jax.random.key(self.seed), zlib.crc32(purpose.encode()))


def items_to_show(split: Any, count: int) -> np.ndarray:
    """Rows of a split: whole rows before incomplete ones, classes in turn, else a fair choice.

    One of each item (a photograph is not shown with each of its ten captions), in the order of
    their classes.
    """
    whole = np.stack([np.asarray(present) for present in split.present.values()]).mean(0)
    label = np.zeros(len(split), int) if split.label is None else np.asarray(split.label)
    rows = fair_order(len(split))
    rows = rows[np.argsort(-whole[rows], kind="stable")]
    if split.item is not None:
        rows = rows[turns(split.item[rows]) == 0]
    chosen = rows[np.lexsort((label[rows], turns(label[rows]), -whole[rows]))[:count]]
    return chosen[np.lexsort((chosen, -whole[chosen], label[chosen]))]
