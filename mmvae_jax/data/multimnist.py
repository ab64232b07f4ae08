"""MultiMNIST: up to four digits on a canvas of 50x50 pixels, and their string (MVAE).

How many digits there are is uniform from 0 to 4. Digits of 21x21 pixels stand at four fixed places,
filled from left to right and from top to bottom; where two overlap to more than white, all are
drawn again. The random numbers are not the published ones: the recipe is the same, the canvases are
others.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image

from mmvae_jax.data import folders, idx
from mmvae_jax.data.contract import SPLITS, Dataset, Split
from mmvae_jax.data.splits import hold_out, look_in
from mmvae_jax.types import ModalitySpec, UserError

CANVAS = 50
DIGIT = 21  # 28 / 1.3
CORNERS = ((4, 4), (4, 23), (23, 4), (23, 23))  # (row, column) of the digits' upper left
# Classes of a place in the string: ten digits, the start of a text (never there), and nothing.
FILL = 11
VOCABULARY = 12

SPECS = (
    ModalitySpec(name="image", shape=(CANVAS, CANVAS, 1), likelihood="bernoulli"),
    ModalitySpec(
        name="text",
        shape=(len(CORNERS),),
        dtype="int32",
        likelihood="categorical",
        num_classes=VOCABULARY,
    ),
)

_SPLIT_SEED = 0


def load(
    *,
    dir: str = "",
    num_train: int = 0,
    num_validation: int = 10_000,
    num_test: int = 0,
    seed: int = 0,
) -> Dataset:
    """Makes ``image`` (uint8 [50, 50, 1]) and ``text`` (int32 [4]); the class is how many digits.

    Args:
      dir: folder with MNIST's IDX files (plain or .gz); empty: ``mnist`` below the folder that the
        environment variable MMVAE_DATA_DIR names.
      num_train: so many training canvases; 0: as many as there are training digits.
      num_validation: so many of the 60,000 training digits are held out; as many validation
        canvases are made of them. 0 holds none out, as in the published code: validation then
        repeats training canvases, to watch a run by, not to choose by.
      num_test: so many test canvases; 0: as many as there are test digits.
      seed: of the canvases; the held-out digits are the same for every seed.

    Raises:
      UserError: a number out of range; files missing, damaged or not matching.
    """
    files = "MNIST's files (train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k-...)"
    folder = folders.find("multimnist", dir, "mnist", files)
    digits, labels = idx.read_mnist(folder, "train")
    sizes = {"train": num_train, "validation": num_validation, "test": num_test}
    train, validation = hold_out(len(labels), sizes, _SPLIT_SEED, str(folder))
    test_digits, test_labels = idx.read_mnist(folder, "t10k")
    if not len(test_labels):
        raise UserError(f"the t10k files in {folder} hold no images")

    def make(part: str, digits: np.ndarray, labels: np.ndarray) -> Split:
        count = sizes[part] or len(labels)
        return _split(digits, labels, count, np.random.default_rng([seed, SPLITS.index(part)]))

    parts: Mapping[str, Split] = {
        "train": make("train", digits[train], labels[train]),
        "test": make("test", test_digits, test_labels),
    }
    provenance = f"multimnist: made from the MNIST files in {folder}, not the published data"
    if num_validation:
        parts["validation"] = make("validation", digits[validation], labels[validation])
    else:
        parts["validation"] = look_in(parts["train"])
        provenance += "; validation repeats training canvases"
    return Dataset(
        name="multimnist",
        specs=SPECS,
        splits=dict(parts),
        num_classes=1 + len(CORNERS),
        class_names=tuple(f"{count} digits" for count in range(1 + len(CORNERS))),
        provenance=provenance,
    )


def shrink(digits: np.ndarray) -> np.ndarray:
    """Digits uint8 ``[N, 28, 28]`` as ``[N, 21, 21]``, bilinear."""
    size = (DIGIT, DIGIT)
    smaller = [Image.fromarray(digit).resize(size, Image.Resampling.BILINEAR) for digit in digits]
    return np.stack([np.asarray(image) for image in smaller])


def draw(
    digits: np.ndarray, labels: np.ndarray, count: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Canvases uint8 ``[N, 50, 50]`` with `count` random digits each, and strings ``[N, 4]``.

    Args:
      digits: uint8 ``[P, 21, 21]`` to choose from, each as likely as any other.
      labels: their classes ``[P]``.
      count: how many digits stand on each canvas ``[N]``, 0 to 4.
      rng: chooses them.
    """
    canvases = np.zeros((len(count), CANVAS, CANVAS), np.uint8)
    text = np.full((len(count), len(CORNERS)), FILL, np.int32)
    rows = np.arange(len(count))
    while len(rows):
        chosen = rng.integers(len(digits), size=(len(rows), len(CORNERS)))
        there = np.arange(len(CORNERS)) < count[rows, None]
        sums = np.zeros((len(rows), CANVAS, CANVAS), np.uint16)
        for place, (top, left) in enumerate(CORNERS):
            ink = digits[chosen[:, place]] * there[:, place, None, None]
            sums[:, top : top + DIGIT, left : left + DIGIT] += ink
        good = sums.max((1, 2)) <= 255
        canvases[rows[good]] = sums[good]
        text[rows[good]] = np.where(there, labels[chosen], FILL)[good]
        rows = rows[~good]
    return canvases, text


def _split(digits: np.ndarray, labels: np.ndarray, size: int, rng: np.random.Generator) -> Split:
    count = rng.integers(1 + len(CORNERS), size=size)
    canvases, text = draw(shrink(digits), labels, count, rng)
    return Split.complete({"image": canvases[..., None], "text": text}, count.astype(np.int32))
