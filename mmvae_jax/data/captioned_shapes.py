"""captioned_shapes: pictures of shapes and sentences about them, made from a grammar in seconds.

The sentence says all that is true of the picture but for small changes (place, size, turn and
tints), and the picture shows all that the sentence says but for its wording. So the attributes are
what both share, they are known, and a caption can be read back exactly (`Captions.parse`).
Levels 1 to 5 vary that many attributes of one object and of its ground, level 6 shows two objects
and a relation; see `caption_grammar`. What a level does not vary is the same in all pictures.
"""

from __future__ import annotations

import numpy as np

from mmvae_jax.data import caption_grammar, options, shapes
from mmvae_jax.data.contract import SPLITS, Captions, Dataset, Split
from mmvae_jax.types import ModalitySpec, UserError

SIZES = (32, 64)
IMAGE, CAPTION = "image", "caption"

_COLOURS = np.float32(
    [
        (0.90, 0.15, 0.15),
        (0.20, 0.75, 0.25),
        (0.20, 0.40, 0.95),
        (0.95, 0.85, 0.20),
        (0.65, 0.25, 0.80),
        (0.97, 0.97, 0.97),
    ]
)
_GROUNDS = np.float32(
    [(0.05, 0.05, 0.05), (0.52, 0.52, 0.52), (0.43, 0.27, 0.13), (0.07, 0.10, 0.38)]
)
_RADII = np.float32([0.15, 0.26])
_RADIUS_OF_TWO = 0.18
_OFFSET = 0.22  # from the middle
_PLACES = _OFFSET * np.float32([(-1, 0), (1, 0), (0, -1), (0, 1), (0, 0)])
_DIRECTIONS = np.float32([(1, 0), (0, 1)])  # from the first of two objects to the second
# What a level does not vary: a large red object in the centre, on black.
_USUAL = {"shape": 0, "colour": 0, "size": 1, "position": 4, "background": 0}


def load(
    *,
    level: int = 1,
    image_size: int = 32,
    num_train: int = 20_000,
    num_validation: int = 1_000,
    num_test: int = 2_000,
    seed: int = 0,
) -> Dataset:
    """Builds captioned_shapes; the same arguments give the same bytes.

    Args:
      level: 1 to 6.
      image_size: 32 or 64 pixels; the captions do not depend on it.
      num_train: number of training pairs.
      num_validation: number of validation pairs.
      num_test: number of test pairs.
      seed: of attributes, small changes and wordings.

    Raises:
      UserError: a number out of range.
    """
    if level not in caption_grammar.LEVELS:
        raise UserError(f"data.level is {level}, captioned_shapes has the levels 1 to 6")
    if image_size not in SIZES:
        raise UserError(f"data.image_size is {image_size}, captioned_shapes has 32 and 64")
    sizes = {"train": num_train, "validation": num_validation, "test": num_test}
    options.check_sizes("captioned_shapes", sizes, "pair")
    grammar = caption_grammar.grammar(level)
    names = [attribute.name for attribute in grammar.attributes]
    shape = next(column for column, name in enumerate(names) if name.endswith("shape"))
    splits = {}
    for place, name in enumerate(SPLITS):
        attributes = _attributes(grammar, sizes[name], np.random.default_rng([seed, place, 0]))
        values = dict(zip(names, attributes.T, strict=True))
        captions = grammar.write(attributes, np.random.default_rng([seed, place, 1]))
        images = _images(values, image_size, np.random.default_rng([seed, place, 2]))
        x = {IMAGE: images, CAPTION: captions}
        present = {name: np.ones(len(images), bool) for name in x}
        splits[name] = Split(x, present, attributes[:, shape].copy(), attributes)
    return Dataset(
        name="captioned_shapes",
        specs=_specs(grammar, image_size),
        splits=splits,
        num_classes=len(caption_grammar.SHAPE.values),
        class_names=caption_grammar.SHAPE.values,
        provenance=(
            f"captioned_shapes: made from a grammar, level {level} ({', '.join(names)}; "
            f"{len(grammar.sentences)} forms of sentences, {len(grammar.vocabulary)} words); not a "
            "published data set"
        ),
        vocabularies={CAPTION: grammar.vocabulary},
        captions=Captions(
            image=IMAGE,
            caption=CAPTION,
            names=tuple(names),
            values=tuple(attribute.values for attribute in grammar.attributes),
            parse=grammar.parse,
        ),
    )


def _specs(grammar: caption_grammar.Grammar, image_size: int) -> tuple[ModalitySpec, ...]:
    return (
        ModalitySpec(name=IMAGE, shape=(image_size, image_size, 3)),
        ModalitySpec(
            name=CAPTION,
            shape=(grammar.length,),
            dtype="int32",
            likelihood="tokens",
            num_classes=len(grammar.vocabulary),
            end_id=caption_grammar.END,
            pad_id=caption_grammar.PAD,
        ),
    )


def _attributes(
    grammar: caption_grammar.Grammar, count: int, rng: np.random.Generator
) -> np.ndarray:
    """int32 ``[count, A]``, every combination as often as any other (to one), in random order."""
    sides = [len(attribute.values) for attribute in grammar.attributes]
    combinations = rng.permutation(np.prod(sides))
    chosen = combinations[rng.permutation(np.arange(count) % len(combinations))]
    return np.stack(np.unravel_index(chosen, sides), 1).astype(np.int32)


def _images(values: dict[str, np.ndarray], size: int, rng: np.random.Generator) -> np.ndarray:
    count = len(next(iter(values.values())))

    def around(spread: float, *shape: int) -> np.ndarray:
        """Uniform float32 from -spread to spread."""
        return rng.uniform(-spread, spread, (count, *shape)).astype(np.float32)

    def value(name: str) -> np.ndarray:
        return values.get(name, np.full(count, _USUAL.get(name, 0)))

    def thing(prefix: str, centre: np.ndarray, radius: np.ndarray | float) -> shapes.Objects:
        tint = _COLOURS[value(f"{prefix}colour")]
        return shapes.Objects(
            shape=value(f"{prefix}shape"),
            colour=tint * (0.92 + around(0.08, 1)) + around(0.03, 3),
            centre=centre + around(0.03, 2),
            radius=radius * (1 + around(0.08)),
            angle=around(0.15),
        )

    ground = np.clip(_GROUNDS[value("background")] + around(0.04, 1) + around(0.01, 3), 0, 1)
    if "relation" not in values:
        radius = _RADII[value("size")]
        return shapes.draw(ground, [thing("", _PLACES[value("position")], radius)], size)
    step = _OFFSET * _DIRECTIONS[value("relation")]
    # Both may lie a little off the line between them.
    aside = around(0.08, 1) * _DIRECTIONS[1 - value("relation")]
    pair = (thing("first ", aside - step, _RADIUS_OF_TWO), thing("second ", step, _RADIUS_OF_TWO))
    return shapes.draw(ground, list(pair), size)
