"""polydigits: a small relative of PolyMNIST, built in seconds from what scikit-learn ships.

Each tuple shows one digit class in up to five 16x16x3 pictures. The pictures of a tuple are
different handwritten digits (of the 1,797 8x8 digits of `sklearn.datasets.load_digits`), each on
its own kind of background:

    m0  grey ink on black                     m1  crops of the flower photograph, inverted
    m2  light ink on a dark random tint       m3  crops of the temple photograph, inverted
    m4  stripes in two random tints, inverted

In m0 to m2 the digit is mostly lighter than its ground, so that its class says something of the
picture on the average over backgrounds; in m3 and m4 it is as often darker, which makes these two
much harder to learn across modalities (not to recognise).

The 1,797 digits are divided, class by class, before any tuple is made: test tuples show digits
that no training or validation tuple shows. Training digits are rotated, slanted, scaled and
shifted a little; the other splits show them as they are.
"""

from __future__ import annotations

import functools
from concurrent import futures

import numpy as np

from mmvae_jax.data import backgrounds, bundled, glyphs, options
from mmvae_jax.data.contract import SPLITS, Dataset, Split
from mmvae_jax.types import ModalitySpec, UserError

SIZE = 16
NUM_CLASSES = 10
MAX_MODALITIES = 5

# Shares of the 1,797 digits; training has the rest (about 0.74).
_SHARES = {"test": 0.20, "validation": 0.06}
# Height of the 8 rows of a digit in the picture: one pixel of margin around it.
_GLYPH_SIZE = 14
# A 16x16 crop of the shrunken photographs shows 64x64 pixels of the original: enough for edges,
# leaves and petals to be seen in it.
_SHRINK = 4


def load(
    *,
    num_modalities: int = 3,
    num_train: int = 20_000,
    num_validation: int = 1_000,
    num_test: int = 2_000,
    seed: int = 0,
) -> Dataset:
    """Builds polydigits; the same arguments give the same bytes.

    Args:
      num_modalities: 2 to 5; the first ones do not change when more are asked for.
      num_train: number of training tuples.
      num_validation: number of validation tuples.
      num_test: number of test tuples.
      seed: of the division of the digits, the pairing, the augmentation and the backgrounds.

    Raises:
      UserError: a number out of range.
    """
    sizes = {"train": num_train, "validation": num_validation, "test": num_test}
    if not 2 <= num_modalities <= MAX_MODALITIES:
        raise UserError(
            f"data.num_modalities is {num_modalities}, polydigits has 2 to {MAX_MODALITIES}"
        )
    options.check_sizes("polydigits", sizes, "tuple")
    originals = divide(seed)
    shares = ", ".join(f"{len(originals[name]):,} digits for {name}" for name in SPLITS)
    names = tuple(f"m{m}" for m in range(num_modalities))
    return Dataset(
        name="polydigits",
        specs=tuple(ModalitySpec(name=name, shape=(SIZE, SIZE, 3)) for name in names),
        splits={name: _split(name, sizes[name], names, originals[name], seed) for name in SPLITS},
        num_classes=NUM_CLASSES,
        class_names=tuple(str(digit) for digit in range(NUM_CLASSES)),
        provenance=(
            "polydigits: made from the 1,797 handwritten digits and two photographs of "
            f"scikit-learn ({shares}); the {num_test:,} test tuples recombine "
            f"{len(originals['test']):,} digits, so they are not independent; not a published "
            "data set"
        ),
    )


def divide(seed: int) -> dict[str, np.ndarray]:
    """Row numbers of the 1,797 digits by split, the same shares in every class."""
    labels = _digits()[1]
    rng = np.random.default_rng([seed, 0])
    parts: dict[str, list[np.ndarray]] = {name: [] for name in SPLITS}
    for digit in range(NUM_CLASSES):
        rows = rng.permutation(np.flatnonzero(labels == digit))
        for name, share in _SHARES.items():
            count = round(share * np.sum(labels == digit))
            parts[name].append(rows[:count])
            rows = rows[count:]
        parts["train"].append(rows)
    return {name: np.sort(np.concatenate(part)) for name, part in parts.items()}


def choose(originals: np.ndarray, label: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """``[N, 5]`` rows of the 1,797 digits: five different ones of the class for each tuple."""
    of_class = _digits()[1][originals]
    chosen = np.empty((len(label), MAX_MODALITIES), np.int32)
    for digit in range(NUM_CLASSES):
        tuples = np.flatnonzero(label == digit)
        rows = originals[of_class == digit]
        keys = rng.random((len(tuples), len(rows)), np.float32)
        chosen[tuples] = rows[np.argpartition(keys, MAX_MODALITIES, 1)[:, :MAX_MODALITIES]]
    return chosen


@functools.cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    """Enlarged digits and their int32 labels."""
    images, labels = bundled.digits()
    return glyphs.enlarge(images / 16), labels


@functools.cache
def _photograph(index: int) -> np.ndarray:
    """A bundled photograph, shrunken and with more contrast, float32 in [0, 1]."""
    small = backgrounds.shrink(bundled.photographs()[index], _SHRINK) / 255
    return backgrounds.raise_contrast(small.astype(np.float32))


def _split(
    name: str, count: int, names: tuple[str, ...], originals: np.ndarray, seed: int
) -> Split:
    stream = [seed, 1 + SPLITS.index(name)]
    rng = np.random.default_rng(stream)
    label = rng.permutation(np.arange(count, dtype=np.int32) % NUM_CLASSES)
    chosen = choose(originals, label, rng)

    def pictures(m: int) -> np.ndarray:
        rng = np.random.default_rng([*stream, m])
        maps = glyphs.small_changes(count, rng) if name == "train" else glyphs.no_change(count)
        ink = glyphs.draw(_digits()[0], chosen[:, m], maps, size=SIZE, glyph_size=_GLYPH_SIZE)
        return backgrounds.to_bytes(_PICTURES[m](ink, rng))

    with futures.ThreadPoolExecutor() as pool:  # NumPy lets go of the interpreter meanwhile
        x = dict(zip(names, pool.map(pictures, range(len(names))), strict=True))
    return Split.complete(x, label)


def _plain(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.repeat(ink[..., None], 3, -1)


def _mask(ink: np.ndarray) -> np.ndarray:
    """Share of each pixel that the digit covers: its edge at 0.4 ink, about a pixel wide."""
    return np.clip(3 * (ink - 0.4) + 0.5, 0, 1)


def _photo(index: int, ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    ground = backgrounds.crops(_photograph(index), len(ink), SIZE, rng)
    return backgrounds.invert(ground, _mask(ink))


def _tints(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    tint = backgrounds.hues(len(ink), rng)[:, None, None]
    # The ground gets a little lighter in some direction; the ink is half the scale lighter still.
    black, grey = np.zeros((len(ink), 3), np.float32), np.full((len(ink), 3), 0.1, np.float32)
    light = backgrounds.gradients(black, grey, SIZE, rng)
    return 0.4 * tint + light + 0.5 * ink[..., None]


def _stripes(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    light = rng.random(len(ink)) < 0.5
    first, second = backgrounds.colours(light, rng), backgrounds.colours(light, rng)
    return backgrounds.invert(backgrounds.stripes(first, second, SIZE, rng), _mask(ink))


_PICTURES = (
    _plain,
    functools.partial(_photo, 1),
    _tints,
    functools.partial(_photo, 0),
    _stripes,
)
