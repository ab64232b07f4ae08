"""The language of captioned_shapes: attributes, the sentences that name them, and its parser.

Every sentence of a level names every attribute of that level once, so that parsing is the exact
inverse of writing. What varies freely is the wording: which sentence, the order of adjectives and
phrases, articles, synonyms and optional words; lengths vary with it.

    level 1  shape                  a circle | there is one circle | a circle is shown
    level 2  and colour             a red circle | a circle that is red
    level 3  and size               a big red circle | a red circle that is large
    level 4  and position           at the top is a big red circle
    level 5  and background         there is a big red circle in the centre on a black background
    level 6  two objects (shape, colour) and a relation
                                    a red circle above a blue star | a blue star below a red circle
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Sequence

import numpy as np

LEVELS = (1, 2, 3, 4, 5, 6)
PAD, END = 0, 1  # the first two of every vocabulary
_SPECIAL = ("<pad>", "<end>")


@dataclasses.dataclass(frozen=True)
class Attribute:
    """Something that can be true of a picture.

    Attributes:
      name: what it is called, also in sentences.
      values: the names of its values.
      phrases: the ways to say each value. In one language no phrase of an attribute begins another
        of it, nor does one stand for two values.
    """

    name: str
    values: tuple[str, ...]
    phrases: tuple[tuple[str, ...], ...]

    def again(self, name: str) -> Attribute:
        """The same attribute of another object."""
        return dataclasses.replace(self, name=name)


def _attribute(name: str, **phrases: str) -> Attribute:
    """Values by name, each with its phrases between bars."""
    ways = tuple(tuple(text.split("|")) for text in phrases.values())
    return Attribute(name, tuple(phrases), ways)


SHAPE = _attribute(
    "shape",
    circle="circle",
    square="square",
    triangle="triangle",
    cross="cross",
    ring="ring",
    star="star",
)
COLOUR = _attribute(
    "colour",
    red="red",
    green="green",
    blue="blue",
    yellow="yellow",
    purple="purple",
    white="white",
)
SIZE = _attribute("size", small="small|little", large="large|big")
POSITION = _attribute(
    "position",
    left="on the left",
    right="on the right",
    top="at the top",
    bottom="at the bottom",
    centre="in the centre|in the middle",
)
BACKGROUND = _attribute("background", black="black", grey="grey", brown="brown", navy="navy")
# Of the first object to the second: the left one and the upper one are the first.
RELATION = _attribute("relation", beside="left of|to the left of", above="above|over")
_CONVERSE = Attribute(
    "converse", RELATION.values, (("right of", "to the right of"), ("below", "under"))
)

_ARTICLES = ("a", "one")
_NOUNS = {
    1: ("{shape}",),
    2: ("{colour} {shape}", "{shape} that is {colour}"),
    3: (
        "{size} {colour} {shape}",
        "{colour} {size} {shape}",
        "{size} {shape} that is {colour}",
        "{colour} {shape} that is {size}",
    ),
}
_SENTENCES = {
    1: ("NOUN", "there is NOUN", "the picture shows NOUN", "NOUN is shown"),
    4: (
        "NOUN {position}",
        "there is NOUN {position}",
        "{position} there is NOUN",
        "{position} is NOUN",
        "the picture shows NOUN {position}",
    ),
    5: (
        "NOUN {position} GROUND",
        "there is NOUN {position} GROUND",
        "NOUN GROUND {position}",
        "{position} is NOUN GROUND",
        "GROUND there is NOUN {position}",
    ),
    6: (
        "FIRST {relation} SECOND",
        "there is FIRST {relation} SECOND",
        "the picture shows FIRST {relation} SECOND",
        "SECOND {converse} FIRST",
        "there is SECOND {converse} FIRST",
        "the picture shows SECOND {converse} FIRST",
    ),
}
_GROUNDS = ("on {background}", "on a {background} background")


@dataclasses.dataclass(frozen=True)
class Slot:
    """A place in a sentence that names an attribute: its column, and how its values are said."""

    column: int
    phrases: tuple[tuple[tuple[str, ...], ...], ...]

    def read(self, words: Sequence[str]) -> tuple[int, int] | None:
        """(the value that ``words`` begin with, how many words it takes), or None."""
        for value, ways in enumerate(self.phrases):
            for way in ways:
                if tuple(words[: len(way)]) == way:
                    return value, len(way)
        return None


Sentence = tuple[str | Slot, ...]


@dataclasses.dataclass(frozen=True)
class Grammar:
    """The sentences of one level.

    Attributes:
      attributes: what is named; the columns [A] of what is written and parsed.
      sentences: the forms, each with one slot for every attribute.
    """

    attributes: tuple[Attribute, ...]
    sentences: tuple[Sentence, ...]

    @functools.cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """Padding, the end, and the words in alphabetical order."""
        words = {word for sentence in self.sentences for part in sentence for word in _words(part)}
        return (*_SPECIAL, *sorted(words))

    @functools.cached_property
    def length(self) -> int:
        """Tokens of the longest caption, its end included."""
        return 1 + max(sum(map(_longest, sentence)) for sentence in self.sentences)

    def write(self, attributes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A caption in random wording for each row: int32 ``[N, length]`` of int ``[N, A]``."""
        number = {word: index for index, word in enumerate(self.vocabulary)}
        forms = rng.integers(len(self.sentences), size=len(attributes))
        # No value has more than two phrases.
        ways = rng.integers(2, size=attributes.shape)
        tokens = np.full((len(attributes), self.length), PAD, np.int32)
        rows = zip(tokens, forms, attributes.tolist(), ways.tolist(), strict=True)
        for row, form, values, way in rows:
            words = self.words(self.sentences[form], values, way)
            row[: len(words)] = [number[word] for word in words]
            row[len(words)] = END
        return tokens

    def words(self, sentence: Sentence, values: Sequence[int], ways: Sequence[int]) -> list[str]:
        """One caption: attributes of these values, each said in the way of that number."""
        found: list[str] = []
        for part in sentence:
            if isinstance(part, str):
                found.append(part)
            else:
                phrases = part.phrases[values[part.column]]
                found += phrases[ways[part.column] % len(phrases)]
        return found

    def parse(self, tokens: np.ndarray) -> np.ndarray:
        """Attributes int32 ``[N, A]`` of captions ``[N, L]``; -1 where it is no sentence.

        A caption goes up to its first end or padding.
        """
        different, places = np.unique(np.asarray(tokens), axis=0, return_inverse=True)
        found = np.array([self._parsed(self.text(row).split()) for row in different], np.int32)
        return found.reshape(-1, len(self.attributes))[places.reshape(-1)]

    def text(self, tokens: np.ndarray) -> str:
        """One caption ``[L]`` as words, without its end."""
        over = np.flatnonzero((tokens == PAD) | (tokens == END))
        return " ".join(
            self.vocabulary[token] for token in tokens[: over[0] if over.size else None]
        )

    def _parsed(self, words: Sequence[str]) -> list[int]:
        for sentence in self.sentences:
            values = self._matched(sentence, words)
            if values is not None:
                return values
        return [-1] * len(self.attributes)

    def _matched(self, sentence: Sentence, words: Sequence[str]) -> list[int] | None:
        values, place = [-1] * len(self.attributes), 0
        for part in sentence:
            if isinstance(part, Slot):
                found = part.read(words[place:])
                if found is None:
                    return None
                values[part.column], taken = found
                place += taken
            elif words[place : place + 1] != [part]:
                return None
            else:
                place += 1
        return values if place == len(words) else None


