"""The most frequent of some answers, and the choice by an LLM's votes."""

from collections import Counter
from collections.abc import Iterable, Sequence

from workflow_r1.data import normalize_answer


def find_majority(answers: Sequence[str]) -> tuple[str, int]:
    """Return the answer that comes most often, and how often.

    Answers are equal where SQuAD's normalisation makes them so. Between equally frequent ones the first seen wins, and it is
    returned in the words in which it came first.

    Args:
        answers: at least one.
    """
    return weigh_votes(answers, votes=())


def weigh_votes(answers: Sequence[str], votes: Iterable[int]) -> tuple[str, int]:
    """Return the answer with most votes, and its number among the answers.

    Votes for equal answers add up. Between answers with equally many votes, and without votes, the more frequent one
    wins, then the first seen.

    Args:
        answers: at least one.
        votes: indices into ``answers``.
    """
    groups = [normalize_answer(answer) for answer in answers]
    sizes = Counter(groups)
    received = Counter(groups[index] for index in votes)
    best = max(range(len(answers)), key=lambda index: (received[groups[index]], sizes[groups[index]]))
    return answers[best], sizes[groups[best]]
