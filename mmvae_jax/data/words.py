"""Captions as rows of word numbers: a tokenizer, a vocabulary of frequent words, one length.

The published code of MMVAE takes NLTK's tokenizer. This one agrees with it on what captions of
birds and flowers mostly hold: words (hyphens and strokes inside included), marks, 's and n't. It
knows no list of abbreviations, does not take "cannot" or "gonna" apart, leaves quotation marks as
they are, and makes all letters small. So a few rare words are others, and the size of a vocabulary
may differ by some words from the published one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

UNKNOWN, PADDING, END = 0, 1, 2
SPECIALS = ("<exc>", "<pad>", "<eos>")

_NOT = re.compile(r"(?<=[a-z])n't\b")
_TOKEN = re.compile(
    r"n't|'(?:s|m|d|re|ve|ll)\b"  # what is taken off a word
    r"|[^\W_]+(?:[-/.][^\W_]+)*"  # words and numbers
    r"|\.{2,}|-{2,}|\S"  # marks
)


def tokens(text: str) -> list[str]:
    """The words and marks of a text."""
    return _TOKEN.findall(_NOT.sub(" n't", text.lower()))


def vocabulary(texts: Iterable[Sequence[str]], more_than: int) -> tuple[str, ...]:
    """`SPECIALS`, then the words that occur more often than so many times, the most frequent first.

    Args:
      texts: the tokens of each text.
      more_than: how often is too rarely.
    """
    counts = Counter(word for text in texts for word in text)
    for word in SPECIALS:  # a text cannot hold them as one token, but nothing rests on that
        counts.pop(word, None)
    kept = [word for word, count in counts.items() if count > more_than]
    return (*SPECIALS, *sorted(kept, key=lambda word: (-counts[word], word)))


def encode(texts: Sequence[Sequence[str]], vocabulary: Sequence[str], length: int) -> np.ndarray:
    """Numbers of words, int32 ``[N, length]``: at most length - 1 of each text, `END`, `PADDING`.

    A word that the vocabulary lacks becomes `UNKNOWN`.
    """
    numbers = {word: number for number, word in enumerate(vocabulary)}
    rows = np.full((len(texts), length), PADDING, np.int32)
    for row, text in zip(rows, texts, strict=True):
        found = [numbers.get(word, UNKNOWN) for word in text[: length - 1]]
        row[: len(found)] = found
        row[len(found)] = END
    return rows
