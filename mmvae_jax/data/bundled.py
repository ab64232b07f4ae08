"""What scikit-learn ships that needs no download: handwritten digits and two photographs.

The files are read from where the package keeps them. Its own loaders would first import half of
SciPy, which takes longer than everything else that a run does before it builds its data; they are
asked where a release keeps its files elsewhere.
"""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

import numpy as np
from PIL import Image


@functools.cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    """1,797 digits, float64 ``[N, 8, 8]`` from 0 to 16, and their classes, int32 ``[N]``."""
    path = _file("data/digits.csv.gz")
    if path is None:
        from sklearn.datasets import load_digits

        found = load_digits()
        return found.images, found.target.astype(np.int32)
    table = np.loadtxt(path, delimiter=",")
    return table[:, :-1].reshape(-1, 8, 8), table[:, -1].astype(np.int32)


@functools.cache
def photographs() -> tuple[np.ndarray, ...]:
    """A temple and a flower, uint8 ``[427, 640, 3]``."""
    paths = [_file(f"images/{name}.jpg") for name in ("china", "flower")]
    if None in paths:
        from sklearn.datasets import load_sample_images

        return tuple(load_sample_images().images)
    return tuple(np.asarray(Image.open(path).convert("RGB")) for path in paths)


def _file(name: str) -> Path | None:
    """A file of scikit-learn's data sets, without importing the package; None if not there."""
    package = importlib.util.find_spec("sklearn")
    for folder in package.submodule_search_locations if package else ():
        path = Path(folder, "datasets", name)
        if path.is_file():
            return path
    return None
