"""PolyMNIST (Sutter et al. 2021): one MNIST digit class on five kinds of background.

Made from MNIST's IDX files after the published recipe: for each class and modality a random
permutation of the class's MNIST images, the j-th of each forming a tuple; each image is a random
28x28 crop of its modality's background picture with the colours inverted where the MNIST byte is
above 128. The authors' background pictures are not distributed with the recipe, so the bytes
differ from the published ones, whatever backgrounds are given.

A folder in the published layout is read as it is, once.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mmvae_jax.data import backgrounds as grounds
from mmvae_jax.data import bundled, folders, idx, images, polymnist_folder
from mmvae_jax.data.contract import SPLITS, Dataset, Split
from mmvae_jax.data.splits import hold_out, look_in
from mmvae_jax.types import ModalitySpec, UserError

SIZE = 28
NUM_CLASSES = 10
MAX_MODALITIES = 5

_THRESHOLD = 128  # of an MNIST byte: above it is ink
_BLOCK = 8_192  # images made at a time
_FILES = (
    "MNIST's files (train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k-...) or "
    "PolyMNIST's (train/m0/0.0.png ...)"
)

# Five motifs of the two photographs of scikit-learn: (photograph, rows, columns).
_MOTIFS = (
    (0, slice(0, 210), slice(330, 640)),  # sky and lake
    (0, slice(30, 330), slice(70, 350)),  # pagoda
    (0, slice(280, 427), slice(0, 640)),  # trees
    (1, slice(80, 360), slice(170, 450)),  # petals
    (1, slice(0, 427), slice(0, 170)),  # leaves
)


def load(
    *,
    dir: str = "",
    num_modalities: int = 5,
    backgrounds: str = "",
    cache_dir: str = "",
    num_train: int = 0,
    num_validation: int = 10_000,
    num_test: int = 0,
    seed: int = 0,
) -> Dataset:
    """Makes or reads PolyMNIST.

    Args:
      dir: folder with MNIST's IDX files (plain or .gz), or with ``train/m0`` ... ``test/m4``;
        empty: ``mnist`` under the folder that the environment variable MMVAE_DATA_DIR names.
      num_modalities: 2 to 5.
      backgrounds: folder of images, one per modality in the order of their names; empty: five
        parts of the two photographs of scikit-learn. Not used with published images.
      cache_dir: where prepared arrays of published images are kept; empty: ``prepared`` in the
        folder.
      num_train: at most so many training tuples; 0: all.
      num_validation: tuples held out of the 60,000 training ones. Made from IDX files, no MNIST
        image is in both. 0 holds none out (the published size of training): validation then
        repeats up to 10,000 training tuples, to watch a run by, not to choose by.
      num_test: at most so many test tuples; 0: all.
      seed: of the held-out rows, the pairing and the crops.

    Raises:
      UserError: a number out of range; files missing, damaged or not matching; nowhere to
        store.
    """
    if not 2 <= num_modalities <= MAX_MODALITIES:
        raise UserError(
            f"data.num_modalities is {num_modalities}, polymnist has 2 to {MAX_MODALITIES}"
        )
    folder = folders.find("polymnist", dir, "mnist", _FILES)
    names = tuple(f"m{m}" for m in range(num_modalities))
    sizes = {"train": num_train, "validation": num_validation, "test": num_test}
    if polymnist_folder.is_published(folder):
        above = Path(cache_dir).expanduser() if cache_dir else folder / "prepared"
        splits = _published(folder, names, sizes, seed, above)
        provenance = f"polymnist: images read from {folder}"
    else:
        pictures, origin = _backgrounds(backgrounds, num_modalities)
        splits = _made(folder, names, sizes, pictures, seed)
        provenance = f"polymnist: made from the MNIST files in {folder} on {origin}"
    if not num_validation:
        provenance += "; validation repeats training tuples"
    return Dataset(
        name="polymnist",
        specs=tuple(ModalitySpec(name=name, shape=(SIZE, SIZE, 3)) for name in names),
        splits=splits,
        num_classes=NUM_CLASSES,
        class_names=tuple(str(digit) for digit in range(NUM_CLASSES)),
        provenance=provenance,
    )


def _backgrounds(folder: str, count: int) -> tuple[list[np.ndarray], str]:
    """`count` pictures uint8 ``[H, W, 3]``, and where they come from in words."""
    if folder:
        path = Path(folder).expanduser()
        origin = f"the backgrounds in {path}; not the published data"
        return images.read_backgrounds(path, count, SIZE), origin
    photographs = bundled.photographs()
    pictures = [photographs[index][rows, columns] for index, rows, columns in _MOTIFS[:count]]
    origin = "five motifs of scikit-learn's two photographs; not the published data"
    return pictures, origin


def pair(labels: np.ndarray, num_modalities: int, rng: np.random.Generator) -> np.ndarray:
    """``[N, M]`` rows of `labels`: in each column every row once, with row i's class at i."""
    chosen = np.empty((len(labels), num_modalities), np.int64)
    for digit in range(NUM_CLASSES):
        rows = np.flatnonzero(labels == digit)
        for m in range(num_modalities):
            chosen[rows, m] = rng.permutation(rows)
    return chosen


