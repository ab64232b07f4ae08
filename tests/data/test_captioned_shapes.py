"""captioned_shapes: captions read back, every value occurs, pixels are where they should be."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mmvae_jax import data
from mmvae_jax.data import caption_grammar, shapes
from mmvae_jax.data.caption_grammar import END, PAD
from mmvae_jax.types import UserError

SMALL = {"num_train": 300, "num_validation": 20, "num_test": 100}


@pytest.fixture(scope="module")
def datasets() -> dict[int, data.Dataset]:
    return {
        level: data.load("captioned_shapes", {**SMALL, "level": level}, seed=0)
        for level in caption_grammar.LEVELS
    }


def tokens_of(grammar: caption_grammar.Grammar, text: str) -> np.ndarray:
    words = [grammar.vocabulary.index(word) for word in text.split()]
    return np.array([*words, END, *[PAD] * (grammar.length - len(words) - 1)])


@pytest.mark.parametrize("level", caption_grammar.LEVELS)
def test_every_wording_reads_back(level, generator):
    """All forms of sentences, both ways to say each attribute, for random attributes."""
    grammar = caption_grammar.grammar(level)
    sides = [len(attribute.values) for attribute in grammar.attributes]
    values, captions = [], []
    for sentence, way in itertools.product(grammar.sentences, range(2)):
        row = generator.integers(sides)
        words = grammar.words(sentence, row, np.full(len(row), way))
        values.append(row)
        captions.append(tokens_of(grammar, " ".join(words)))
    np.testing.assert_array_equal(grammar.parse(np.stack(captions)), values)
    lengths = {int((caption > END).sum()) for caption in captions}
    assert len(lengths) > 2 and max(lengths) == grammar.length - 1


@pytest.mark.parametrize("level", caption_grammar.LEVELS)
def test_captions_say_what_is_known(datasets, level):
    dataset = datasets[level]
    assert len(dataset.captions.names) == (1, 2, 3, 4, 5, 5)[level - 1]
    for split in dataset.splits.values():
        tokens = split.x["caption"]
        np.testing.assert_array_equal(dataset.captions.parse(tokens), split.attributes)
        # Words, one end, and nothing but padding behind it.
        ends = (tokens == END).argmax(1)
        assert ((tokens == END).sum(1) == 1).all()
        np.testing.assert_array_equal(tokens == PAD, np.arange(tokens.shape[1]) > ends[:, None])
        assert len(set(ends)) > 2 and tokens.max() < len(dataset.vocabularies["caption"])
    train = dataset.splits["train"]
    for column, values in enumerate(dataset.captions.values):
        assert set(train.attributes[:, column]) == set(range(len(values)))
    assert len(np.unique(train.x["caption"], axis=0)) > 25


def test_words_in_other_orders_are_the_same_and_nonsense_is_nothing():
    grammar = caption_grammar.grammar(6)
    texts = (
        "a red circle above a star that is blue",
        "there is a star that is blue under a red circle",
    )
    first, second = grammar.parse(np.stack([tokens_of(grammar, text) for text in texts]))
    np.testing.assert_array_equal(first, second)
    said = [part.values[value] for part, value in zip(grammar.attributes, first, strict=True)]
    assert said == ["above", "circle", "red", "star", "blue"]
    for text in ("", "a red circle", "a red circle above a blue", texts[0] + " above a red star"):
        assert (grammar.parse(tokens_of(grammar, text)[None]) == -1).all(), text
    assert grammar.text(tokens_of(grammar, texts[0])) == texts[0]


def test_no_phrase_begins_another_of_its_attribute():
    for level in caption_grammar.LEVELS:
        for sentence in caption_grammar.grammar(level).sentences:
            for slot in (part for part in sentence if not isinstance(part, str)):
                phrases = [phrase for ways in slot.phrases for phrase in ways]
                for one, other in itertools.permutations(phrases, 2):
                    assert other[: len(one)] != one


def test_same_seed_same_bytes_and_captions_do_not_know_the_image_size(datasets):
    options = {**SMALL, "level": 2}
    assert data.load("captioned_shapes", options).fingerprint == datasets[2].fingerprint
    assert data.load("captioned_shapes", options, seed=1).fingerprint != datasets[2].fingerprint
    large = data.load("captioned_shapes", {**options, "image_size": 64}).splits["test"]
    np.testing.assert_array_equal(large.x["caption"], datasets[2].splits["test"].x["caption"])
    # The same scenes: of twice the size, they are the small ones when four pixels become one.
    shrunken = large.x["image"].reshape(100, 32, 2, 32, 2, 3).mean((2, 4))
    assert abs(shrunken - datasets[2].splits["test"].x["image"]).mean() < 2


def test_no_image_occurs_twice(datasets):
    for dataset in datasets.values():
        images = np.concatenate([split.x["image"] for split in dataset.splits.values()])
        assert len(np.unique(images.reshape(len(images), -1), axis=0)) == len(images)


def test_images_show_the_attributes(datasets):
    """Colour, size, place and ground are measured in the pictures of level 5."""
    split = datasets[5].splits["train"]
    shape, colour, size, position, _ = split.attributes.T
    images = split.x["image"].astype(int)
    ground = images[:, 0, 0]  # no object reaches this corner
    ink = abs(images - ground[:, None, None]).sum(-1) > 60
    rows, columns = np.nonzero(ink.any(2)), np.nonzero(ink.any(1))
    height = np.bincount(rows[0], minlength=len(ink))
    y = np.bincount(rows[0], rows[1]) / height - 15.5
    x = np.bincount(columns[0], columns[1]) / np.bincount(columns[0]) - 15.5
    assert (height[size == 1] > 11).all() and (height[size == 0] < 13).all()
    for place, centre in enumerate([(-7, 0), (7, 0), (0, -7), (0, 7), (0, 0)]):
        off = np.stack([x, y], 1)[position == place] - centre
        assert abs(off).max() < 4 and abs(off.mean(0)).max() < 2
    solid = shape == 1
    middle = images[np.flatnonzero(solid), np.rint(y[solid] + 15.5).astype(int)]
    middle = middle[np.arange(len(middle)), np.rint(x[solid] + 15.5).astype(int)]
    for number, channels in enumerate([(0,), (1,), (2,), (0, 1), (0, 2), (0, 1, 2)]):
        ink_of = middle[colour[solid] == number]
        bright = [channel for channel in range(3) if channel not in channels]
        assert (ink_of[:, channels].min(1) > 120).all()
        assert all((ink_of[:, c] < ink_of[:, channels].min(1)).all() for c in bright)


def test_shapes_cover_the_pixels_that_geometry_says():
    """Unturned, in the middle of 64 pixels, radius 24: points inside and outside, and areas."""
    names = list(shapes.SHAPES)
    count = len(names)
    covered = shapes.coverage(
        shapes.Objects(
            shape=np.arange(count),
            colour=np.ones((count, 3), np.float32),
            centre=np.zeros((count, 2)),
            radius=np.full(count, 24 / 64),
            angle=np.zeros(count),
        ),
        64,
    )
    assert covered.min() == 0 and covered.max() == 1
    found = dict(zip(names, covered, strict=True))
    inside = {  # (x, y) from the middle, y down
        "circle": [(0, 0), (16, 16), (-22, 0)],
        "square": [(0, 0), (18, -18), (-18, 0)],
        "triangle": [(0, -20), (-16, 10), (16, 10)],
        "cross": [(0, 22), (-22, 5), (0, 0)],
        "ring": [(20, 0), (0, -17), (12, 12)],
        "star": [(0, -20), (0, 0), (-18, -6), (12, 17)],
    }
    outside = {
        "circle": [(18, 18), (26, 0)],
        "square": [(21, 0), (0, -22)],
        "triangle": [(0, 14), (12, -12), (-24, 10)],
        "cross": [(9, 9), (26, 0)],
        "ring": [(0, 0), (8, 0), (26, 0)],
        "star": [(0, 14), (10, -12), (-10, -12)],
    }
    for name, image in found.items():
        for x, y in inside[name]:
            assert image[32 + y, 32 + x] == 1, (name, x, y)
        for x, y in outside[name]:
            assert image[32 + y, 32 + x] == 0, (name, x, y)
        np.testing.assert_allclose(image, image[:, ::-1], atol=1e-3)  # all are symmetric
    areas = {name: image.sum() / 24**2 for name, image in found.items()}
    notch = 0.42 * np.sin(np.pi / 5)
    expected = {
        "circle": np.pi,
        "square": 4 * 0.82**2,
        "triangle": 3 * np.sqrt(3) / 4,
        "cross": 8 * 0.3 - 4 * 0.3**2,
        "ring": np.pi * (1 - 0.44**2),
        "star": 5 * notch,
    }
    for name, area in expected.items():
        assert areas[name] == pytest.approx(area, rel=0.02), name


def test_a_partial_split_keeps_attributes_with_their_rows():
    options = {**SMALL, "level": 1, "partial": "paired", "observed": 0.2}
    split = data.load("captioned_shapes", options).splits["train"]
    assert len(split) == 300 + 240  # unpaired rows become two
    there = split.present["caption"]
    parsed = caption_grammar.grammar(1).parse(split.x["caption"])
    np.testing.assert_array_equal(parsed[there], split.attributes[there])
    np.testing.assert_array_equal(split.attributes[:, 0], split.label)
    assert 0.5 < there.mean() < 0.6


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"level": 0}, "data.level is 0, captioned_shapes has the levels 1 to 6"),
        ({"level": 7}, "the levels 1 to 6"),
        ({"image_size": 48}, "data.image_size is 48, captioned_shapes has 32 and 64"),
        ({"num_test": 0}, "data.num_test is 0, captioned_shapes needs at least 1 pair"),
        ({"dir": "/somewhere"}, "reads no folder"),
    ],
)
def test_what_cannot_be_made_is_refused(options, said):
    with pytest.raises(UserError, match=said):
        data.load("captioned_shapes", options)
