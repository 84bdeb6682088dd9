"""Invented names, made of pieces that mean nothing: nobody can know them beforehand."""

import random
from hashlib import blake2b

_CONSONANTS = "bdfghjklmnprstvz"
_VOWELS = "aeiou"


def _pick(words: list[str], num: int) -> tuple[str, ...]:
    """A fixed, mixed choice of ``num`` words."""
    return tuple(sorted(sorted(words, key=_hash)[:num]))


def _hash(word: str) -> int:
    return int.from_bytes(blake2b(word.encode(), digest_size=4).digest())


BEGINNINGS = _pick([f"{a}{v}{b}".capitalize() for a in _CONSONANTS for v in _VOWELS for b in "dklmnrst"], 600)
"""First halves of names: consonant, vowel, consonant (``Bor``). There are many, so that few names begin alike."""
ENDINGS = _pick([f"{v}{c}{w}" for v in _VOWELS for c in _CONSONANTS for w in _VOWELS], 200)
"""Second halves of names: vowel, consonant, vowel (``ani``)."""

EVALUATION_SHARE = 4
"""One name in so many is kept for evaluation, in every world: a policy trained in any of them has never met it."""


def is_evaluation_name(name: str) -> bool:
    """Return True where a name belongs to evaluation entities only, whatever the world's seed."""
    return _hash(name.lower()) % EVALUATION_SHARE == 0


class NameMaker:
    """Makes names that were not made before, each fit for one split."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._made: set[str] = set()

    def name(self, *, evaluation: bool) -> str:
        """Return a new name (``Borani``) that belongs to the given split."""
        while True:
            name = self._rng.choice(BEGINNINGS) + self._rng.choice(ENDINGS)
            if name not in self._made and is_evaluation_name(name) == evaluation:
                self._made.add(name)
                return name
