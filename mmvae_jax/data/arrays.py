"""The user's own data: one .npz, or a folder of .npy files, with an array for each modality.

All arrays have one row per item. Beside the modalities there may be

    <name>__present   bool [N]      which rows of <name> are there (without it: all but NaN)
    label             integers [N]  the class of each item, negative where there is none; evaluation
                                    uses it, models do not see it
    train, validation, test         row numbers, or bool [N]; what none names is left out, except
                                    that without ``train`` the rest is trained on

What an array is follows from its type and shape (see `array_kinds`) unless `data.kinds` says it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from mmvae_jax.data import array_files, array_kinds, options, units
from mmvae_jax.data.array_kinds import NOTHING, Said, View
from mmvae_jax.data.contract import SPLITS, Dataset, Split
from mmvae_jax.types import ModalitySpec, UserError, nearest

PRESENT = "__present"
_TAKEN = ("shared", "joint")  # what imputed files and results say of all modalities together
COUNT_LIKELIHOODS = ("negative_binomial", "poisson")


def load(
    *,
    path: str = "",
    kinds: str = "",
    label: str = "label",
    nan: str = "error",
    standardise: bool = True,
    count_likelihood: str = "negative_binomial",
    library_offset: bool = True,
    pad_id: int = -1,
    end_id: int = -1,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    seed: int = 0,
) -> Dataset:
    """Reads the arrays and says what they are.

    Args:
      path: the .npz file, or the folder.
      kinds: ``"a:counts,b:vector,c:skip,d:tokens:5000"`` in place of what is inferred. The number
        behind ``tokens`` or ``label`` is how many there are, also where no row has the last ones.
      label: name of the array with the items' classes, which is no modality unless `kinds` names
        it too (``label:label``); empty: there is none.
      nan: ``error`` refuses a row of floats that is NaN in some places, ``absent`` takes it as
        absent. A row that is NaN throughout always is absent.
      standardise: whether columns of vectors are shifted and scaled inside the model, by means and
        standard deviations of the present training rows. Likelihoods stay those of the data as
        they are.
      count_likelihood: ``negative_binomial`` or ``poisson``.
      library_offset: whether the rates of counts are shares of their row's total.
      pad_id: the token that fills texts up behind their end, whose positions then do not count; -1:
        there is none, and all positions count.
      end_id: the token that ends a text; -1: the first padding does.
      validation_fraction: rows held out for validation where the file has no split; 0: none.
      test_fraction: the same for the test.
      seed: of that split.

    Raises:
      UserError: one line, for whatever does not fit.
    """
    if not path:
        raise UserError("data.path is empty: name an .npz file, or a folder of .npy files")
    for key, value, allowed in (
        ("nan", nan, array_kinds.NAN),
        ("count_likelihood", count_likelihood, COUNT_LIKELIHOODS),
    ):
        options.check_choice(key, value, allowed)
    if end_id >= 0 and pad_id < 0:
        raise UserError(
            f"data.end_id is {end_id}, but data.pad_id, what comes behind it, is not set"
        )
    arrays = array_files.read(path)
    try:
        said = array_kinds.parse(kinds)
        _check_ids(said, pad_id, end_id)
        table = _Table.of(arrays, said, label, nan)
        parts, origin = _parts(arrays, table, validation_fraction, test_fraction, seed)
        # Without the arrays: what is kept with the dataset must not keep them in memory.
        bare = tuple(dataclasses.replace(v, array=v.array[:0].copy()) for v in table.views)
        text = {"pad_id": pad_id, "end_id": end_id if end_id >= 0 else pad_id}
        fit = functools.partial(_specs, bare, standardise, count_likelihood, library_offset, text)
        splits = {name: table.split(rows) for name, rows in parts.items()}
        specs = fit(splits["train"])
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return Dataset(
        name="arrays",
        specs=specs,
        splits=splits,
        num_classes=table.num_classes,
        class_names=tuple(str(number) for number in range(table.num_classes)),
        provenance=f"arrays: {table.size:,} items read from {path}; splits {origin}",
        kinds={view.name: (view.kind, view.why) for view in table.views},
        fit_specs=fit,
    )


def _check_ids(kinds: Mapping[str, Said], pad_id: int, end_id: int) -> None:
    """Raises UserError where a vocabulary that is said to be so large lacks one of these tokens."""
    for name, said in kinds.items():
        for key, token in (("pad_id", pad_id), ("end_id", end_id)):
            if said.kind == "tokens" and 0 < said.num_classes <= token:
                raise UserError(
                    f"data.{key} is {token}, but by data.kinds the tokens of {name!r} are 0 to "
                    f"{said.num_classes - 1:,}"
                )


@dataclasses.dataclass(frozen=True, eq=False)
class _Table:
    """The modalities and the classes, one row per item."""

    views: list[View]
    label: View | None
    size: int

    @classmethod
    def of(
        cls, arrays: Mapping[str, np.ndarray], kinds: Mapping[str, Said], label: str, nan: str
    ) -> _Table:
        for name in kinds:
            if name not in arrays:
                raise UserError(f"data.kinds names {name!r}, there is none{nearest(name, arrays)}")
        if label and label not in arrays and label != "label":
            raise UserError(f"data.label is {label!r}, there is none{nearest(label, arrays)}")
        skipped = {name for name, said in kinds.items() if said.kind == "skip"}
        arrays = {
            name: array
            for name, array in arrays.items()
            if not skipped & {name, name.removesuffix(PRESENT)}
        }
        names = [name for name in arrays if name not in SPLITS and not name.endswith(PRESENT)]
        size = _common_length(arrays, names)
        marks = _marks(arrays, names, size)
        views = [
            array_kinds.view(name, arrays[name], said=kinds.get(name, NOTHING), marked=m, nan=nan)
            for name, m in ((name, marks.get(name)) for name in names)
            if name != label or name in kinds
        ]
        if len(views) < 2:
            hint = f" (data.kinds={label}:label makes the classes one)" if label in arrays else ""
            raise UserError(
                f"{len(views)} modalities found ({', '.join(v.name for v in views) or 'none'}), "
                f"there must be two or more{hint}"
            )
        if label not in arrays:
            return cls(views, None, size)
        said = kinds.get(label, NOTHING)
        said = said if said.kind == "label" else Said("label")
        return cls(views, _classes(label, arrays, marks.get(label), said), size)

    @property
    def num_classes(self) -> int:
        return self.label.num_classes if self.label else 0

    def split(self, rows: np.ndarray) -> Split:
        """These rows; of arrays mapped from files they stay there."""
        label = None
        if self.label:
            label = np.where(self.label.present[rows], self.label.rows(rows), np.int32(-1))
        return Split(
            x={view.name: view.rows(rows) for view in self.views},
            present={view.name: view.present[rows] for view in self.views},
            label=label,
        )


def _common_length(arrays: Mapping[str, np.ndarray], names: list[str]) -> int:
    """The number of items: that of every array."""
    if not names:
        raise UserError("there is no array of a modality")
    lengths = {}
    for name in names:
        if "__" in name:
            raise UserError(
                f"{name!r}: of names with '__' only NAME{PRESENT} means something; rename it, or "
                f"leave it out with data.kinds={name}:skip"
            )
        if name in _TAKEN:
            raise UserError(f"{name!r} means something else in results: rename it")
        if not arrays[name].ndim:
            raise UserError(f"{name!r} is a single number, not an array with a row per item")
        lengths[name] = len(arrays[name])
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name!r} has {length:,}" for name, length in lengths.items())
        raise UserError(f"the arrays have different numbers of rows: {listed}")
    size = next(iter(lengths.values()))
    if not size:
        raise UserError("the arrays have no rows")
    return size


def _marks(arrays: Mapping[str, np.ndarray], names: list[str], size: int) -> dict[str, np.ndarray]:
    """Which rows of a modality are present, where an array says so."""
    marks = {}
    for key, array in arrays.items():
        name = key.removesuffix(PRESENT)
        if name == key:
            continue
        if name not in names:
            raise UserError(
                f"{key!r} marks rows of {name!r}, which is not there{nearest(name, names)}"
            )
        if array.dtype != bool or array.shape != (size,):
            raise UserError(f"{key!r} must be bool [{size}], is {array.dtype} {list(array.shape)}")
        marks[name] = np.asarray(array)
    return marks


def _classes(
    label: str, arrays: Mapping[str, np.ndarray], marked: np.ndarray | None, said: Said
) -> View:
    """The items' classes; a negative one is none."""
    array = np.asarray(arrays[label])
    if array.dtype.kind in "iuf" and array.size == len(array):
        none = ~(array.reshape(-1) >= 0)  # NaN too
        marked = ~none if marked is None else marked & ~none
    if marked is not None and not marked.any():
        raise UserError(f"{label!r} has no class in any row; data.label= says that there is none")
    try:
        return array_kinds.view(label, array, said=said, marked=marked)
    except UserError as error:
        raise UserError(
            f"{error} (it is the class of each item; data.label names another array)"
        ) from error


