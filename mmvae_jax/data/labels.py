"""MNIST and FashionMNIST as two modalities: the image, and its class as a label.

The data of weak supervision in MVAE and the hybrid DMVAE: 50,000 images to train on, 10,000 of the
60,000 published training images held out for every choice, and the published 10,000 for the test.
The held-out rows are the same in every run, whatever the seed:
`data.seed` decides which training rows are paired (see `missingness`), and runs that differ in it
stay comparable.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from mmvae_jax.data import binary, folders, idx, options, splits
from mmvae_jax.data.contract import Dataset, Split
from mmvae_jax.types import ModalitySpec, UserError

NUM_CLASSES = 10
BINARIZE = ("none", "threshold", "dynamic")

SPECS = (
    ModalitySpec(name="image", shape=(28, 28, 1), likelihood="bernoulli"),
    ModalitySpec(
        name="label", shape=(), dtype="int32", likelihood="categorical", num_classes=NUM_CLASSES
    ),
)

# Of the permutation of the 60,000 training rows that is cut into validation and training.
_SPLIT_SEED = 0


@dataclasses.dataclass(frozen=True)
class _Source:
    """A set of IDX files.

    Attributes:
      name: key in the registry.
      usual: name of its folder among other datasets.
      title: name in messages.
      subfolders: where below the named folder the files may lie.
      class_names: a name per class, in order.
    """

    name: str
    usual: str
    title: str
    subfolders: tuple[str, ...]
    class_names: tuple[str, ...]


_MNIST = _Source(
    name="mnist_labels",
    usual="mnist",
    title="MNIST",
    subfolders=idx.MNIST_FOLDERS,
    class_names=tuple(str(digit) for digit in range(NUM_CLASSES)),
)
_FASHION = _Source(
    name="fashion_mnist_labels",
    usual="fashion_mnist",
    title="FashionMNIST",
    subfolders=idx.FASHION_FOLDERS,
    class_names=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
)


def load_mnist(
    *,
    dir: str = "",
    num_train: int = 0,
    num_validation: int = 10_000,
    num_test: int = 0,
    binarize: str = "none",
    seed: int = 0,
) -> Dataset:
    """Reads MNIST as ``image`` (uint8 [28, 28, 1]) and ``label`` (int32 []).

    Args:
      dir: folder with the four IDX files (plain or .gz); empty: ``mnist`` under the folder that
        the environment variable MMVAE_DATA_DIR names.
      num_train: at most so many training rows; 0: all.
      num_validation: rows held out of the 60,000 training ones. 0 holds none out: validation then
        repeats up to 10,000 training rows, to watch a run by, not to choose by.
      num_test: at most so many test rows; 0: all.
      binarize: ``none`` keeps grey levels; ``threshold`` makes 0 of what is below half of white,
        and 255 of the rest; ``dynamic`` makes 255 of a pixel with the probability that its grey
        level is of white: anew at each step of training, and once for all in what is evaluated.
      seed: decides nothing here.

    Raises:
      UserError: a number out of range; files missing, damaged or not matching.
    """
    del seed
    sizes = {"train": num_train, "validation": num_validation, "test": num_test}
    return _read(_MNIST, dir, sizes, binarize)


def load_fashion_mnist(
    *,
    dir: str = "",
    num_train: int = 0,
    num_validation: int = 10_000,
    num_test: int = 0,
    binarize: str = "none",
    seed: int = 0,
) -> Dataset:
    """Reads FashionMNIST, by default from ``fashion_mnist``; otherwise as `load_mnist`."""
    del seed
    sizes = {"train": num_train, "validation": num_validation, "test": num_test}
    return _read(_FASHION, dir, sizes, binarize)


def _read(source: _Source, dir: str, sizes: Mapping[str, int], binarize: str) -> Dataset:
    options.check_choice("binarize", binarize, BINARIZE)
    files = (
        f"{source.title}'s files (train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k-...)"
    )
    folder = folders.find(source.name, dir, source.usual, files)
    images, label = idx.read_mnist(folder, "train", source.subfolders)
    train, validation = splits.hold_out(len(label), sizes, _SPLIT_SEED, str(folder))
    test_images, test_label = idx.read_mnist(folder, "t10k", source.subfolders)
    if not len(test_label):
        raise UserError(f"the t10k files in {folder} hold no images")
    provenance = f"{source.name}: {source.title} read from {folder}"
    if binarize == "threshold":
        provenance += ", binarised at one half"
        images, test_images = binary.thresholded(images), binary.thresholded(test_images)
    held_out = images
    if binarize == "dynamic":
        provenance += ", binarised by draws: at each step of training, once for what is evaluated"
        # Of all images, so that those of a row do not depend on how many rows are asked for.
        held_out = binary.fixed_draw(images, "train")
        test_images = binary.fixed_draw(test_images, "test")
    test = np.arange(len(test_label))
    parts = {
        "train": _split(images, label, train[: sizes["train"] or None]),
        "test": _split(test_images, test_label, test[: sizes["test"] or None]),
    }
    if sizes["validation"]:
        parts["validation"] = _split(held_out, label, validation)
    else:
        repeated = splits.look_in(parts["train"])
        if held_out is not images:
            repeated = _split(held_out, label, train[: len(repeated)])
        parts["validation"] = repeated
        provenance += "; validation repeats training rows"
    return Dataset(
        name=source.name,
        specs=SPECS,
        splits=parts,
        num_classes=NUM_CLASSES,
        class_names=source.class_names,
        provenance=provenance,
        redrawn=("image",) if binarize == "dynamic" else (),
    )


def _split(images: np.ndarray, label: np.ndarray, rows: np.ndarray) -> Split:
    chosen = label[rows]
    return Split.complete({"image": images[rows][..., None], "label": chosen}, chosen)
