"""CelebA: faces with 18 attributes (MVAE), and six views of each face (its vision experiment).

The splits are the official ones. Pictures are resized once and stored (see `prepared`).
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from mmvae_jax.data import celeba_files, celeba_views, folders, options, prepared
from mmvae_jax.data.contract import SPLITS, Dataset, Split
from mmvae_jax.data.images import Resize
from mmvae_jax.types import ModalitySpec, UserError

SIZE = 64
# The 18 of the 40 that MVAE takes.
ATTRIBUTES = (
    "Bald",
    "Bangs",
    "Black_Hair",
    "Blond_Hair",
    "Brown_Hair",
    "Bushy_Eyebrows",
    "Eyeglasses",
    "Gray_Hair",
    "Heavy_Makeup",
    "Male",
    "Mouth_Slightly_Open",
    "Mustache",
    "Pale_Skin",
    "Receding_Hairline",
    "Smiling",
    "Straight_Hair",
    "Wavy_Hair",
    "Wearing_Hat",
)
LAYOUTS = ("one", "each")
CROPS = {"mvae": Resize(SIZE), "mopoe": Resize(SIZE, crop=148)}

_FILES = (
    f"CelebA's {celeba_files.IMAGES}/ (000001.jpg ...), {celeba_files.PARTITION} and "
    f"{celeba_files.ATTRIBUTES}"
)
_VERSION = 1  # of the prepared bytes
_BLOCK = 1024  # faces that views are made of at a time


def load(
    *,
    dir: str = "",
    attributes: str = "one",
    crop: str = "mvae",
    cache_dir: str = "",
    num_train: int = 0,
    num_validation: int = 0,
    num_test: int = 0,
    seed: int = 0,
) -> Dataset:
    """Reads ``image`` (uint8 [64, 64, 3]) and the 18 attributes (bool).

    Args:
      dir: the folder of `celeba_files`; empty: ``celeba`` below the one that MMVAE_DATA_DIR names.
      attributes: ``one`` modality ``attributes`` [18], or ``each`` a modality of its own name: with
        the image the 19 of "MVAE19".
      crop: how 178x218 pixels become 64x64: ``mvae`` or ``mopoe``, see `images.Resize`.
      cache_dir: where prepared arrays are kept; empty: ``prepared`` in the folder of the data.
      num_train: at most so many training rows; 0: all.
      num_validation: at most so many rows of the official validation split; 0: all.
      num_test: at most so many test rows; 0: all.
      seed: decides nothing here.

    Raises:
      UserError: an unknown choice; files missing, damaged or not matching; nowhere to store.
    """
    del seed
    options.check_choice("attributes", attributes, LAYOUTS)
    faces = _Faces.open("celeba", dir, crop, cache_dir)
    table = celeba_files.read_attributes(faces.folder)
    for name in ATTRIBUTES:
        if name not in table.columns:
            raise UserError(f"{table.path}, line 2: there is no attribute {name}")
    columns = [table.columns.index(name) for name in ATTRIBUTES]
    values = table.values[table.rows_of(faces.names)][:, columns] > 0
    pictures = faces.pictures()
    x = {"image": pictures.arrays["image"]}
    if attributes == "one":
        x["attributes"] = values
    else:
        x |= {name: values[:, column].copy() for column, name in enumerate(ATTRIBUTES)}
    sizes = {"train": num_train, "validation": num_validation, "test": num_test}
    splits = faces.splits(x, sizes)
    said = hashlib.blake2b(values.tobytes(), digest_size=16).hexdigest()
    return Dataset(
        name="celeba",
        specs=tuple(_spec(name, array) for name, array in x.items()),
        splits=splits,
        provenance=f"celeba: read from {faces.folder}, cut as in {crop}",
        fingerprint=_fingerprint(faces, pictures, splits, attributes, said),
    )


def load_vision(
    *,
    dir: str = "",
    crop: str = "mvae",
    cache_dir: str = "",
    num_train: int = 0,
    num_validation: int = 0,
    num_test: int = 0,
    seed: int = 0,
) -> Dataset:
    """Six views of each face, uint8 [64, 64, 1 or 3]: see `celeba_views`; otherwise as `load`."""
    del seed
    faces = _Faces.open("celeba_vision", dir, crop, cache_dir)
    table = celeba_files.read_landmarks(faces.folder)
    points = table.values[table.rows_of(faces.names)].reshape(-1, 5, 2)
    points = CROPS[crop].moved(points, celeba_files.WIDTH, celeba_files.HEIGHT)
    pictures = faces.pictures()
    views = faces.views(pictures, table.path, points)
    arrays = {**pictures.arrays, **views.arrays}
    sizes = {"train": num_train, "validation": num_validation, "test": num_test}
    splits = faces.splits({name: arrays[name] for name in celeba_views.VIEWS}, sizes)
    return Dataset(
        name="celeba_vision",
        specs=tuple(_spec(name, arrays[name]) for name in celeba_views.VIEWS),
        splits=splits,
        provenance=(
            f"celeba_vision: read from {faces.folder}, cut as in {crop}; masks from five landmarks "
            "and a drawn watermark, not the published data"
        ),
        fingerprint=_fingerprint(faces, pictures, splits, views.fingerprint),
    )


class _Faces:
    """The images of the partition list, those of the training split first.

    Attributes:
      folder: of the original files.
      names: their file names.
      counts: {split: how many}.
    """

    def __init__(self, folder: Path, crop: str, cache_dir: str) -> None:
        self.folder, self.crop = folder, crop
        self._above = Path(cache_dir).expanduser() if cache_dir else folder / "prepared"
        table = celeba_files.read_partition(folder)
        part = table.values[:, 0]
        # In this order a split is a piece of a memory-mapped array.
        self.names = [table.names[row] for row in np.argsort(part, kind="stable")]
        self.counts = dict(zip(SPLITS, np.bincount(part, minlength=3).tolist(), strict=True))
        for name, count in self.counts.items():
            if not count:
                raise UserError(f"{table.path} names no image of the {name} split")

    @classmethod
    def open(cls, dataset: str, dir: str, crop: str, cache_dir: str) -> _Faces:
        """What `dir` or the environment names, once the options are known to be possible."""
        options.check_choice("crop", crop, CROPS)
        return cls(folders.find(dataset, dir, "celeba", _FILES), crop, cache_dir)

    def pictures(self) -> prepared.Prepared:
        """``image``, uint8 [N, 64, 64, 3]."""
        recipe = self._recipe(f"celeba-{SIZE}-{self.crop}", self._sources, {"image": 3})
        resize = CROPS[self.crop]
        return prepared.obtain(
            self._above, recipe, lambda: celeba_files.read_images(self.folder, self.names, resize)
        )

    def views(
        self, pictures: prepared.Prepared, landmarks: Path, points: np.ndarray
    ) -> prepared.Prepared:
        """What `celeba_views` makes of the pictures and their landmarks ``[N, 5, 2]``."""
        sources = prepared.signature({"": landmarks.stat()}) + self._sources
        channels = {name: celeba_views.CHANNELS[name] for name in celeba_views.VIEWS[1:]}
        recipe = self._recipe(f"celeba-{SIZE}-{self.crop}-views", sources, channels)
        image = pictures.arrays["image"]

        def make() -> Iterator[dict[str, np.ndarray]]:
            for start in range(0, len(image), _BLOCK):
                rows = slice(start, start + _BLOCK)
                yield celeba_views.make(np.asarray(image[rows]), points[rows])

        return prepared.obtain(self._above, recipe, make)

    @functools.cached_property
    def _sources(self) -> str:
        """A hash of everything that pictures depend on: the files, and their order."""
        files = prepared.signature(celeba_files.stat_images(self.folder, self.names))
        order = hashlib.blake2b("\n".join(self.names).encode(), digest_size=16).hexdigest()
        return f"{files}{order}"

    def _recipe(self, name: str, sources: str, channels: Mapping[str, int]) -> prepared.Recipe:
        return prepared.Recipe(
            name=name,
            version=_VERSION,
            settings={"crop": self.crop, "size": SIZE},
            sources=sources,
            count=len(self.names),
            shapes={view: (SIZE, SIZE, depth) for view, depth in channels.items()},
        )

    def splits(self, x: Mapping[str, np.ndarray], sizes: Mapping[str, int]) -> dict[str, Split]:
        """Pieces of the arrays, as views."""
        found, start = {}, 0
        for part, count in self.counts.items():
            rows = slice(start, start + min(count, sizes[part] or count))
            found[part] = Split.complete({name: array[rows] for name, array in x.items()})
            start += count
        return found


def _spec(name: str, array: np.ndarray) -> ModalitySpec:
    return ModalitySpec(
        name=name, shape=array.shape[1:], dtype=str(array.dtype), likelihood="bernoulli"
    )


def _fingerprint(
    faces: _Faces, pictures: prepared.Prepared, splits: Mapping[str, Split], *more: str
) -> str:
    """A hash of the content, from that of the prepared arrays: they are not read again."""
    sizes = [f"{faces.counts[part]}:{len(splits[part])}" for part in SPLITS]
    said = " ".join([pictures.fingerprint, *sizes, *more])
    return hashlib.blake2b(said.encode(), digest_size=16).hexdigest()