def _parts(
    arrays: Mapping[str, np.ndarray],
    table: _Table,
    validation_fraction: float,
    test_fraction: float,
    seed: int,
) -> tuple[dict[str, np.ndarray], str]:
    """Row numbers of each split, and where they come from in words."""
    given = {
        name: _row_numbers(name, arrays[name], table.size) for name in SPLITS if name in arrays
    }
    if given:
        times = np.zeros(table.size, int)
        for name, rows in given.items():
            np.add.at(times, rows, 1)
            if times.max() > 1:
                raise UserError(f"row {times.argmax()} is in {name!r} twice, or in another split")
        rest = np.flatnonzero(times == 0)
        parts = {name: given.get(name, rest[:0]) for name in SPLITS}
        if "train" not in given:
            parts["train"] = rest
        origin = f"from its {', '.join(given)}"
    else:
        if validation_fraction + test_fraction >= 1:
            raise UserError(
                f"data.validation_fraction + data.test_fraction is "
                f"{validation_fraction + test_fraction:g}: nothing is left to train on"
            )
        order = np.random.default_rng([seed, 0]).permutation(table.size)
        first = round(validation_fraction * table.size)
        second = first + round(test_fraction * table.size)
        cut = np.split(order, (first, second))
        parts = dict(zip(("validation", "test", "train"), map(np.sort, cut), strict=True))
        origin = f"drawn by data.seed = {seed}"
    if not len(parts["train"]):
        raise UserError("there are no training rows")
    return parts, origin


