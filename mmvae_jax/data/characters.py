"""Short texts as rows of character numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmvae_jax.types import UserError

# That of MoPoE's text modality: 71 places, of which the second hyphen stays empty.
ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789" + "-,;.!?:'\"/\\|_@#$%^&*~`+-=<>()[]{}" + " \n"
SPACE = ALPHABET.index(" ")
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def encode(text: str, length: int) -> np.ndarray:
    """Numbers int32 ``[length]`` of the characters, filled up with spaces.

    Raises:
      UserError: the text is longer, or has a character that `ALPHABET` lacks.
    """
    if len(text) > length:
        raise UserError(f"text {text!r} has {len(text)} characters, there is room for {length}")
    for place, character in enumerate(text):
        if character not in ALPHABET:
            raise UserError(f"text {text!r}: character {character!r} at {place} is not known")
    numbers = [ALPHABET.index(character) for character in text]
    return np.array(numbers + [SPACE] * (length - len(numbers)), np.int32)


def decode(numbers: np.ndarray) -> str:
    """The text of one row, without the spaces at its ends."""
    return "".join(ALPHABET[number] for number in numbers).strip()


def placed(
    words: Sequence[str], which: np.ndarray, length: int, rng: np.random.Generator
) -> np.ndarray:
    """Words ``which`` [N] at random places of `length` characters, int32 ``[N, length]``.

    Every place is equally likely at which the word fits (MoPoE's MNIST-SVHN-Text).
    """
    rows = np.full((len(which), length), SPACE, np.int32)
    for number, word in enumerate(words):
        mine = np.flatnonzero(which == number)
        letters = encode(word, len(word))
        start = rng.integers(length - len(word) + 1, size=len(mine))
        rows[mine[:, None], start[:, None] + np.arange(len(word))] = letters[None]
    return rows
