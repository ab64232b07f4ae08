"""What a dataset is, and how its rows become batches. All arrays here are NumPy's."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from mmvae_jax.data.binary import fixed_draw
from mmvae_jax.data.rows import StoredRows, blocks
from mmvae_jax.types import Batch, ModalitySpec

SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Rows of one split; row i of every array belongs together.

    Attributes:
      x: one array ``[N, *shape]`` per modality; images are uint8 in 0..255. In place of an array
        there may be what indexes like one, such as `rows.StoredRows`, which stay in their file.
      present: bool ``[N]`` per modality; where it is false, `x` has any finite content.
      label: int32 ``[N]``, or None where the data have no classes.
      attributes: int32 ``[N, A]``, what is true of each row, whatever of it is present, or None
        where that is not known; see `Captions`.
      item: integers ``[N]``: rows of one number show one and the same thing, as several captions
        of one image do. None: every row is an item of its own. Evaluation needs it, models do
        not: batches do not have it.
    """

    x: dict[str, np.ndarray | StoredRows]
    present: dict[str, np.ndarray]
    label: np.ndarray | None = None
    attributes: np.ndarray | None = None
    item: np.ndarray | None = None

    def __post_init__(self) -> None:
        lengths = {name: len(values) for name, values in self.x.items()}
        lengths |= {f"present/{name}": len(values) for name, values in self.present.items()}
        if self.label is not None:
            lengths["label"] = len(self.label)
        if self.attributes is not None:
            lengths["attributes"] = len(self.attributes)
        if self.item is not None:
            lengths["item"] = len(self.item)
        if not self.x or len(set(lengths.values())) != 1:
            raise ValueError(f"a split needs arrays of one length, got {lengths}")
        if set(self.x) != set(self.present):
            raise ValueError(f"modalities {sorted(self.x)}, but present has {sorted(self.present)}")

    @classmethod
    def complete(
        cls,
        x: dict[str, np.ndarray],
        label: np.ndarray | None = None,
        item: np.ndarray | None = None,
    ) -> Split:
        """A split in which every modality of every row is present."""
        present = {name: np.ones(len(values), bool) for name, values in x.items()}
        return cls(x, present, label, item=item)

    @property
    def nbytes(self) -> int:
        """What all its arrays take in memory."""
        return sum(values.nbytes for _, values in _arrays(self))

    def select(self, rows: slice | np.ndarray) -> Split:
        """The rows of a slice, of row numbers or of a mask; of what lies in files none is read."""
        return Split(
            x={
                name: values[rows] if isinstance(values, np.ndarray) else values.select(rows)
                for name, values in self.x.items()
            },
            present={name: values[rows] for name, values in self.present.items()},
            label=None if self.label is None else self.label[rows],
            attributes=None if self.attributes is None else self.attributes[rows],
            item=None if self.item is None else self.item[rows],
        )

    def __len__(self) -> int:
        return len(next(iter(self.x.values())))

    def __repr__(self) -> str:
        arrays = ", ".join(
            f"{name} {values.dtype}{list(values.shape[1:])}"
            + ("" if self.present[name].all() else f" ({self.present[name].mean():.0%} present)")
            for name, values in self.x.items()
        )
        return f"Split({len(self):,} rows: {arrays}{'' if self.label is None else ', label'})"


