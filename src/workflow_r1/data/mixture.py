"""Questions of several datasets in one list, and samples that a seed fixes."""

from collections.abc import Iterable, Sequence

import numpy as np

from workflow_r1.data.benchmarks import Draw
from workflow_r1.errors import DataError
from workflow_r1.trajectory import Question


def prefix_id(question: Question) -> Question:
    """Return the question with the id ``dataset/id``, which no other dataset can have; once is enough."""
    prefix = f"{question.dataset}/"
    if not question.dataset or question.id.startswith(prefix):
        return question
    return question.model_copy(update={"id": prefix + question.id})


_MOST_NAMED = 200
"""Repeated ids that a message names."""


class Duplicates:
    """The questions seen so far, and those that came twice."""

    def __init__(self) -> None:
        self.num_identical = 0
        """Questions that said the same as an earlier one."""
        self._places: dict[str, str] = {}
        self._said: set[str] = set()
        self._again: list[tuple[str, bool]] = []

    def see(self, question: Question, place: str, *, has_id: bool = True) -> bool:
        """Record a question, and return whether an earlier one said the same.

        Args:
            question: the next one.
            place: its file and line, for the message.
            has_id: True where its id is its own, and so a part of the question; False for a number that the reader gave it.
        """
        said = question.model_dump_json(exclude=None if has_id else {"id"})
        is_identical = said in self._said
        self._said.add(said)
        self.num_identical += is_identical
        if is_identical and not has_id:
            return True
        first = self._places.setdefault(question.id, place)
        if first != place:
            self._again.append(
                (f"{place}: expected ids that differ, found {question.id!r} again (first at {first})", is_identical)
            )
        return is_identical

    def refuse(self, *, but_identical: bool = False) -> None:
        """Refuse ids that came again.

        Args:
            but_identical: pass over questions that said the same as an earlier one.

        Raises:
            DataError: names all of them.
        """
        wrong = [told for told, is_identical in self._again if not (is_identical and but_identical)]
        if not wrong:
            return
        num_identical = sum(is_identical for _, is_identical in self._again)
        first, *others = wrong
        left_out = [f"... and {len(wrong) - _MOST_NAMED} more"] if len(wrong) > _MOST_NAMED else []
        raise DataError(
            "\n".join(
                [
                    f"{first}: `workflow-r1 data convert --drop-duplicates` leaves out rows that say the same "
                    f"({num_identical} of the {len(self._again)} repeated ids); for the others remove one, map another column "
                    "to id, or where the datasets differ let `workflow-r1 data convert --prefix-ids` make dataset/id of them",
                    *others[: _MOST_NAMED - 1],
                    *left_out,
                ]
            )
        )


def mix(parts: Iterable[Sequence[Question]], *, drop_duplicates: bool = False) -> list[Question]:
    """Return the questions of all parts in their order; ids are ``dataset/id`` where there is more than one dataset.

    Args:
        parts: questions, each part with ids that differ.
        drop_duplicates: leave out questions that are equal to an earlier one.

    Raises:
        DataError: questions of one dataset have the same id (names all of them).
    """
    questions = [question for part in parts for question in part]
    if len({question.dataset for question in questions}) > 1:
        questions = [prefix_id(question) for question in questions]
    kept: dict[str, Question] = {}
    repeated: dict[str, str] = {}
    for question in questions:
        if question.id not in kept:
            kept[question.id] = question
        elif not (drop_duplicates and kept[question.id] == question):
            repeated[question.id] = question.dataset
    if repeated:
        named = ", ".join(f"{id!r} of {dataset!r}" for id, dataset in list(repeated.items())[:_MOST_NAMED])
        more = f" and {len(repeated) - _MOST_NAMED} more" if len(repeated) > _MOST_NAMED else ""
        raise DataError(
            f"expected ids that differ, found {named}{more} in two places: give one of the files another dataset "
            "name, remove one of the questions, or let --drop-duplicates leave out those that say the same"
        )
    return list(kept.values())


def draw_rows(num_rows: int, draw: Draw) -> list[int]:
    """Return the numbers of the drawn rows, in the order drawn: those of ``DataFrame.sample(n=size,
    random_state=seed)`` of pandas.

    pandas asks NumPy's legacy generator, whose stream NumPy promises never to change, for a choice without replacement.

    Raises:
        DataError: there are fewer rows than are to be drawn.
    """
    if draw.size > num_rows:
        raise DataError(f"expected at least {draw.size} questions to draw from, found {num_rows}: draw fewer")
    return [int(row) for row in np.random.RandomState(draw.seed).choice(num_rows, size=draw.size, replace=False)]


def draw_questions(questions: Sequence[Question], draw: Draw) -> list[Question]:
    """Return a sample without replacement, in the order drawn. See ``draw_rows``."""
    return [questions[row] for row in draw_rows(len(questions), draw)]
