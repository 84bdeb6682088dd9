"""Texts as words, so that runs of words can be found again in other texts."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

MAX_CHARS = 20_000
"""Characters of a text that are looked at. An observation is a tenth of that, unless the configuration says otherwise."""

_WORD = re.compile(
    # Scripts without spaces between words: each character is a word.
    "[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3]"
    "|[^\\W_\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3]+"
)

_LITTLE_WORDS = (
    "a about after also an and answer answers any are as at be because been before being both but by can could did do does "
    "done down each either else feedback find for from get give had has have he her here his how i if in into is it its itself "
    "let ll made make me more most my name need new next no not now of off on one or other our out over please question query "
    "reasoning re s same say search second see she should since so some step such t task tell than that the their them then "
    "there these they this those three thus to too two up use ve very was we were what when where whether which while who whom "
    "whose why will with without would yes you your"
)
_EMPTY = frozenset(_LITTLE_WORDS.split())
"""Words that carry nothing from one text to another."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word and its place in its text."""

    folded: str
    """The word without case."""
    start: int
    """Its first character."""
    end: int
    """The character after its last one."""
    is_name: bool
    """It begins with a capital, or holds a digit: it names something."""

    @property
    def is_empty(self) -> bool:
        """True where the word carries nothing by itself."""
        return self.folded in _EMPTY


class Words:
    """A text as words."""

    def __init__(self, text: str) -> None:
        self.text = text[:MAX_CHARS]
        self.words = tuple(_read(self.text))
        self._joined = f" {' '.join(word.folded for word in self.words)} "

    def __len__(self) -> int:
        return len(self.words)

    def run(self, start: int, end: int) -> str:
        """Return some of the words as they are looked for in other texts."""
        return " ".join(word.folded for word in self.words[start:end])

    @property
    def core(self) -> str:
        """All words as they are looked for in other texts, without those at the two ends that carry nothing; a lone *yes* stays."""
        start, end = 0, len(self.words)
        while start < end and self.words[start].is_empty:
            start += 1
        while end > start and self.words[end - 1].is_empty:
            end -= 1
        return self.run(start, end) or self._joined.strip()

    def shown(self, start: int, end: int) -> str:
        """Return some of the words as the text has them."""
        return self.text[self.words[start].start : self.words[end - 1].end]

    def holds(self, run: str) -> bool:
        """Return True where the run stands in the text."""
        return f" {run} " in self._joined

    @cached_property
    def names(self) -> frozenset[str]:
        """The words that name something somewhere in the text."""
        return frozenset(word.folded for word in self.words if word.is_name and not word.is_empty)


def _read(text: str) -> Iterator[Word]:
    for match in _WORD.finditer(text):
        word = match.group()
        is_name = word[0].isupper() or any(character.isdigit() for character in word)
        yield Word(word.casefold(), match.start(), match.end(), is_name)


def is_unspaced(run: str) -> bool:
    """Return True where a run is of a script without spaces between words."""
    return not run[:1].isascii() and all(len(word) == 1 for word in run.split())