def _made(
    folder: Path,
    names: tuple[str, ...],
    sizes: Mapping[str, int],
    pictures: list[np.ndarray],
    seed: int,
) -> dict[str, Split]:
    """The splits by the recipe."""
    digits, labels = idx.read_mnist(folder, "train")
    train, validation = hold_out(len(labels), sizes, seed, str(folder))
    test_digits, test_labels = idx.read_mnist(folder, "t10k")
    if not len(test_labels):
        raise UserError(f"the t10k files in {folder} hold no images")

    def make(split: str, digits: np.ndarray, labels: np.ndarray, count: int) -> Split:
        stream = [seed, 1 + SPLITS.index(split)]
        chosen = pair(labels, MAX_MODALITIES, np.random.default_rng(stream))[: count or None]
        x = {}
        for m, (name, picture) in enumerate(zip(names, pictures, strict=True)):
            rng = np.random.default_rng([*stream, m])
            x[name] = _images(digits, chosen[:, m], picture, rng)
        return Split.complete(x, labels[: count or None])

    splits = {
        "train": make("train", digits[train], labels[train], sizes["train"]),
        "test": make("test", test_digits, test_labels, sizes["test"]),
    }
    if sizes["validation"]:
        splits["validation"] = make("validation", digits[validation], labels[validation], 0)
    else:
        splits["validation"] = look_in(splits["train"])
    return splits


def _images(
    digits: np.ndarray, which: np.ndarray, picture: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Random crops of `picture`, inverted where the digit has ink, uint8 ``[N, 28, 28, 3]``."""
    pixels = np.empty((len(which), SIZE, SIZE, 3), np.uint8)
    for start in range(0, len(which), _BLOCK):
        rows = slice(start, start + _BLOCK)
        ink = (digits[which[rows]] > _THRESHOLD).astype(np.uint8)[..., None]
        crops = grounds.crops(picture, len(ink), SIZE, rng)
        pixels[rows] = crops ^ (255 * ink)  # every bit turned over: 255 - v
    return pixels


def _published(
    folder: Path, names: tuple[str, ...], sizes: Mapping[str, int], seed: int, above: Path
) -> dict[str, Split]:
    """The splits from published images, which are kept below `above`."""
    keys = {part: polymnist_folder.list_tuples(folder, part, names) for part in ("train", "test")}
    train, validation = hold_out(len(keys["train"]), sizes, seed, str(folder / "train"))
    x = {
        (part, name): polymnist_folder.read_tuples(folder, part, name, keys[part], SIZE, above)
        for part in keys
        for name in names
    }

    def choose(part: str, rows: np.ndarray) -> Split:
        pixels = {name: np.asarray(x[part, name][rows]) for name in names}
        return Split.complete(pixels, keys[part][rows, 1].astype(np.int32))

    splits = {
        "train": choose("train", train[: sizes["train"] or None]),
        "test": choose("test", np.arange(len(keys["test"]))[: sizes["test"] or None]),
    }
    if sizes["validation"]:
        splits["validation"] = choose("train", validation)
    else:
        splits["validation"] = look_in(splits["train"])
    return splits
