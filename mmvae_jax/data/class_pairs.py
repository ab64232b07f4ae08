"""Two sets of images paired by class: MNIST with SVHN, with its digit's name too, or with fashion.

The recipe of MMVAE's code: of each class c the first n_c images of either set are used, n_c the
smallest of their numbers and ``max_d``; then both are put into random order and zipped, ``dm``
times. So an image of either set is in ``dm`` pairs. The pairs of all classes are shuffled, so that
the first n of them are a fair sample.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from mmvae_jax.data import characters, folders, gathered, idx, options, svhn
from mmvae_jax.data.contract import SPLITS, Dataset, Split
from mmvae_jax.data.gathered import Gathered
from mmvae_jax.data.splits import hold_out, look_in
from mmvae_jax.types import ModalitySpec, UserError

NUM_CLASSES = 10
ORDERS = ("random", "index")
TEXT_LENGTH = 8

TEXT = ModalitySpec(
    name="text",
    shape=(TEXT_LENGTH,),
    dtype="int32",
    likelihood="categorical",
    num_classes=len(characters.ALPHABET),
)

# Of the permutations of the training images that are cut into validation and training.
_SPLIT_SEED = 0
_IDX = "train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k-..."


@dataclasses.dataclass(frozen=True)
class _Source:
    """A set of images.

    Attributes:
      spec: the modality that it becomes.
      read: (folder, "train" or "test") to images uint8 ``[N, *shape]`` and classes int32 ``[N]``.
    """

    spec: ModalitySpec
    read: Callable[[Path, str], tuple[np.ndarray, np.ndarray]]


def _read_idx(
    subfolders: tuple[str, ...], folder: Path, part: str
) -> tuple[np.ndarray, np.ndarray]:
    prefix = {"train": "train", "test": "t10k"}[part]
    images, labels = idx.read_mnist(folder, prefix, subfolders)
    return images[..., None], labels


def _grey(name: str, subfolders: tuple[str, ...]) -> _Source:
    spec = ModalitySpec(name=name, shape=(28, 28, 1))
    return _Source(spec, functools.partial(_read_idx, subfolders))


_SVHN = _Source(ModalitySpec(name="svhn", shape=(svhn.SIZE, svhn.SIZE, 3)), svhn.read)
_MNIST_AND_SVHN = (_grey("mnist", idx.MNIST_FOLDERS), _SVHN)
_MNIST_AND_FASHION = (_grey("mnist", idx.MNIST_BESIDE), _grey("fashion", idx.FASHION_BESIDE))


def load_mnist_svhn(
    *,
    dir: str = "",
    max_d: int = 10_000,
    dm: int = 20,
    order: str = "random",
    num_train: int = 0,
    num_validation: int = 0,
    num_test: int = 0,
    seed: int = 0,
) -> Dataset:
    """MNIST paired with SVHN: ``mnist`` uint8 [28, 28, 1] and ``svhn`` uint8 [32, 32, 3].

    Args:
      dir: the folder above ``mnist/`` (IDX files, plain or .gz) and ``svhn/`` (train_32x32.mat,
        test_32x32.mat), or one with all these files; empty: what MMVAE_DATA_DIR names.
      max_d: at most so many images of each class.
      dm: in how many pairs each of them is.
      order: ``random``, or ``index``: the j-th image of a class with the j-th (MEME); dm is 1 then.
      num_train: at most so many training pairs; 0: all.
      num_validation: so many training images of each set are held out before pairing. 0 holds none
        out, as published: validation then repeats training pairs, to watch a run by, not to
        choose by.
      num_test: at most so many test pairs; 0: all.
      seed: of the pairing; the held-out images are the same for every seed.

    Raises:
      UserError: a number out of range; files missing, damaged or not matching.
    """
    sizes = {"train": num_train, "validation": num_validation, "test": num_test}
    files = f"mnist/ ({_IDX}) and svhn/ (train_32x32.mat, test_32x32.mat)"
    return _load("mnist_svhn", _MNIST_AND_SVHN, dir, files, _Pairing(max_d, dm, order, seed), sizes)


def load_mnist_svhn_text(
    *,
    dir: str = "",
    max_d: int = 10_000,
    dm: int = 20,
    order: str = "random",
    num_train: int = 0,
    num_validation: int = 0,
    num_test: int = 0,
    seed: int = 0,
) -> Dataset:
    """As `load_mnist_svhn`, with ``text`` int32 [8]: the digit's name at a random place (MoPoE)."""
    pairs = load_mnist_svhn(
        dir=dir,
        max_d=max_d,
        dm=dm,
        order=order,
        num_train=num_train,
        num_validation=num_validation,
        num_test=num_test,
        seed=seed,
    )
    parts = {}
    for part, split in pairs.splits.items():
        rng = np.random.default_rng([seed, 3 + SPLITS.index(part)])
        text = characters.placed(characters.DIGITS, split.label, TEXT_LENGTH, rng)
        parts[part] = Split.complete({**split.x, "text": text}, split.label)
    if not num_validation:
        parts["validation"] = look_in(parts["train"])
    return dataclasses.replace(
        pairs,
        name="mnist_svhn_text",
        specs=(*pairs.specs, TEXT),
        splits=parts,
        provenance=pairs.provenance.replace("mnist_svhn:", "mnist_svhn_text:", 1),
        fingerprint=gathered.fingerprint(parts),
    )