@functools.cache
def grammar(level: int) -> Grammar:
    """The language of a level from 1 to 6."""
    if level == 6:
        names = ("first", "second")
        objects = [part.again(f"{name} {part.name}") for name in names for part in (SHAPE, COLOUR)]
        attributes = (RELATION, *objects)
        texts = [
            text.replace("FIRST", first).replace("SECOND", second)
            for text in _SENTENCES[6]
            for first, second in itertools.product(*(_objects(name) for name in names))
        ]
    else:
        attributes = (SHAPE, COLOUR, SIZE, POSITION, BACKGROUND)[:level]
        nouns = [f"{article} {noun}" for article in _ARTICLES for noun in _NOUNS[min(level, 3)]]
        texts = [
            text.replace("NOUN", noun).replace("GROUND", ground)
            for text in _SENTENCES[level if level > 3 else 1]
            for noun in nouns
            for ground in (_GROUNDS if level == 5 else ("",))
        ]
    slots = {
        attribute.name.replace(" ", "_"): Slot(column, _split(attribute))
        for column, attribute in enumerate(attributes)
    }
    if level == 6:
        slots["converse"] = Slot(0, _split(_CONVERSE))
    return Grammar(attributes, tuple(_sentence(text, slots) for text in texts))


def _objects(name: str) -> tuple[str, ...]:
    """The ways to describe one of two objects; slots are named ``first_shape`` and so on."""
    return tuple("a " + noun.replace("{", "{" + name + "_") for noun in _NOUNS[2])


def _split(attribute: Attribute) -> tuple[tuple[tuple[str, ...], ...], ...]:
    return tuple(tuple(tuple(way.split()) for way in ways) for ways in attribute.phrases)


def _sentence(text: str, slots: dict[str, Slot]) -> Sentence:
    return tuple(slots[word[1:-1]] if word[0] == "{" else word for word in text.split())


def _words(part: str | Slot) -> tuple[str, ...]:
    if isinstance(part, str):
        return (part,)
    return tuple(word for ways in part.phrases for way in ways for word in way)


def _longest(part: str | Slot) -> int:
    return 1 if isinstance(part, str) else max(len(way) for ways in part.phrases for way in ways)
