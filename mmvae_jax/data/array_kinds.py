"""What one array of the user's own data is: its kind, which rows are there, and how it is stored.

Inferred from type and shape alone, so that the same array always is the same thing:

    uint8 [N, H, W] or [N, H, W, C]   image       8 to 256 pixels high and wide
    float [N, D] or [N]               vector
    bool [N, D] or [N]                attributes
    integers [N]                      label       classes 0, 1, ...
    integers [N, D]                   tokens      where the name says so: it is, or ends in "_" and,
                                                  one of tokens, text, caption, captions
                                      counts      else
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np

from mmvae_jax.data import rows
from mmvae_jax.data.rows import StoredRows
from mmvae_jax.types import UserError, nearest

KINDS = ("image", "vector", "counts", "label", "attributes", "tokens", "skip")
NAN = ("error", "absent")
MAX_CLASSES = 1_000
MAX_WORDS = 50_000

_TOKENS = ("tokens", "text", "caption", "captions")
_SIDES = (8, 256)
_DTYPES = {
    "image": "uint8",
    "vector": "float32",
    "counts": "int32",
    "label": "int32",
    "attributes": "bool",
    "tokens": "int32",
}
_NUM_AXES = {"image": (3, 4), "label": (1, 2)}  # of the array; others have one or two
_INTEGERS = "iu"
_SIZES = {"label": (2, MAX_CLASSES), "tokens": (2, MAX_WORDS)}


class Said(NamedTuple):
    """What ``data.kinds`` says of an array: its kind, and how many classes or tokens there are.

    Attributes:
      kind: one of `KINDS`, or "" where nothing is said.
      num_classes: 0: as many as the largest number asks for.
    """

    kind: str = ""
    num_classes: int = 0


NOTHING = Said()


@dataclasses.dataclass(frozen=True, eq=False)
class View:
    """One array as a modality.

    Attributes:
      name: the modality.
      array: ``[N, ...]`` as it came, perhaps mapped from a file.
      kind: one of `KINDS`.
      shape: of one stored example.
      why: how the kind is known, in words.
      present: bool ``[N]``.
      num_classes: of a label, or the vocabulary of tokens; else 0.
    """

    name: str
    array: np.ndarray
    kind: str
    shape: tuple[int, ...]
    why: str
    present: np.ndarray
    num_classes: int = 0

    @property
    def dtype(self) -> str:
        """How the examples are stored."""
        return _DTYPES[self.kind]

    def rows(self, chosen: np.ndarray) -> np.ndarray | StoredRows:
        """The rows as models take them, ``[n, *shape]``; what is absent is 0."""
        return rows.of(self.array, chosen, self.present[chosen], self.dtype, self.shape)


def view(
    name: str,
    array: np.ndarray,
    *,
    said: Said = NOTHING,
    marked: np.ndarray | None = None,
    nan: str = "error",
) -> View:
    """Looks at one array and at every number that it holds.

    Args:
      name: of the modality, for messages too.
      array: ``[N, ...]``.
      said: its kind; what is not said is inferred.
      marked: which rows are present, bool ``[N]``; None: all but those that are NaN throughout.
      nan: ``error`` refuses rows with NaN in some places; ``absent`` takes them as absent.

    Raises:
      UserError: an array that is of no kind, or holds what its kind cannot hold.
    """
    if array.dtype.kind not in "biuf":
        raise UserError(
            f"{name!r} holds {array.dtype}, not numbers: booleans, integers and floats are read; "
            f"names of classes become integers with np.unique(..., return_inverse=True)"
        )
    kind, why = said.kind, f"{array.dtype} {list(array.shape)}, as data.kinds says"
    if not kind:
        kind, why = infer(name, array)
    shape = _shape(name, array, kind)
    present, largest = examine(name, array, kind, marked, nan, said.num_classes)
    if not present.any():
        raise UserError(f"{name!r} is absent in every row: leave it out (data.kinds={name}:skip)")
    num_classes = said.num_classes or (int(largest) + 1 if kind in _SIZES else 0)
    if kind == "label" and not 2 <= num_classes <= MAX_CLASSES:
        raise UserError(
            f"{name!r} has values up to {num_classes - 1:,}: as a label it would have "
            f"{num_classes:,} classes, there may be 2 to {MAX_CLASSES:,}; data.kinds={name}:counts "
            f"or {name}:vector takes it as numbers, {name}:skip leaves it out"
        )
    if kind == "tokens" and not 2 <= num_classes <= MAX_WORDS:
        raise UserError(
            f"{name!r} has values up to {num_classes - 1:,}: as tokens it would have a vocabulary "
            f"of {num_classes:,}, there may be 2 to {MAX_WORDS:,}; data.kinds={name}:counts takes "
            f"it as numbers, {name}:skip leaves it out"
        )
    return View(name, array, kind, shape, why, present, num_classes)


def infer(name: str, array: np.ndarray) -> tuple[str, str]:
    """(kind, how it is known); the table is at the top of this file."""
    letter, axes = array.dtype.kind, array.ndim
    form = f"{array.dtype} {list(array.shape)}"
    if array.dtype == np.uint8 and axes in (3, 4):
        return "image", form
    if letter == "f" and axes in (1, 2):
        return "vector", form
    if letter == "b" and axes in (1, 2):
        return "attributes", form
    if letter in _INTEGERS and axes == 1:
        return "label", form
    if letter in _INTEGERS and axes == 2:
        if name in _TOKENS or name.endswith(tuple(f"_{word}" for word in _TOKENS)):
            return "tokens", f"{form}, and its name"
        return "counts", form
    raise UserError(
        f"{name!r} is {form}, which is of no kind: images are uint8 [N, H, W] or [N, H, W, C] "
        "(floats times 255), vectors, counts and attributes [N, D], labels [N]"
    )


def parse(text: str) -> dict[str, Said]:
    """``"a:counts,b:tokens:5000"`` as a mapping; UserError with the nearest match."""
    found: dict[str, Said] = {}
    for entry in filter(None, text.split(",")):
        head, _, size = entry.strip().rpartition(":")
        name, colon, kind = head.rpartition(":")
        # Names may hold colons, too: what is behind the last one is a kind, or how many.
        sized = name and size not in KINDS and (kind in KINDS or size.isdecimal())
        if not sized:
            name, colon, kind = entry.strip().rpartition(":")
        if not colon or not name:
            raise UserError(
                f"data.kinds: {entry!r} must be NAME:KIND (or NAME:KIND:SIZE for label and "
                "tokens), several joined by commas"
            )
        if kind not in KINDS:
            raise UserError(
                f"data.kinds: {name!r} is to be {kind!r}, it must be one of {', '.join(KINDS)}"
                f"{nearest(kind, KINDS)}"
            )
        found[name] = Said(kind, _size(name, kind, size) if sized else 0)
    return found


def _size(name: str, kind: str, text: str) -> int:
    """How many classes or tokens ``data.kinds`` says that there are."""
    if kind not in _SIZES:
        raise UserError(
            f"data.kinds: {name!r} is to be {kind} of size {text!r}: only {' and '.join(_SIZES)} "
            "have one"
        )
    least, most = _SIZES[kind]
    if not (text.isascii() and text.isdecimal() and least <= int(text) <= most):
        what = "classes" if kind == "label" else "tokens"
        raise UserError(
            f"data.kinds: {name!r} is to have {text!r} {what}, there may be {least} to {most:,}"
        )
    return int(text)


def _shape(name: str, array: np.ndarray, kind: str) -> tuple[int, ...]:
    """Of one stored example."""
    form = f"{array.dtype} {list(array.shape)}"
    fits = array.ndim in _NUM_AXES.get(kind, (1, 2))
    if not fits or (kind == "image" and array.dtype != "uint8"):
        must = {"image": "uint8 [N, H, W] or [N, H, W, C]", "label": "[N]"}.get(kind, "[N, D]")
        raise UserError(f"{name!r} is {form}, but {kind} must be {must}")
    if not array.size:
        raise UserError(f"{name!r} of shape {list(array.shape)} is empty")
    if kind == "label":
        if array.size != len(array):
            raise UserError(f"{name!r} is {form}, but a label is one integer per row: [N]")
        return ()
    if kind != "image":
        return (array.shape[1] if array.ndim == 2 else 1,)
    low, high = _SIDES
    if not all(low <= side <= high for side in array.shape[1:3]):
        first = " (channels come last)" if array.ndim == 4 and array.shape[1] <= 4 else ""
        raise UserError(
            f"{name!r} is {form}: images are {low} to {high} pixels high and wide{first}; "
            f"smaller ones can be counts, reshaped to [N, D]"
        )
    return array.shape[1:] if array.ndim == 4 else (*array.shape[1:], 1)


def examine(
    name: str,
    array: np.ndarray,
    kind: str,
    marked: np.ndarray | None,
    nan: str,
    num_classes: int = 0,
) -> tuple[np.ndarray, float]:
    """Which rows are present, bool ``[N]``, and the largest number in them.

    Args:
      name: of the modality, for messages.
      array: ``[N, ...]``, looked at in blocks.
      kind: one of `KINDS`.
      marked: see `view`.
      nan: see `view`.
      num_classes: how many classes or tokens there are, where that is known; else 0.

    Raises:
      UserError: a number that this kind cannot hold, or NaN in a present row.
    """
    present = np.ones(len(array), bool) if marked is None else marked.copy()
    largest = -np.inf
    for start, block in rows.blocks(array):
        block = block.reshape(len(block), -1)
        part = slice(start, start + len(block))
        if block.dtype.kind == "f":
            present[part] &= _complete(name, block, start, present[part], marked is not None, nan)
        there = block[present[part]]
        if not there.size:
            continue
        numbers = start + np.flatnonzero(present[part])
        _check_numbers(name, there, kind, numbers)
        if num_classes:
            what = "classes" if kind == "label" else "tokens"
            must = f"must be at most {num_classes - 1:,}, for there are {num_classes:,} {what}"
            _refuse(name, there, numbers, there >= num_classes, must)
        largest = max(largest, float(there.max()))
    return present, largest


def _complete(
    name: str, block: np.ndarray, start: int, present: np.ndarray, explicit: bool, nan: str
) -> np.ndarray:
    """Bool ``[n]``: which rows of a block hold no NaN. Gaps in a present row are an error."""
    gaps = np.isnan(block)
    some = gaps.any(1)
    wrong = present & some & (explicit | ~gaps.all(1))
    if nan == "error" and wrong.any():
        row = int(wrong.argmax())
        column = int(gaps[row].argmax())
        raise UserError(
            f"{name!r} holds NaN in row {start + row} (column {column}), which is not absent: fill "
            "it in or make the whole row NaN; a model trained with data.nan=absent leaves it out"
        )
    return ~some


def _check_numbers(name: str, there: np.ndarray, kind: str, rows: np.ndarray) -> None:
    """Raises UserError where present numbers ``[n, D]`` are not what the kind can be.

    rows: their numbers in the whole array.
    """
    if there.dtype.kind == "f":
        # Beyond float32, in which models compute, is as good as infinite.
        _refuse(name, there, rows, ~(np.abs(there) <= np.finfo(np.float32).max), "must be finite")
    if kind in ("counts", "label", "attributes", "tokens") and there.dtype.kind == "f":
        _refuse(name, there, rows, there != np.floor(there), f"must be whole for {kind}")
    if kind in ("counts", "label", "tokens"):
        limit = np.iinfo(np.int32).max
        _refuse(name, there, rows, there < 0, f"must not be negative for {kind}")
        # Of float64: half a float would overflow.
        _refuse(name, there, rows, there > np.float64(limit), f"must be at most {limit:,}")
    if kind == "attributes" and there.dtype != bool:
        _refuse(name, there, rows, (there != 0) & (there != 1), "must be 0 or 1 for attributes")


def _refuse(name: str, there: np.ndarray, rows: np.ndarray, bad: np.ndarray, must: str) -> None:
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise UserError(
            f"{name!r} holds {there[row, column]} in row {rows[row]} (column {column}): it {must}"
        )
