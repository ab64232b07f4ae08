"""Birds and their captions (CUB-200-2011), split by class as in MMVAE: 8,855 and 2,933 images.

Test captions are of classes that no training caption is of. So there are no labels: nothing that
learns classes from training rows could name those of test rows.
"""

from __future__ import annotations

from mmvae_jax.data import captioned, cub_files, folders, options, photographs, words
from mmvae_jax.data.captioned import CaptionedImages
from mmvae_jax.data.contract import Dataset
from mmvae_jax.types import ModalitySpec

UNSCORED = ("padding", "unknown")
LENGTH = 32
RARE = 3  # words that occur no more often are unknown


def files(dir: str) -> CaptionedImages:
    """What the folder `dir`, or where it is empty the usual one, holds; see `cub_files`.

    Raises:
      UserError: files are missing, damaged or do not match.
    """
    return cub_files.read(folders.find(cub_files.NAME, dir, "cub", cub_files.FILES))


def load(
    *,
    dir: str = "",
    images: str = "raw",
    normalise: bool = True,
    unscored: str = "padding",
    cache_dir: str = "",
    num_train: int = 0,
    num_validation: int = 0,
    num_test: int = 0,
    seed: int = 0,
) -> Dataset:
    """Reads ``image`` and ``caption`` (int32 [32], numbers of words); a row is one caption.

    Args:
      dir: the folder of `cub_files`; empty: ``cub`` below the one that MMVAE_DATA_DIR names.
      images: ``raw``, uint8 [64, 64, 3], or ``features``, float32 [2048], of a frozen ResNet.
      normalise: which features: of channels normalised as in the ResNet's training, or not, as
        published.
      unscored: ``padding``: what stands behind a caption's end has no share in the likelihood, and
        an unknown word is scored as one of the vocabulary. ``unknown``: as published, unknown words
        have no share and no embedding, and padding is scored.
      cache_dir: where prepared arrays and features are kept; empty: ``prepared`` in the folder.
      num_train: at most so many training captions; 0: all.
      num_validation: so many training images are held out with their captions. 0 holds none out,
        as published: validation then repeats training rows, to watch a run by, not to choose by.
      num_test: at most so many test captions; 0: all.
      seed: decides nothing here.

    Raises:
      UserError: an unknown choice; files missing, damaged or not matching; nowhere to store.
    """
    del seed
    options.check_choice("images", images, photographs.KINDS)  # before all captions are read
    options.check_choice("unscored", unscored, UNSCORED)
    found = files(dir)
    sizes = {"train": num_train, "validation": num_validation, "test": num_test}
    chosen = captioned.rows(found, sizes)
    shown = photographs.read(found, images, normalise, cache_dir)
    texts = [words.tokens(text) for text in found.captions]
    train = captioned.captions_of(found.parts["train"])
    vocabulary = words.vocabulary((texts[row] for row in train), RARE)
    caption = words.encode(texts, vocabulary, LENGTH)
    held = "" if num_validation else "; validation repeats training rows"
    return Dataset(
        name=found.dataset,
        specs=(
            image_spec(shown.values.shape[1:], str(shown.values.dtype)),
            caption_spec(len(vocabulary), unscored),
        ),
        splits={
            part: captioned.split(found, rows, shown.values, caption)
            for part, rows in chosen.items()
        },
        provenance=(
            f"cub: read from {found.folder}, {shown.how}, {len(found.names):,} images with "
            f"{captioned.CAPTIONS} captions each, {len(vocabulary):,} words{held}"
        ),
        fingerprint=captioned.fingerprint(chosen, shown.fingerprint, found.captions_hash, unscored),
        vocabularies={"caption": vocabulary},
    )


def image_spec(shape: tuple[int, ...], dtype: str) -> ModalitySpec:
    """Pixels or features: Laplace of MMVAE's scale, which for pixels is the config's to say."""
    return ModalitySpec(
        name="image", shape=shape, dtype=dtype, likelihood="laplace", likelihood_scale=0.01
    )


def caption_spec(num_words: int, unscored: str) -> ModalitySpec:
    """Captions of a vocabulary of so many words; see `load` on ``unscored``."""
    published = unscored == "unknown"
    return ModalitySpec(
        name="caption",
        shape=(LENGTH,),
        dtype="int32",
        likelihood="categorical" if published else "tokens",
        num_classes=num_words,
        end_id=words.END,
        pad_id=words.PADDING,
        unscored_id=words.UNKNOWN if published else -1,
    )