def _row_numbers(name: str, array: np.ndarray, size: int) -> np.ndarray:
    """The rows that an array of numbers or marks names, in their order."""
    array = np.asarray(array)
    if array.dtype == bool and array.shape == (size,):
        return np.flatnonzero(array)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise UserError(
            f"{name!r} names the rows of a split: it must be bool [{size}] or whole numbers, "
            f"is {array.dtype} {list(array.shape)}"
        )
    bad = (array < 0) | (array >= size)
    if bad.any():
        raise UserError(f"{name!r} names row {array[bad][0]}, the rows are 0 to {size - 1}")
    return array.astype(np.int64)


def _check_trainable(train: Split) -> None:
    for name, present in train.present.items():
        if not present.any():
            raise UserError(
                f"{name!r} is absent in every training row: nothing can be learned of it; leave it "
                f"out (data.kinds={name}:skip), or let data.partial keep more"
            )


def _specs(
    views: tuple[View, ...],
    standardise: bool,
    count_likelihood: str,
    library_offset: bool,
    text: Mapping[str, int],
    train: Split,
) -> tuple[ModalitySpec, ...]:
    """What models need to know, with units fitted on the present training rows.

    Raises:
      UserError: a modality that no training row has.
    """
    _check_trainable(train)
    likelihoods = {
        "image": {"likelihood": "laplace"},
        "vector": {
            "likelihood": "normal",
            "likelihood_scale": 1.0,
            "learn_likelihood_scale": True,
        },
        "counts": {"likelihood": count_likelihood},
        "label": {"likelihood": "categorical"},
        "attributes": {"likelihood": "bernoulli"},
        "tokens": {"likelihood": "tokens" if text["pad_id"] >= 0 else "categorical", **text},
    }
    specs = []
    for view in views:
        values, present = train.x[view.name], train.present[view.name]
        found: dict[str, Any] = {"num_classes": view.num_classes}
        if view.kind == "vector" and standardise:
            found |= units.standardisation(values, present)
        elif view.kind == "counts":
            found |= units.rates(values, present, library_offset)
        elif view.kind == "tokens":
            found["num_classes"] = max(view.num_classes, 1 + max(text.values()))
        specs.append(
            ModalitySpec(
                name=view.name,
                shape=view.shape,
                dtype=view.dtype,
                **likelihoods[view.kind],
                **found,
            )
        )
    return tuple(specs)
