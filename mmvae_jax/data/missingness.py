"""Partial observation: which modalities of each training row are kept, and rows taken apart.

A policy only removes: what is absent from the start stays absent, and no row that holds something
is left with nothing. Every row has one random number of its own and one for each of its
modalities, the i-th ones of streams that belong to (seed, row or modality's name): neither other
rows, nor the number of modalities, devices or processes change them.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from mmvae_jax.data.contract import Dataset, Split
from mmvae_jax.data.options import check_choice
from mmvae_jax.types import ModalitySpec, UserError, nearest

POLICIES = ("none", "independent", "paired", "always", "split", "labels_per_class")
RESTS = ("each", "one")

# The modality whose examples `labels_per_class` counts.
LABEL = "label"


@dataclasses.dataclass(frozen=True)
class Partial:
    """The options of the section ``data`` that every dataset has.

    Attributes:
      partial: the policy.

        - ``none``: nothing is removed.
        - ``independent``: each present modality is kept with probability `observed`, never none.
        - ``paired``: the fraction `observed` of the rows stays as it is; see `rest` for the others.
        - ``always``: the fraction `observed` stays, the others keep the modality `always` alone
          (MEME's unimodal data). A row without it keeps what it has.
        - ``split``: the fraction `observed` stays, the others keep one modality, the next one with
          each row (SPLIT in the MEME paper).
        - ``labels_per_class``: so many rows of each class keep their ``label``; see `rest`.
      observed: that probability or fraction. Rows that stay at one fraction stay at every larger
        one.
      rest: what becomes of the other rows of ``paired`` and ``labels_per_class``. ``each``: a row
        for each of its modalities, which nothing ties together any more (for
        ``labels_per_class``: one with the label, one with all else). ``one``: it keeps a random
        one of its modalities (``labels_per_class``: all but the label).
      always: name of a modality.
      labels_per_class: number of rows.
    """

    partial: str = "none"
    observed: float = 1.0
    rest: str = "each"
    always: str = ""
    labels_per_class: int = 0

    def __post_init__(self) -> None:
        for key, allowed in (("partial", POLICIES), ("rest", RESTS)):
            check_choice(key, getattr(self, key), allowed)
        observed, labels = self.observed, self.labels_per_class
        if not _is(observed, int | float) or not 0 <= observed <= 1:
            raise UserError(f"data.observed is {observed!r}, it must be a number from 0 to 1")
        if not isinstance(self.always, str):
            raise UserError(f"data.always is {self.always!r}, it must be the name of a modality")
        if not _is(labels, int) or labels < 0:
            raise UserError(f"data.labels_per_class is {labels!r}, it must be a number of rows")
        if observed != 1 and self.partial in ("none", "labels_per_class"):
            raise UserError(
                f"data.observed is {observed:g}, but data.partial is {self.partial!r}, which does "
                "not use it; set data.partial to independent, paired, always or split"
            )
        if bool(self.always) != (self.partial == "always"):
            raise UserError(
                f"data.always is {self.always!r}, but data.partial is {self.partial!r}; "
                "data.partial=always needs the name of a modality, other policies need none"
            )
        if bool(labels) != (self.partial == "labels_per_class"):
            raise UserError(
                f"data.labels_per_class is {labels}, but data.partial is {self.partial!r}; "
                "data.partial=labels_per_class needs a number of rows, other policies need 0"
            )

    def check(self, specs: tuple[ModalitySpec, ...]) -> None:
        """Raises UserError where the modalities that the policy names are not there."""
        names = [spec.name for spec in specs]
        if self.partial == "always" and self.always not in names:
            raise UserError(
                f"data.always is {self.always!r}, the modalities are {', '.join(names)}"
                f"{nearest(self.always, names)}"
            )
        if self.partial == "labels_per_class" and not any(_is_label(spec) for spec in specs):
            raise UserError(
                f"data.partial is 'labels_per_class', but the data have no modality {LABEL!r} with "
                f"classes, only {', '.join(names)}"
            )

    def __str__(self) -> str:
        share = f"{100 * self.observed:.6g} %"
        return {
            "none": "every row is left as it is",
            "independent": f"each modality is kept with a probability of {share}, never none",
            "paired": f"{share} of the rows stay, of the others "
            + ("each modality is a row" if self.rest == "each" else "one random modality is kept"),
            "always": f"{share} of the rows stay, of the others {self.always!r} is kept",
            "split": f"{share} of the rows stay, of the others one modality in turn is kept",
            "labels_per_class": f"{self.labels_per_class} rows of each class keep their label, of "
            + ("the others it is a row" if self.rest == "each" else "the others it is left out"),
        }[self.partial]


OPTIONS: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(Partial)}


def apply(dataset: Dataset, options: Partial, seed: int) -> Dataset:
    """The dataset with a training split that the policy made partial.

    Raises:
      UserError: the data lack what the policy needs.
    """
    if options.partial == "none":
        return dataset
    options.check(dataset.specs)
    train = make_partial(dataset.splits["train"], dataset.specs, options, seed)
    chosen = {key: getattr(options, key) for key in OPTIONS}
    settings = "-".join(f"{k}={value}" for k, value in chosen.items() if value != OPTIONS[k])
    return dataclasses.replace(
        dataset,
        splits={**dataset.splits, "train": train},
        provenance=f"{dataset.provenance}; partial training data ({options})",
        fingerprint=f"{dataset.fingerprint}-{settings}-seed={seed}",
    )


def make_partial(
    split: Split, specs: tuple[ModalitySpec, ...], options: Partial, seed: int
) -> Split:
    """Carries out the policy on one split.

    What is absent keeps its content in the arrays: by the contract of batches nothing reads it.
    The rows made of one row follow each other in its place.
    """
    present = np.stack([split.present[spec.name] for spec in specs], 1)
    pieces = _pieces(split, specs, present, options, seed)
    filled = pieces.any(-1)
    filled[~present.any(-1), 0] = True  # what holds nothing is kept, and counted as such
    rows, which = np.nonzero(filled)
    kept = pieces[rows, which]
    chosen = split if np.array_equal(rows, np.arange(len(split))) else split.select(rows)
    return dataclasses.replace(
        chosen,
        present={spec.name: kept[:, m] for m, spec in enumerate(specs)},
    )


def groups(split: Split) -> dict[str, np.ndarray]:
    """Row numbers by what the rows hold; only groups that have rows.

    ``complete`` has every modality, a modality's name stands for rows with it alone, ``other`` for
    several but not all. Rows with nothing are in no group.

    Raises:
      UserError: a modality has one of the other groups' names.
    """
    for name in {"complete", "other"} & set(split.present):
        raise UserError(f"a modality is called {name!r}, which names a group of rows: rename it")
    present = np.stack(list(split.present.values()), 1)
    count = present.sum(1)
    alone = np.where(count == 1, present.argmax(1), -1)
    found = {"complete": count == present.shape[1]}
    for m, name in enumerate(split.present):
        found[name] = (alone == m) & ~found["complete"]
    found["other"] = (count > 1) & ~found["complete"]
    return {name: np.flatnonzero(rows) for name, rows in found.items() if rows.any()}


def _pieces(
    split: Split,
    specs: tuple[ModalitySpec, ...],
    present: np.ndarray,
    options: Partial,
    seed: int,
) -> np.ndarray:
    """What each row becomes, bool ``[N, P, M]``: up to P rows (the empty ones are none)."""
    if options.partial == "none":
        return present[:, None]
    if options.partial == "independent":
        draws = _modality_draws(specs, len(split), seed)
        kept = present & (draws < options.observed)
        # Given that all draws are too large, each is equally likely to be the smallest.
        return np.where(kept.any(1, keepdims=True), kept, _first(present, draws))[:, None]
    if options.partial == "labels_per_class":
        stay = _labelled(split, specs, present, options.labels_per_class, seed)
    else:
        stay = _smallest(_draws("row", len(split), seed), _count(options.observed, len(split)))
    rest = _rest(specs, present, options, seed)
    whole = np.zeros_like(rest)
    whole[:, 0] = present
    return np.where(stay[:, None, None], whole, rest)


def _rest(
    specs: tuple[ModalitySpec, ...], present: np.ndarray, options: Partial, seed: int
) -> np.ndarray:
    """`_pieces` of the rows that do not stay as they are."""
    count, modalities = present.shape
    names = [spec.name for spec in specs]
    if options.partial == "always":
        kept = present & (np.array(names) == options.always)
        return np.where(kept.any(1, keepdims=True), kept, present)[:, None]
    if options.partial == "split":
        # Row i begins with modality i mod M, and takes the first one from there that it has.
        turn = (np.arange(modalities) - np.arange(count)[:, None]) % modalities
        return _first(present, turn)[:, None]
    if options.partial == "labels_per_class":
        is_label = np.array(names) == LABEL
        others = present & ~is_label
        kept = [others, present & is_label] if options.rest == "each" else [others]
        return np.stack(kept, 1)
    if options.rest == "one":
        return _first(present, _modality_draws(specs, count, seed))[:, None]
    return present[:, None] & np.eye(modalities, dtype=bool)


def _labelled(
    split: Split, specs: tuple[ModalitySpec, ...], present: np.ndarray, count: int, seed: int
) -> np.ndarray:
    """Bool ``[N]``: `count` random rows of each class, out of those that have their label."""
    names = [spec.name for spec in specs]
    has = present[:, names.index(LABEL)]
    draws = _draws("row", len(split), seed)
    stay = np.zeros(len(split), bool)
    for number in range(specs[names.index(LABEL)].num_classes):
        rows = np.flatnonzero(has & (split.x[LABEL] == number))
        if len(rows) < count:
            raise UserError(
                f"data.labels_per_class is {count}, but class {number} has {len(rows)} training "
                "rows with a label"
            )
        stay[rows[_smallest(draws[rows], count)]] = True
    return stay


def _first(present: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Of the modalities of each row that are `present` the one with the smallest `order`."""
    best = np.where(present, order, np.inf).argmin(1)
    return present & (np.arange(present.shape[1]) == best[:, None])


def _smallest(draws: np.ndarray, count: int) -> np.ndarray:
    """Bool ``[N]``: where the `count` smallest draws are. More of them hold the fewer."""
    found = np.zeros(len(draws), bool)
    found[np.argsort(draws, kind="stable")[:count]] = True
    return found


def _count(observed: float, rows: int) -> int:
    """The number of rows that a fraction means: the nearest, and at least 1 unless it is 0."""
    return max(1, round(observed * rows)) if observed else 0


def _modality_draws(specs: tuple[ModalitySpec, ...], count: int, seed: int) -> np.ndarray:
    """Uniform numbers ``[N, M]``."""
    return np.stack([_draws(f"modality {spec.name}", count, seed) for spec in specs], 1)


def _draws(what: str, count: int, seed: int) -> np.ndarray:
    """Uniform numbers ``[N]`` of the stream for `what`; more of them begin like fewer."""
    key = np.random.SeedSequence([seed, zlib.crc32(what.encode())])
    return np.random.Generator(np.random.Philox(key)).random(count)


def _is(value: Any, kind: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _is_label(spec: ModalitySpec) -> bool:
    return spec.name == LABEL and spec.num_classes > 0 and spec.shape == ()


def from_options(options: Mapping[str, Any]) -> Partial:
    """The options among others; what is not there has its default.

    Raises:
      UserError: one that does not fit.
    """
    return Partial(**{key: options[key] for key in OPTIONS if key in options})