def load_mnist_fashion(
    *,
    dir: str = "",
    max_d: int = 10_000,
    dm: int = 1,
    order: str = "random",
    num_train: int = 0,
    num_validation: int = 10_000,
    num_test: int = 0,
    seed: int = 0,
) -> Dataset:
    """MNIST paired with FashionMNIST: ``mnist`` and ``fashion``, each uint8 [28, 28, 1].

    The folder is the one above ``mnist/`` and ``fashion_mnist/``; the rest as in `load_mnist_svhn`.
    No paper has this set: it is for trying pairs of images without SVHN.
    """
    sizes = {"train": num_train, "validation": num_validation, "test": num_test}
    files = f"mnist/ and fashion_mnist/ (each with {_IDX})"
    pairing = _Pairing(max_d, dm, order, seed)
    return _load("mnist_fashion", _MNIST_AND_FASHION, dir, files, pairing, sizes)


def pair(
    labels: Sequence[np.ndarray], *, max_d: int, dm: int, order: str, rng: np.random.Generator
) -> list[np.ndarray]:
    """Rows int32 ``[N]`` of each set: the i-th ones form pair i and are of one class.

    Args:
      labels: classes int ``[N_s]`` of every set.
      max_d: at most so many rows of each class.
      dm: in how many pairs each of them is.
      order: ``random`` or ``index``, see `load_mnist_svhn`.
      rng: of the orders and the final shuffle.

    Returns:
      One array per set; N = dm * sum_c min(max_d, number of class c in every set).
    """
    chosen: list[list[np.ndarray]] = [[] for _ in labels]
    for number in range(NUM_CLASSES):
        rows = [np.flatnonzero(label == number).astype(np.int32) for label in labels]
        count = min(max_d, *map(len, rows))
        for _ in range(dm):
            for mine, found in zip(rows, chosen, strict=True):
                first = mine[:count]
                found.append(first if order == "index" else rng.permutation(first))
    pairs = [np.concatenate(found) for found in chosen]
    shuffled = rng.permutation(len(pairs[0]))
    return [rows[shuffled] for rows in pairs]


@dataclasses.dataclass(frozen=True)
class _Pairing:
    """The options of `pair`, and its seed."""

    max_d: int
    dm: int
    order: str
    seed: int

    def __post_init__(self) -> None:
        for key in ("max_d", "dm"):
            if getattr(self, key) < 1:
                raise UserError(f"data.{key} is {getattr(self, key)}, it must be at least 1")
        options.check_choice("order", self.order, ORDERS)
        if self.order == "index" and self.dm > 1:
            raise UserError(
                f"data.order is 'index', but data.dm is {self.dm}: every copy would be the same; "
                "set data.dm to 1"
            )

    def pairs(self, labels: Sequence[np.ndarray], part: str) -> list[np.ndarray]:
        """`pair` of one split's images."""
        rng = np.random.default_rng([self.seed, SPLITS.index(part)])
        return pair(labels, max_d=self.max_d, dm=self.dm, order=self.order, rng=rng)


@dataclasses.dataclass(frozen=True, eq=False)
class _Images:
    """Images of one set that belong to one split.

    Attributes:
      name: of the modality.
      pixels: all images of the file they are in, uint8 ``[P, *shape]``.
      rows: which of these it is, int32 ``[N]`` in ascending order.
      label: their classes ``[N]``.
    """

    name: str
    pixels: np.ndarray
    rows: np.ndarray
    label: np.ndarray


def _load(
    name: str,
    sources: Sequence[_Source],
    dir: str,
    files: str,
    pairing: _Pairing,
    sizes: Mapping[str, int],
) -> Dataset:
    folder = folders.find(name, dir, "", files)
    found = [_read(source, folder, sizes) for source in sources]
    parts = {}
    for part in SPLITS:
        if part == "validation" and not sizes[part]:
            continue
        # Of validation `sizes` says how many images are held out, not how many pairs they make.
        limit = None if part == "validation" else sizes[part] or None
        parts[part] = _paired([images[part] for images in found], pairing, part, limit)
        if not len(parts[part]):
            raise UserError(f"{name}: the {part} images in {folder} have no class in common")
    provenance = (
        f"{name}: read from {folder}, paired by class ({len(parts['train']):,} training pairs, "
        f"dm = {pairing.dm})"
    )
    if not sizes["validation"]:
        parts["validation"] = look_in(parts["train"])
        provenance += "; validation repeats training pairs"
    return Dataset(
        name=name,
        specs=tuple(source.spec for source in sources),
        splits=parts,
        num_classes=NUM_CLASSES,
        class_names=tuple(str(digit) for digit in range(NUM_CLASSES)),
        provenance=provenance,
        fingerprint=gathered.fingerprint(parts),
    )


def _read(source: _Source, folder: Path, sizes: Mapping[str, int]) -> dict[str, _Images]:
    """The images of one set by split."""
    pixels, label = source.read(folder, "train")
    where = f"{source.spec.name} in {folder}"
    cut = dict(
        zip(("train", "validation"), hold_out(len(label), sizes, _SPLIT_SEED, where), strict=True)
    )
    found = {
        part: _Images(source.spec.name, pixels, rows, label[rows])
        for part, rows in ((part, np.sort(rows).astype(np.int32)) for part, rows in cut.items())
    }
    pixels, label = source.read(folder, "test")
    rows = np.arange(len(label), dtype=np.int32)
    return {**found, "test": _Images(source.spec.name, pixels, rows, label)}


def _paired(sets: Sequence[_Images], pairing: _Pairing, part: str, limit: int | None) -> Split:
    """The first `limit` pairs of one split; None: all."""
    pairs = [chosen[:limit] for chosen in pairing.pairs([images.label for images in sets], part)]
    x = {
        images.name: Gathered(images.pixels, images.rows[chosen])
        for images, chosen in zip(sets, pairs, strict=True)
    }
    return Split.complete(x, sets[0].label[pairs[0]])
