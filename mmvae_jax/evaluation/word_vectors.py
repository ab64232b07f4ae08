"""Vectors of words, and of sentences made of them.

Words have vectors from a file, or from the captions themselves: their pointwise mutual information
(PPMI) with the words near them, of which the leading directions are kept (Levy & Goldberg 2014). A
word is near itself, too: else two that are used alike, such as colours, would have one vector.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmvae_jax.types import ModalitySpec, UserError

DIMENSIONS = 300  # of words learnt from captions, at most
_WINDOW = 3  # words on either side that count as near
_FEWEST = 3  # a word that is rarer has no vector of its own
_MOST_WORDS = 4000  # that have one: the most frequent
_RARE = 1e-3  # a, the frequency at which a word counts half


def words_of(spec: ModalitySpec, tokens: np.ndarray) -> np.ndarray:
    """Which positions of tokens [N, L] hold words: neither the end, nor behind it, nor padding."""
    return ~(spec.behind_end(tokens) | (tokens == spec.end_id) | (tokens == spec.pad_id))


def frequencies(spec: ModalitySpec, tokens: np.ndarray) -> np.ndarray:
    """Share of every word of the vocabulary among all words of these texts, [V]."""
    counts = np.bincount(tokens[words_of(spec, tokens)], minlength=spec.num_classes)
    return counts / max(1, counts.sum())


def learn(spec: ModalitySpec, tokens: np.ndarray) -> np.ndarray:
    """Vectors [V, E] from texts [N, L]; 0 for rare words. The same texts give the same vectors."""
    here = words_of(spec, tokens)
    counts = np.bincount(tokens[here], minlength=spec.num_classes)
    known = np.argsort(-counts, kind="stable")[:_MOST_WORDS]
    known = known[counts[known] >= _FEWEST]
    if not len(known):
        return np.zeros((spec.num_classes, 1))
    near = co_occurrences(np.where(here, tokens, -1), known)
    values, vectors = np.linalg.eigh(positive_mutual_information(near))
    # Of a symmetric matrix the singular values are the eigenvalues' absolute ones.
    largest = np.argsort(-np.abs(values), kind="stable")[:DIMENSIONS]
    found = np.zeros((spec.num_classes, len(largest)))
    found[known] = vectors[:, largest] * np.sqrt(np.abs(values[largest]))
    return found


def co_occurrences(tokens: np.ndarray, known: np.ndarray) -> np.ndarray:
    """How often two of the ``known`` words [W] stand near each other: symmetric, [W, W].

    Every word stands near itself once. tokens: [N, L], -1 where there is no word.
    """
    place = np.full(tokens.max(initial=0) + 2, -1)  # the last one is for what is no word
    inside = known < len(place) - 1
    place[known[inside]] = np.flatnonzero(inside)
    rows = place[tokens]
    found = np.zeros((len(known), len(known)))
    for apart in range(1, min(_WINDOW, rows.shape[1] - 1) + 1):
        first, second = rows[:, :-apart], rows[:, apart:]
        both = (first >= 0) & (second >= 0)
        pairs = first[both] * len(known) + second[both]
        found += np.bincount(pairs, minlength=found.size).reshape(found.shape)
    single = np.bincount(rows[rows >= 0], minlength=len(known))
    return found + found.T + np.diag(single)


def positive_mutual_information(counts: np.ndarray) -> np.ndarray:
    """max(0, log p(a, b) / (p(a) p(b))) of symmetric counts [W, W]; 0 where a pair never was."""
    total, single = counts.sum(), counts.sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        information = np.log(counts * total / np.outer(single, single))
    return np.where(counts > 0, np.maximum(information, 0.0), 0.0)


def read(path: str | Path, vocabulary: Sequence[str]) -> tuple[np.ndarray, int]:
    """Vectors [V, E] of the words that a text file has, 0 for the others, and how many it has.

    A line of the file is a word and its numbers, between blanks; a first line with their counts
    (as FastText and word2vec write it) may be there.

    Raises:
      UserError: there is no such file, a line of it does not fit, or it has none of the words.
    """
    places = {word: place for place, word in enumerate(vocabulary)}
    found: dict[int, np.ndarray] = {}
    size = 0
    try:
        with Path(path).expanduser().open(encoding="utf-8", errors="replace") as file:
            for number, line in enumerate(file, 1):
                word, *values = line.split() or [""]
                if not word or (number == 1 and len(values) == 1):
                    continue
                size = size or len(values)
                if word in places:
                    found[places[word]] = _numbers(values, size, f"{path}: line {number}")
    except OSError as error:
        raise UserError(
            f"config.evaluation.word_vectors = {str(path)!r} cannot be read ({error.strerror})"
        ) from error
    if not found:
        raise UserError(
            f"config.evaluation.word_vectors = {str(path)!r} has none of the captions' "
            f"{len(vocabulary)} words: give one of their language, in lines of a word and numbers"
        )
    vectors = np.zeros((len(vocabulary), size))
    for place, values in found.items():
        vectors[place] = values
    return vectors, len(found)


def _numbers(values: Sequence[str], size: int, where: str) -> np.ndarray:
    try:
        found = np.array(values, np.float64)
    except ValueError as error:
        raise UserError(f"{where} holds something that is no number") from error
    if len(found) != size or not size:
        raise UserError(f"{where} has {len(found)} numbers, the lines before it {size}")
    if not np.isfinite(found).all():
        raise UserError(f"{where} holds a number that is not finite")
    return found


@dataclasses.dataclass(frozen=True, eq=False)
class Sentences:
    """How texts become vectors.

    Attributes:
      spec: their modality.
      vectors: of words, [V, E].
      weights: of words, [V].
      counts_end: whether the end of a text counts in its length.
      common: direction that is taken out of every vector, [E]; 0: none.
    """

    spec: ModalitySpec
    vectors: np.ndarray
    weights: np.ndarray
    counts_end: bool
    common: np.ndarray

    def __call__(self, tokens: np.ndarray) -> np.ndarray:
        """Vectors [N, E] of texts [N, L]."""
        here = words_of(self.spec, tokens)
        summed = np.zeros((len(tokens), self.vectors.shape[1]))
        weighted = self.weights[:, None] * self.vectors
        for position in range(tokens.shape[1]):
            summed += np.where(here[:, [position]], weighted[tokens[:, position]], 0.0)
        length = here.sum(1)
        if self.counts_end:
            length = length + (tokens == self.spec.end_id).any(1)
        mean = summed / np.maximum(length, 1)[:, None]
        return mean - np.outer(mean @ self.common, self.common)


def weighted_sentences(spec: ModalitySpec, vectors: np.ndarray, tokens: np.ndarray) -> Sentences:
    """Rare words count more, and what all sentences share is taken out (MMVAE).

    A sentence is the sum of a / (a + frequency) times each word's vector, over the length with its
    end, less its part along the first principal direction. Frequencies and that direction are
    those of ``tokens`` [N, L], the training texts. After Arora et al. (2017), who take the
    direction of the vectors as they are, not centred.
    """
    weights = _RARE / (_RARE + frequencies(spec, tokens))
    raw = Sentences(spec, vectors, weights, True, np.zeros(vectors.shape[1]))
    found = raw(tokens)
    _, directions = np.linalg.eigh(found.T @ found)
    return dataclasses.replace(raw, common=directions[:, -1])


def mean_sentences(spec: ModalitySpec, vectors: np.ndarray) -> Sentences:
    """A sentence is the mean of its words' vectors (MEME)."""
    size, dimensions = vectors.shape
    return Sentences(spec, vectors, np.ones(size), False, np.zeros(dimensions))
