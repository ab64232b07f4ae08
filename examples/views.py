"""A table with several views and gaps, and how well the gaps were filled.

    python examples/views.py make
    python -m mmvae_jax.main --config=configs/mvae.py:dataset=arrays \
        --config.data.path=views.npz --workdir=runs/views
    python -m mmvae_jax.main --mode=impute --workdir=runs/views --step=best \
        --input=views.npz --output=filled.npz
    python examples/views.py score

The items are the 569 tumours of scikit-learn's breast cancer data. Three views describe the nuclei
of their cells, ten numbers each: the mean over cells, its standard error, and the mean of the three
worst cells. The fourth is the diagnosis. Of each item every view is missing with a probability of
40 %, never all four. ``make`` writes ``views.npz``, and what it took away to ``truth.npz``.
"""

from __future__ import annotations

import sys

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.impute import KNNImputer, SimpleImputer

MISSING = 0.4
VIEWS = ("mean", "error", "worst")
NEIGHBOURS = (5, 10, 20)


def make(seed: int = 0) -> None:
    """Writes ``views.npz`` with gaps and ``truth.npz`` without."""
    numbers, diagnosis = load_breast_cancer(return_X_y=True)
    truth = dict(zip(VIEWS, np.split(numbers, 3, axis=1), strict=True))
    rng = np.random.default_rng(seed)
    draws = rng.random((len(numbers), 4))
    # Where all four would go, the one that came nearest to staying stays.
    gone = (draws < MISSING) & (draws < draws.max(1, keepdims=True))
    views = {name: np.where(gone[:, [m]], np.nan, truth[name]) for m, name in enumerate(VIEWS)}
    there = ~gone[:, 3]
    views |= {"diagnosis": np.where(there, diagnosis, 0), "diagnosis__present": there}
    np.savez("views.npz", **views)
    np.savez("truth.npz", **truth, diagnosis=diagnosis)
    print(f"views.npz: {len(numbers)} items, {gone.mean():.0%} of their views missing")


def score() -> None:
    """Prints the error of every way to fill the gaps, on what was taken away."""
    views, truth, filled = (np.load(f"{name}.npz") for name in ("views", "truth", "filled"))
    table = {"mean of the column": _imputed(views, SimpleImputer())}
    for count in NEIGHBOURS:
        table[f"{count} nearest neighbours"] = _imputed(views, KNNImputer(n_neighbors=count))
    table["this model"] = {name: filled[name] for name in (*VIEWS, "diagnosis")}
    print(f"{'filled in by':24}" + "".join(f"{name:>10}" for name in VIEWS) + f"{'diagnosis':>12}")
    for who, values in table.items():
        errors = [_error(views, truth, values, name) for name in VIEWS]
        gone = ~views["diagnosis__present"]
        right = (values["diagnosis"] == truth["diagnosis"])[gone].mean()
        print(f"{who:24}" + "".join(f"{error:10.3f}" for error in errors) + f"{right:12.3f}")
    print("views: root mean square error in standard deviations; diagnosis: share of right ones")


def _error(views, truth, values, name: str) -> float:
    """Of the rows that lacked this view, in standard deviations of its columns."""
    gone = np.isnan(views[name]).all(1)
    error = (values[name] - truth[name])[gone] / truth[name].std(0)
    return float(np.sqrt((error**2).mean()))


def _imputed(views, imputer) -> dict[str, np.ndarray]:
    """What an imputer of scikit-learn makes of all columns, standardised for its distances.

    The diagnosis is a column of 0 and 2, about as wide as the others.
    """
    columns = np.concatenate([views[name] for name in VIEWS], axis=1)
    location, scale = np.nanmean(columns, 0), np.nanstd(columns, 0)
    label = np.where(views["diagnosis__present"], views["diagnosis"], np.nan)
    given = np.concatenate([(columns - location) / scale, 2 * label[:, None]], axis=1)
    found = imputer.fit_transform(given)
    numbers = np.split(found[:, :-1] * scale + location, 3, axis=1)
    return {**dict(zip(VIEWS, numbers, strict=True)), "diagnosis": (found[:, -1] > 1).astype(int)}


if __name__ == "__main__":
    commands = {"make": make, "score": score}
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        sys.exit(f"usage: {sys.argv[0]} make|score")
    commands[sys.argv[1]]()
