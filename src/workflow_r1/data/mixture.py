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


def mix(parts: Iterable[Sequence[Question]]) -> list[Question]:
    """Return the questions of all parts in their order; ids are ``dataset/id`` where there is more than one dataset.

    Raises:
        DataError: two questions of one dataset have the same id.
    """
    questions = [question for part in parts for question in part]
    if len({question.dataset for question in questions}) > 1:
        questions = [prefix_id(question) for question in questions]
    seen: set[str] = set()
    for question in questions:
        if question.id in seen:
            raise DataError(
                f"expected ids that differ, found {question.id!r} of {question.dataset!r} in two places: give one of the "
                "files another dataset name, or remove one of the questions"
            )
        seen.add(question.id)
    return questions


def draw_rows(num_rows: int, draw: Draw) -> list[int]:
    """Return which rows are drawn, in the order drawn: those of ``DataFrame.sample(n=size, random_state=seed)`` of pandas.

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
