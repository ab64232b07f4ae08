"""Items that someone brings to a trained model: what they hold, and filling in what they lack."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmvae_jax.data import array_files, array_kinds
from mmvae_jax.data.arrays import PRESENT
from mmvae_jax.data.contract import SPLITS
from mmvae_jax.types import ModalitySpec, UserError


@dataclasses.dataclass(frozen=True, eq=False)
class Items:
    """Items as a model takes them, and as they came.

    Attributes:
      batch: ``{"x": {name: [N, *shape]}, "present": {name: bool [N]}}`` of every modality, in the
        stored types; what is absent is 0.
      given: the modalities' arrays as they came, in any type that can stand for the stored one;
        what did not come is not among them.
      gaps: which of their numbers are to be filled in, bool, of the same shape or [N, 1, ...]: an
        absent row, but of a row that is absent for its NaN only what is NaN.
      beside: arrays that came along and are no modalities.
    """

    batch: dict[str, dict[str, np.ndarray]]
    given: dict[str, np.ndarray]
    gaps: dict[str, np.ndarray]
    beside: dict[str, np.ndarray]

    @property
    def present(self) -> dict[str, np.ndarray]:
        """Which rows of each modality are there, bool [N]."""
        return self.batch["present"]

    def filled(self, spec: ModalitySpec, means: np.ndarray) -> np.ndarray:
        """One modality with its gaps filled from decoder means ``[N, *output shape]``.

        Type, shape and all other numbers are those of what came.
        """
        if spec.name not in self.given:
            return as_data(means, spec)
        array = self.given[spec.name]
        values = as_data(means, spec, array.dtype).reshape(array.shape)
        return np.where(self.gaps[spec.name], values, array)


def as_data(means: np.ndarray, spec: ModalitySpec, dtype: Any = None) -> np.ndarray:
    """Decoder means as data of that type, by default the one that the modality is stored in.

    The most probable class, token or boolean (behind the first end of a text it is padding), bytes
    of images, the nearest whole number of counts.
    """
    dtype = np.dtype(dtype or spec.dtype)
    if spec.num_classes:
        classes = means.argmax(-1)
        if spec.pad_id >= 0:
            classes = np.where(spec.behind_end(classes), spec.pad_id, classes)
        return classes.astype(dtype)
    if spec.dtype == "bool":
        return (means > 0.5).astype(dtype)
    if spec.dtype == "uint8":
        means = np.clip(means, 0.0, 1.0) * 255.0
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return np.rint(means).astype(np.float64).clip(limits.min, limits.max).astype(dtype)
    return means.astype(dtype)


def from_arrays(
    arrays: Mapping[str, Any],
    specs: Sequence[ModalitySpec],
    *,
    nan: str = "error",
    beside: Collection[str] = (),
) -> Items:
    """Items from arrays by modality name, missing ones left out.

    Args:
      arrays: also ``<name>__present``, bool; a row of floats that is NaN throughout is absent too.
      specs: what the model knows of its modalities.
      nan: what to make of rows that are NaN in some places: see `arrays.load`.
      beside: names that may be there and mean nothing to the model.

    Raises:
      UserError: a name that is no modality, a wrong shape or dtype, different numbers of rows,
        numbers that the modality cannot hold.
    """
    known = {spec.name: spec for spec in specs}
    apart = {name: np.asarray(array) for name, array in arrays.items() if name in beside}
    arrays = {name: array for name, array in arrays.items() if name not in beside}
    size = _common_length(arrays, known)
    x, present, gaps = {}, {}, {}
    for name, spec in known.items():
        marked = arrays.get(name + PRESENT)
        if name not in arrays:
            if marked is not None and np.asarray(marked).any():
                raise UserError(f"{name + PRESENT} marks rows as present, but {name!r} is missing")
            x[name] = np.zeros((size, *spec.shape), spec.dtype)
            present[name] = np.zeros(size, bool)
            continue
        array = np.asarray(arrays[name])
        marked = np.ones(size, bool) if marked is None else np.asarray(marked)
        if marked.dtype != bool or marked.shape != (size,):
            raise UserError(
                f"{name + PRESENT} must be bool [{size}], is {marked.dtype} {list(marked.shape)}"
            )
        explicit = name + PRESENT in arrays
        x[name], present[name] = _matching(array, spec, marked if explicit else None, nan)
        absent = ~present[name].reshape(-1, *(1,) * (array.ndim - 1))
        if array.dtype.kind == "f":
            absent = absent & (np.isnan(array) | ~marked.reshape(absent.shape))
        gaps[name] = absent
    given = {name: np.asarray(arrays[name]) for name in known if name in arrays}
    return Items({"x": x, "present": present}, given, gaps, apart)


def read(
    path: str | Path, specs: Sequence[ModalitySpec], options: Mapping[str, Any] | None = None
) -> Items:
    """Items from an .npz file or a folder of .npy files.

    Args:
      path: the file or folder.
      specs: what the model knows of its modalities.
      options: the section ``data`` of the model's config. Where it was trained on arrays, its
        classes, splits and skipped arrays may be there, and `nan` means what it meant.

    Raises:
      UserError: the file or an array in it does not fit.
    """
    options = options or {}
    beside: set[str] = set()
    if options.get("name") == "arrays":
        kinds = array_kinds.parse(options["kinds"])
        skipped = (name for name, said in kinds.items() if said.kind == "skip")
        beside = {options["label"], *SPLITS, *skipped}
        beside |= {name + PRESENT for name in beside}
        beside -= {spec.name for spec in specs} | {spec.name + PRESENT for spec in specs}
    found = array_files.read(path)
    try:
        return from_arrays(found, specs, nan=options.get("nan", "error"), beside=beside)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _common_length(arrays: Mapping[str, Any], known: Mapping[str, ModalitySpec]) -> int:
    for key in arrays:
        if key.removesuffix(PRESENT) not in known:
            raise UserError(f"array {key!r} is no modality of this model: {', '.join(known)}")
    sizes = {key: len(np.atleast_1d(array)) for key, array in arrays.items()}
    if not sizes:
        raise UserError(f"no modality given; this model has {', '.join(known)}")
    if len(set(sizes.values())) > 1:
        raise UserError(f"arrays have different numbers of rows: {sizes}")
    size = next(iter(sizes.values()))
    if size == 0:
        raise UserError("the arrays have no rows")
    return size


def _matching(
    array: np.ndarray, spec: ModalitySpec, marked: np.ndarray | None, nan: str
) -> tuple[np.ndarray, np.ndarray]:
    """(the rows as the model takes them, 0 where absent; which are present)."""
    if _sides(array.shape[1:]) != _sides(spec.shape) or not array.ndim:
        raise UserError(
            f"modality {spec.name!r} must have shape [N, {', '.join(map(str, spec.shape))}], "
            f"has {list(array.shape)}"
        )
    if array.dtype.kind not in "biuf" or (spec.dtype == "uint8" and array.dtype != np.uint8):
        raise UserError(f"modality {spec.name!r} must be {spec.dtype}, is {array.dtype}")
    present, _ = array_kinds.examine(spec.name, array, _kind(spec), marked, nan, spec.num_classes)
    rows = np.where(present.reshape(-1, *(1,) * (array.ndim - 1)), array, array.dtype.type(0))
    return rows.astype(spec.dtype).reshape(len(array), *spec.shape), present


def _kind(spec: ModalitySpec) -> str:
    if spec.num_classes:
        return "tokens" if spec.is_tokens else "label"
    return {"uint8": "image", "int32": "counts", "bool": "attributes"}.get(spec.dtype, "vector")


def _sides(shape: tuple[int, ...]) -> list[int]:
    """A shape without its axes of length 1: [N, H, W] can stand for [N, H, W, 1]."""
    return [side for side in shape if side != 1]
