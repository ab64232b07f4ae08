"""Where the original files of datasets can be downloaded from: URLs of TensorFlow Datasets."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

from mmvae_jax.data import celeba_files, cub_files, flowers_files, idx, svhn
from mmvae_jax.data.folders import MissingFiles


@dataclasses.dataclass(frozen=True)
class File:
    """One file of the original data, or a folder that comes as an archive.

    Attributes:
      name: its usual name.
      url: as TensorFlow Datasets has it.
      find: gives its place in a dataset's folder, or raises `MissingFiles`.
      archive: the usual name of the archive whose only part of interest it is; "": it is a file.
    """

    name: str
    url: str
    find: Callable[[Path], Path]
    archive: str = ""

    def __str__(self) -> str:
        return f"{self.name}/ (unpacked from {self.archive})" if self.archive else self.name

    def is_in(self, folder: Path) -> bool:
        """Whether the loader finds it there."""
        try:
            self.find(folder)
        except MissingFiles:
            return False
        return True


@dataclasses.dataclass(frozen=True)
class Source:
    """Files that come from one place and belong into one folder.

    Attributes:
      name: in TensorFlow Datasets.
      title: in messages.
      page: where a person finds the files.
      below: usual name of their folder among others; "": they lie in the dataset's folder itself.
      files: all of them.
      beside: what the dataset needs that is not downloaded, in words.
    """

    name: str
    title: str
    page: str
    below: str
    files: tuple[File, ...]
    beside: str = ""


def _idx(name: str, title: str, page: str, subfolders: tuple[str, ...]) -> Source:
    files = tuple(
        File(
            name=f"{stem}-idx{ndim}-ubyte.gz",
            url=f"{page}{stem}-idx{ndim}-ubyte.gz",
            find=functools.partial(idx.find, stem=stem, ndim=ndim, subfolders=subfolders),
        )
        for part in ("train", "t10k")
        for stem, ndim in ((f"{part}-images", 3), (f"{part}-labels", 1))
    )
    return Source(name, title, page, below=name, files=files)


_mnist = functools.partial(
    _idx, "mnist", "MNIST", "https://storage.googleapis.com/cvdf-datasets/mnist/"
)
_fashion = functools.partial(
    _idx,
    "fashion_mnist",
    "FashionMNIST",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
)
MNIST = _mnist(idx.MNIST_FOLDERS)

_SVHN_PAGE = "http://ufldl.stanford.edu/housenumbers/"
SVHN = Source(
    name="svhn_cropped",
    title="SVHN's cropped digits",
    page=_SVHN_PAGE,
    below="svhn",
    files=tuple(
        File(
            name=f"{part}_{svhn.SIZE}x{svhn.SIZE}.mat",
            url=f"{_SVHN_PAGE}{part}_{svhn.SIZE}x{svhn.SIZE}.mat",
            find=functools.partial(svhn.find, part=part),
        )
        for part in ("train", "test")
    ),
)

_CELEBA_IDS = {
    celeba_files.IMAGES: "0B7EVK8r0v71pZjFTYXZWM3FlRnM",
    celeba_files.PARTITION: "0B7EVK8r0v71pY0NSMzRuSXJEVkk",
    celeba_files.ATTRIBUTES: "0B7EVK8r0v71pblRyaVFSWGxPY0U",
    celeba_files.LANDMARKS: "0B7EVK8r0v71pd0FJY3Blby1HUTQ",
}


def _celeba(table: str) -> Source:
    names = (celeba_files.IMAGES, celeba_files.PARTITION, table)
    files = tuple(
        File(
            name=name,
            url=f"https://drive.google.com/uc?export=download&id={_CELEBA_IDS[name]}",
            find=functools.partial(celeba_files.find, name=name),
            archive="" if Path(name).suffix else f"{name}.zip",
        )
        for name in names
    )
    page = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
    return Source("celeb_a", "CelebA", page, below="", files=files)


CUB = Source(
    name="caltech_birds2011",
    title="the birds",
    page="https://data.caltech.edu/records/65de6-vp158",
    below="",
    files=(
        File(
            name="CUB_200_2011",
            url="https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz?download=1",
            find=functools.partial(cub_files.find, name=cub_files.LIST),
            archive="CUB_200_2011.tgz",
        ),
    ),
    beside="captions",
)

_FLOWERS_PAGE = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/"
FLOWERS = Source(
    name="oxford_flowers102",
    title="the flowers",
    page=_FLOWERS_PAGE,
    below="",
    files=tuple(
        File(
            name=name,
            url=f"{_FLOWERS_PAGE}{archive or name}",
            find=functools.partial(flowers_files.find, name=name),
            archive=archive,
        )
        for name, archive in (
            (flowers_files.IMAGES, "102flowers.tgz"),
            (flowers_files.LABELS, ""),
            (flowers_files.SPLITS, ""),
        )
    ),
    beside="captions",
)

# By dataset. A dataset of several sources takes the folder above theirs.
SOURCES: dict[str, tuple[Source, ...]] = {
    "celeba": (_celeba(celeba_files.ATTRIBUTES),),
    "celeba_vision": (_celeba(celeba_files.LANDMARKS),),
    "cub": (CUB,),
    "fashion_mnist_labels": (_fashion(idx.FASHION_FOLDERS),),
    "flowers": (FLOWERS,),
    "mnist_fashion": (_mnist(idx.MNIST_BESIDE), _fashion(idx.FASHION_BESIDE)),
    "mnist_labels": (MNIST,),
    "mnist_svhn": (MNIST, SVHN),
    "mnist_svhn_text": (MNIST, SVHN),
    "multimnist": (MNIST,),
    "polymnist": (MNIST,),
}
