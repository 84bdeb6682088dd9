"""Invented names, made of pieces that mean nothing, so that none can be known beforehand."""

import random
from hashlib import blake2b

_CONSONANTS = "bdfghjklmnprstvz"
_VOWELS = "aeiou"


def _pick(words: list[str], num: int) -> tuple[str, ...]:
    """A fixed, mixed choice of ``num`` words."""
    return tuple(sorted(sorted(words, key=_hash)[:num]))


def _hash(word: str) -> int:
    return int.from_bytes(blake2b(word.encode(), digest_size=4).digest())


BEGINNINGS = _pick([f"{a}{v}{b}".capitalize() for a in _CONSONANTS for v in _VOWELS for b in "dklmnrst"], 160)
"""First halves of words: consonant, vowel, consonant (``Bor``)."""
ENDINGS = _pick([f"{v}{c}{w}" for v in _VOWELS for c in _CONSONANTS for w in _VOWELS], 200)
"""Second halves of words: vowel, consonant, vowel (``ani``)."""
GIVEN_NAMES = _pick([f"{c}{v}{w}".capitalize() for c in _CONSONANTS for v in _VOWELS for w in _VOWELS if v != w], 100)
"""Given names of persons: consonant and two vowels (``Mia``); they say nothing about who is meant."""

EVALUATION_SHARE = 4
"""One word in so many is kept for evaluation, in every world: a policy trained in any of them has never met it."""


def is_evaluation_word(word: str) -> bool:
    """Whether a name word belongs to evaluation entities only, whatever the world's seed."""
    return _hash(word.lower()) % EVALUATION_SHARE == 0


class NameMaker:
    """Makes names that were not made before, each fit for one split."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._made: set[str] = set()

    def word(self, *, evaluation: bool) -> str:
        """Return a new word (``Borani``) that belongs to the given split."""
        while True:
            word = self._rng.choice(BEGINNINGS) + self._rng.choice(ENDINGS)
            if word not in self._made and is_evaluation_word(word) == evaluation:
                self._made.add(word)
                return word

    def person(self, *, evaluation: bool) -> str:
        """Return a given name and a new word (``Mia Borani``)."""
        return f"{self._rng.choice(GIVEN_NAMES)} {self.word(evaluation=evaluation)}"
