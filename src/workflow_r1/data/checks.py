"""Checks of a set of questions before a figure rests on it."""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from workflow_r1.data.normalise import normal_form, normalize_answer, normalize_question
from workflow_r1.trajectory import Question

_NAMED = 3
"""Ids named in a note."""


def fingerprint(questions: Iterable[Question]) -> str:
    """Return the SHA-256 (hexadecimal) of the questions and their accepted answers; layout, ids and order do not matter.

    Text counts as in Unicode's composed form (NFC) with single spaces, golden answers as a set, questions as a
    multiset. Two files with one fingerprint pose the same questions and score every answer the same.
    """
    digests = sorted(_digest(question) for question in questions)
    return hashlib.sha256(b"".join(digests)).hexdigest()


def _digest(question: Question) -> bytes:
    answers = sorted({_plain(answer) for answer in question.golden_answers})
    content = json.dumps([_plain(question.text), answers], ensure_ascii=False)
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).digest()


def _plain(text: str) -> str:
    return " ".join(normal_form("NFC", text).split())


@dataclass(frozen=True, slots=True)
class QuestionsReport:
    """Contents of a set of questions."""

    num_questions: int
    """Number of questions."""
    datasets: dict[tuple[str, str], int]
    """Number of questions of each dataset and split."""
    num_answers: int
    """Golden answers of all questions."""
    yes_or_no: int
    """Questions whose only golden answers are *yes* or *no*."""
    duplicates: tuple[tuple[str, ...], ...]
    """Ids of questions that ask the same in the same words, a tuple for each such group."""
    empty_answers: tuple[str, ...]
    """Ids of questions with a golden answer that SQuAD's normalisation empties (``A``, ``---``): see ``emptied_note``."""
    lists_as_text: tuple[str, ...]
    """Ids of questions with a golden answer that looks like a list, and is text all the same."""
    fingerprint: str
    """See ``fingerprint``."""

    def emptied_note(self) -> str:
        """Describe the questions with a golden answer that SQuAD's normalisation empties, and how they are scored;
        empty for none.
        """
        if not self.empty_answers:
            return ""
        named = ", ".join(self.empty_answers[:_NAMED]) + (", ..." if len(self.empty_answers) > _NAMED else "")
        return (
            f"{len(self.empty_answers)} questions have a golden answer that normalises to nothing (such as A or ---); it is "
            f"compared as it stands, so that no other empty answer matches it: {named}"
        )


def report_questions(questions: Sequence[Question]) -> QuestionsReport:
    """Return the contents of a set of questions, and its oddities."""
    same: defaultdict[str, list[str]] = defaultdict(list)
    empty: list[str] = []
    lists: list[str] = []
    yes_or_no = 0
    for question in questions:
        same[normalize_question(question.text)].append(question.id)
        answers = {normalize_answer(answer) for answer in question.golden_answers}
        yes_or_no += answers <= {"yes", "no"}
        if "" in answers:
            empty.append(question.id)
        if any(answer.startswith("[") and answer.endswith("]") and "," in answer for answer in question.golden_answers):
            lists.append(question.id)
    return QuestionsReport(
        num_questions=len(questions),
        datasets=dict(Counter((question.dataset, question.split) for question in questions)),
        num_answers=sum(len(question.golden_answers) for question in questions),
        yes_or_no=yes_or_no,
        duplicates=tuple(tuple(ids) for ids in same.values() if len(ids) > 1),
        empty_answers=tuple(empty),
        lists_as_text=tuple(lists),
        fingerprint=fingerprint(questions),
    )


def overlaps(first: Sequence[Question], second: Sequence[Question]) -> list[tuple[str, str]]:
    """Return the ids of the questions of two sets that ask the same in the same words, in the order of the second."""
    known: dict[str, str] = {}
    for question in first:
        known.setdefault(normalize_question(question.text), question.id)
    asked = ((known.get(normalize_question(question.text)), question.id) for question in second)
    return [(id, other) for id, other in asked if id is not None]
