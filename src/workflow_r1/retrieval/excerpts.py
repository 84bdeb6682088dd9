"""The sentences of a passage that hold the words of a query."""

import re
from collections import Counter
from functools import lru_cache

from workflow_r1.retrieval.tokens import Tokenizer

MARK = "..."
"""Stands where text was left out."""

LEAST_CHARS = 32
"""Shortest excerpt that may be asked for."""

READ_CHARS = 100_000
"""Longest part of a passage that is looked at: a passage of any length takes bounded time."""

_SENTENCE_END = re.compile(r"(?<=[.!?])(?<!\b[A-Z]\.)\s+|(?<=[。！？])")

"""Between two sentences; a single capital with its point is an initial."""

_FIRST = 0.3
"""Worth of the first sentence, as a part of a word of the query: it says what the passage is about."""


def excerpt(text: str, query: str, max_chars: int, *, title: str = "") -> str:
    """Cut a passage to the sentences that tell most about a query.

    Sentence after sentence is taken by the number of words of the query that no sentence before has. A word counts
    ``1/sqrt(sentences that hold it)``, and those of the title count for nothing, since the title is shown anyway. What
    room is left takes the beginning of one more. The sentences stay in their order.

    Args:
        text: the passage.
        query: the query that found it.
        max_chars: longest result, marks included; at least 32.
        title: title of the passage.

    Returns:
        The text itself, with single spaces, where it fits; else the sentences, with ``...`` where text is missing.

    Raises:
        ValueError: ``max_chars`` is below 32.
    """
    if max_chars < LEAST_CHARS:
        raise ValueError(f"expected max_chars of at least {LEAST_CHARS}, received {max_chars}")
    text = " ".join(text[: READ_CHARS * 2].split())[:READ_CHARS]
    if len(text) <= max_chars:
        return text
    sentences = _SENTENCE_END.split(text)
    tokenize = _tokenizer()
    wanted = frozenset(tokenize(query, is_query=True))
    wanted = (wanted - frozenset(tokenize(title))) or wanted
    found = [frozenset(tokenize(sentence)) & wanted for sentence in sentences]
    times = Counter(token for tokens in found for token in tokens)
    gap = len(MARK) + 2
    held: frozenset[str] = frozenset()
    taken: dict[int, str] = {}

    def worth(index: int) -> float:
        return sum(times[token] ** -0.5 for token in sorted(found[index] - held)) + _FIRST * (index == 0)

    room = max_chars - gap
    left = list(range(len(sentences)))
    while left:
        fitting = [index for index in left if len(sentences[index]) + gap <= room]
        if not fitting and room < LEAST_CHARS - gap:
            break
        best = max(fitting or left, key=lambda index: (worth(index), -index))
        if fitting and worth(best) == 0 and room >= LEAST_CHARS - gap:
            # Nothing of the query is in a sentence that fits: the beginning of a longer one may hold some.
            best = max(left, key=lambda index: (worth(index), -index))
        cut = sentences[best][: room - gap]
        taken[best] = cut if len(cut) == len(sentences[best]) else cut.rpartition(" ")[0] or cut
        held |= found[best]
        room -= len(taken[best]) + gap
        left.remove(best)
        if len(taken[best]) < len(sentences[best]):
            break
    return _join(taken, sentences)


def _join(taken: dict[int, str], sentences: list[str]) -> str:
    """Write the sentences in order, with the mark wherever text is missing."""
    parts: list[str] = []
    expected = 0
    for index in sorted(taken):
        if index != expected:
            parts.append(MARK)
        parts.append(taken[index])
        if len(taken[index]) < len(sentences[index]):
            parts.append(MARK)
            expected = -1
        else:
            expected = index + 1
    if expected != len(sentences) and parts[-1] != MARK:
        parts.append(MARK)
    return " ".join(part for place, part in enumerate(parts) if part != MARK or parts[place - 1 : place] != [MARK])


@lru_cache(maxsize=1)
def _tokenizer() -> Tokenizer:
    return Tokenizer()