@dataclasses.dataclass(frozen=True, eq=False)
class Captions:
    """Texts that say something of an image that can be checked, row by row.

    Attributes:
      image: the modality that is described.
      caption: the modality that describes it, tokens.
      names: a name per attribute, the columns of `Split.attributes`.
      values: the names of each attribute's values, in the order of their numbers.
      parse: tokens ``[N, L]`` to attributes int32 ``[N, A]``, rows of -1 for what is no sentence.
    """

    image: str
    caption: str
    names: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]
    parse: Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Three splits and what is known of them.

    Attributes:
      name: key in the registry.
      specs: one per modality; their order is the order of the M axis everywhere.
      splits: ``train``, ``validation`` and ``test``.
      num_classes: number of classes, 0 where there are none.
      class_names: a name per class, or empty.
      provenance: one line for the log: where the data came from, and what they are not.
      fingerprint: hash of the content, computed where it is not given.
      kinds: (kind, how it is known) of each modality, where that was inferred; see `table`.
      vocabularies: the words of modalities that are tokens, in the order of their numbers.
      captions: where a text describes an image and it is known what is true of it.
      fit_specs: the specs for a training split, where they have locations and scales fitted on it.
      redrawn: modalities, bytes, of whose training rows each step draws 0 or 255 with the grey
        level as the probability; those of the other splits are drawn already. See `drawn`.
    """

    name: str
    specs: tuple[ModalitySpec, ...]
    splits: dict[str, Split]
    num_classes: int = 0
    class_names: tuple[str, ...] = ()
    provenance: str = ""
    fingerprint: str = ""
    kinds: Mapping[str, tuple[str, str]] = dataclasses.field(default_factory=dict)
    vocabularies: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    captions: Captions | None = None
    fit_specs: Callable[[Split], tuple[ModalitySpec, ...]] | None = None
    redrawn: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if set(self.splits) != set(SPLITS):
            raise ValueError(f"a dataset has the splits {SPLITS}, not {tuple(self.splits)}")
        for split_name, split in self.splits.items():
            if set(split.x) != {spec.name for spec in self.specs}:
                raise ValueError(f"{split_name} has {sorted(split.x)}, the specs say otherwise")
            for spec in self.specs:
                values = split.x[spec.name]
                if values.shape[1:] != spec.shape or values.dtype != spec.dtype:
                    raise ValueError(
                        f"{split_name}/{spec.name}: {values.dtype}{list(values.shape[1:])}, "
                        f"its spec says {spec.dtype}{list(spec.shape)}"
                    )
        if not self.fingerprint:
            object.__setattr__(self, "fingerprint", fingerprint(self.splits))

    def drawn(self) -> Dataset:
        """The data set to evaluate on: of `redrawn` modalities training rows are one fixed draw."""
        if not self.redrawn:
            return self
        train = self.splits["train"]
        binary = {name: fixed_draw(train.x[name], f"drawn/{name}") for name in self.redrawn}
        train = dataclasses.replace(train, x={**train.x, **binary})
        return dataclasses.replace(self, splits={**self.splits, "train": train}, redrawn=())

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name} {len(self.splits[name]):,}" for name in SPLITS)
        modalities = ", ".join(
            f"{spec.name} {spec.dtype}{list(spec.shape)} {spec.likelihood}" for spec in self.specs
        )
        return (
            f"Dataset({self.name}: {sizes}; {modalities}; "
            f"{self.num_classes} classes; {self.fingerprint[:12]})"
        )


def fingerprint(splits: Mapping[str, Split]) -> str:
    """Hash (32 hexadecimal digits) of every name, shape, dtype and byte of the splits."""
    digest = hashlib.blake2b(digest_size=16)
    for split_name in SPLITS:
        for path, values in _arrays(splits[split_name]):
            digest.update(f"{split_name}/{path} {values.dtype.str} {values.shape};".encode())
            for _, block in blocks(values):
                digest.update(np.ascontiguousarray(block).reshape(-1).view(np.uint8))
    return digest.hexdigest()


def take(split: Split, indices: np.ndarray) -> Batch:
    """The rows `indices` as a batch: `x`, `present`, `label` (where there is one), `weight`.

    An index of -1 is padding: row 0 with weight 0. Every other row has weight 1.
    """
    indices = np.asarray(indices)
    rows = np.maximum(indices, 0)
    batch: dict[str, Any] = {
        "x": {name: values[rows] for name, values in split.x.items()},
        "present": {name: values[rows] for name, values in split.present.items()},
        "weight": (indices >= 0).astype(np.float32),
    }
    if split.label is not None:
        batch["label"] = split.label[rows]
    return batch


def batches(split: Split, batch_size: int) -> Iterator[Batch]:
    """One exact pass in order: every row has weight 1 in one batch, and all batches are full.

    The last batch is filled up with row 0 at weight 0.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}, it must be >= 1")
    for start in range(0, len(split), batch_size):
        indices = np.full(batch_size, -1, np.int32)
        count = min(batch_size, len(split) - start)
        indices[:count] = np.arange(start, start + count)
        yield take(split, indices)


def _arrays(split: Split) -> Iterator[tuple[str, np.ndarray | StoredRows]]:
    for name in sorted(split.x):
        yield f"x/{name}", split.x[name]
        yield f"present/{name}", split.present[name]
    if split.label is not None:
        yield "label", split.label
    if split.attributes is not None:
        yield "attributes", split.attributes
    if split.item is not None:
        yield "item", split.item
