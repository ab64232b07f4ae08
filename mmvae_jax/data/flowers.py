"""Oxford's 102 flowers and their captions (DMVAE): features of images, embeddings of captions.

The splits are the official ones: 1,020 images for training, 1,020 for validation, 6,149 for test,
of all classes each. Or, for retrieval among flowers of kinds that were never seen, those of the
captions: no class of test images is trained on.
"""

from __future__ import annotations

import dataclasses

from mmvae_jax.data import (
    captioned,
    flowers_files,
    folders,
    frozen_features,
    options,
    photographs,
    units,
)
from mmvae_jax.data.captioned import CaptionedImages
from mmvae_jax.data.contract import Dataset, Split
from mmvae_jax.types import ModalitySpec

CAPTIONS = ("mean", "tokens")
_OF_SPLIT = {"official": "", "classes": ", no test class among those of training rows"}


def files(dir: str, split: str = "official") -> CaptionedImages:
    """What the folder `dir`, or where it is empty the usual one, holds; see `flowers_files`.

    Raises:
      UserError: files are missing, damaged or do not match.
    """
    folder = folders.find(flowers_files.NAME, dir, "flowers", flowers_files.FILES)
    return flowers_files.read(folder, split)


def load(
    *,
    dir: str = "",
    images: str = "features",
    normalise: bool = True,
    captions: str = "mean",
    split: str = "official",
    cache_dir: str = "",
    num_train: int = 0,
    num_validation: int = 0,
    num_test: int = 0,
    seed: int = 0,
) -> Dataset:
    """Reads ``image`` and ``caption``; a row is one caption with its image and its class.

    Args:
      dir: the folder of `flowers_files`; empty: ``flowers`` below the one that MMVAE_DATA_DIR
        names.
      images: ``features``, float32 [2048], of a frozen ResNet, or ``raw``, uint8 [64, 64, 3].
      normalise: which features: of channels normalised as in the ResNet's training, or not.
      captions: what a frozen BERT makes of a caption's tokens: their ``mean``, float32 [768], or
        all ``tokens``, float32 [30, 768], 0 behind the last one.
      split: ``official``, or ``classes``: test images are of classes that no training image is of,
        as the captions' own lists say. There is no validation split then, see `num_validation`.
      cache_dir: where prepared arrays and features are kept; empty: ``prepared`` in the folder.
      num_train: at most so many training captions; 0: all.
      num_validation: at most so many captions of the official validation split; 0: all. With
        ``classes`` so many training images are held out with their captions; 0 holds none out, and
        validation repeats training rows.
      num_test: at most so many test captions; 0: all.
      seed: decides nothing here.

    Raises:
      UserError: an unknown choice; files missing, damaged or not matching; nowhere to store.
    """
    del seed
    options.check_choice("images", images, photographs.KINDS)  # before all captions are read
    options.check_choice("captions", captions, CAPTIONS)
    options.check_choice("split", split, flowers_files.SPLITTINGS)
    found = files(dir, split)
    sizes = {"train": num_train, "validation": num_validation, "test": num_test}
    chosen = captioned.rows(found, sizes)
    shown = photographs.read(found, images, normalise, cache_dir)
    recipe, said = frozen_features.read(found, f"caption-{captions}", cache_dir)
    caption = said.arrays[frozen_features.ARRAY]
    specs = (
        image_spec(shown.values.shape[1:], str(shown.values.dtype)),
        vector_spec("caption", caption.shape[1:]),
    )
    return Dataset(
        name=found.dataset,
        specs=specs,
        splits={
            part: captioned.split(found, rows, shown.values, caption)
            for part, rows in chosen.items()
        },
        num_classes=found.num_classes,
        class_names=tuple(str(number) for number in range(1, found.num_classes + 1)),
        provenance=(
            f"flowers: read from {found.folder}, {shown.how}, {captions} embeddings by "
            f"{recipe.settings.get('network', 'a network')} of {captioned.CAPTIONS} captions an "
            f"image{_OF_SPLIT[split]}"
        ),
        fingerprint=captioned.fingerprint(chosen, shown.fingerprint, said.fingerprint),
        fit_specs=lambda train: tuple(_fitted(spec, train) for spec in specs),
    )


def image_spec(shape: tuple[int, ...], dtype: str) -> ModalitySpec:
    """Pixels or features."""
    if dtype == "uint8":
        return ModalitySpec(name="image", shape=shape)
    return vector_spec("image", shape)


def vector_spec(name: str, shape: tuple[int, ...]) -> ModalitySpec:
    """What a frozen network gives: a normal likelihood with a learned scale."""
    return ModalitySpec(
        name=name,
        shape=shape,
        dtype="float32",
        likelihood="normal",
        likelihood_scale=1.0,
        learn_likelihood_scale=True,
    )


def _fitted(spec: ModalitySpec, train: Split) -> ModalitySpec:
    """Standardised by the training rows, where it is a vector that some of them have."""
    present = train.present[spec.name]
    if len(spec.shape) != 1 or not present.any():
        return spec
    return dataclasses.replace(spec, **units.standardisation(train.x[spec.name], present))
