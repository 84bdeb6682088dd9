"""The rows of evaluation logs as columns, grouped by method and benchmark: small enough for a million answers."""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from workflow_r1.evaluation.rows import EvaluationRow, EvaluationStatus, iterate_rows

STATUSES = tuple(EvaluationStatus)
"""Statuses in the order of their numbers in the columns."""

Figure = Literal["exact_match", "f1", "success", "reward"]
"""Score of an answer: the first two of questions with golden answers, the others of any other task."""

HEADLINES: tuple[Figure, ...] = ("exact_match", "success", "reward")
"""Figures that a report compares by default: the first of them that there is."""

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Answers:
    """One method's answers on one benchmark, a row each. Numbers of questions are those of the benchmark, of seeds the method's."""

    questions: Integers
    """``(rows,)`` number of the question, the same for every method."""
    seeds: Integers
    """``(rows,)`` number of the seed, 0, 1, ..."""
    repeats: Integers
    """``(rows,)`` as in the log."""
    statuses: Integers
    """``(rows,)`` number in ``STATUSES``."""
    exact_match: Floats
    """``(rows,)``; NaN where the infrastructure failed, and for a task without golden answers."""
    f1: Floats
    """``(rows,)``; NaN where the infrastructure failed, and for a task without golden answers."""
    success: Floats
    """``(rows,)``; NaN where the infrastructure failed, for questions, and where the task does not say."""
    reward: Floats
    """``(rows,)``; NaN where the infrastructure failed, and for questions."""
    turns: Floats
    """``(rows,)``."""
    llm_calls: Floats
    """``(rows,)``."""
    tokens: Floats
    """``(rows,)``; NaN where unknown."""
    seconds: Floats
    """``(rows,)``."""
    cost: Floats
    """``(rows,)``; NaN where unknown."""
    seed_values: tuple[int, ...]
    """The seed that each number stands for."""
    num_replaced: int
    """Rows of the log that a later one of the same question, seed and repeat replaced."""

    @property
    def scored(self) -> NDArray[np.bool_]:
        """``(rows,)``; False where the infrastructure failed."""
        return self.statuses != _STATUS_NUMBERS[EvaluationStatus.FAILED]

    @property
    def right(self) -> NDArray[np.bool_]:
        """``(rows,)``; True for a right answer, and for a goal that was reached."""
        return (self.exact_match == 1.0) | (self.success == 1.0)

    def has(self, figure: Figure) -> bool:
        """Return True where any answer has this score; of a method that the infrastructure failed throughout, exact match."""
        known = bool((~np.isnan(getattr(self, figure))).any())
        return known or (figure in ("exact_match", "f1") and not self.scored.any())

    def score_table(self, figure: Figure) -> tuple[Integers, Floats]:
        """Scores by question and seed, the repeats of each averaged.

        Args:
            figure: the score.

        Returns:
            Numbers of the questions that have a score under every seed, ascending, and ``(questions, seeds)``.
        """
        num_seeds = int(self.seeds.max()) + 1
        shape = (int(self.questions.max()) + 1, num_seeds)
        scored = ~np.isnan(getattr(self, figure))
        cells = (self.questions * num_seeds + self.seeds)[scored]
        size = shape[0] * num_seeds
        counts = np.bincount(cells, minlength=size).reshape(shape)
        sums = np.bincount(cells, weights=getattr(self, figure)[scored], minlength=size).reshape(shape)
        complete = (counts > 0).all(axis=1)
        return np.flatnonzero(complete), sums[complete] / counts[complete]

    def mean_if_left_out_wrong(self, figure: Figure, among: Integers | None = None) -> float:
        """Mean score over all questions that were asked and all seeds, where everything left out or missing counts as wrong.

        Args:
            figure: the score.
            among: numbers of the questions that count, one of them asked at least; None for all.
        """
        rows = slice(None) if among is None else np.isin(self.questions, among)
        questions, num_seeds = self.questions[rows], int(self.seeds.max()) + 1
        cells = questions * num_seeds + self.seeds[rows]
        counts = np.bincount(cells)
        sums = np.bincount(cells, weights=np.nan_to_num(getattr(self, figure)[rows]))
        means = sums[counts > 0] / counts[counts > 0]
        return float(means.sum() / (len(np.unique(questions)) * num_seeds))


@dataclass(frozen=True, slots=True)
class AnswerLog:
    """All answers, and the ids of their questions."""

    answers: dict[tuple[str, str], Answers]
    """The answers of each method on each benchmark, by ``(method, benchmark)``, in alphabetical order."""
    question_ids: dict[str, tuple[str, ...]]
    """Id of each question for each benchmark, in the order of their numbers."""
    methods: tuple[str, ...]
    """Names of the methods, in the order in which they came."""


def read_answers(paths: Sequence[Path | str]) -> dict[tuple[str, str], Answers]:
    """Read evaluation logs into columns.

    Args:
        paths: logs, in the order in which they were written: a later row replaces an earlier one.

    Returns:
        The answers of each method on each benchmark, by ``(method, benchmark)``, in alphabetical order. They do not
        depend on the order in which different answers came in.

    Raises:
        DataError: a log is missing, or one of its rows is not valid.
    """
    return collect_answers(chain.from_iterable(iterate_rows(path) for path in paths)).answers


def collect_answers(rows: Iterable[EvaluationRow]) -> AnswerLog:
    """Put rows into columns, as they come.

    Args:
        rows: a later one of the same method, benchmark, question, seed and repeat replaces an earlier one.
    """
    questions: dict[str, dict[str, int]] = {}
    columns: dict[tuple[str, str], _Columns] = {}
    for row in rows:
        numbers = questions.setdefault(row.benchmark, {})
        group = columns.get((row.method, row.benchmark))
        if group is None:
            group = columns[row.method, row.benchmark] = _Columns()
        group.add(row, question=numbers.setdefault(row.question_id, len(numbers)))
    ranks = {benchmark: _ranks(numbers) for benchmark, numbers in questions.items()}
    return AnswerLog(
        answers={key: columns[key].finish(ranks[key[1]]) for key in sorted(columns)},
        question_ids={benchmark: tuple(sorted(numbers)) for benchmark, numbers in questions.items()},
        methods=tuple(dict.fromkeys(method for method, _ in columns)),
    )


def _ranks(numbers: dict[Any, int]) -> Integers:
    """Place of each number in the order of the names that it stands for."""
    ranks = np.empty(len(numbers), dtype=np.int64)
    ranks[[numbers[name] for name in sorted(numbers)]] = np.arange(len(numbers))
    return ranks


_STATUS_NUMBERS = {status: number for number, status in enumerate(STATUSES)}


class _Columns:
    """Columns of one method and benchmark while they grow: eight bytes a number."""

    def __init__(self) -> None:
        self._seeds: dict[int, int] = {}
        self._integers = {name: array("q") for name in ("questions", "seeds", "repeats", "statuses")}
        self._floats = {
            name: array("d")
            for name in ("exact_match", "f1", "success", "reward", "turns", "llm_calls", "tokens", "seconds", "cost")
        }

    def add(self, row: EvaluationRow, *, question: int) -> None:
        integers = self._integers
        integers["questions"].append(question)
        integers["seeds"].append(self._seeds.setdefault(row.seed, len(self._seeds)))
        integers["repeats"].append(row.repeat)
        integers["statuses"].append(_STATUS_NUMBERS[row.status])
        for name, column in self._floats.items():
            value = getattr(row, name)
            column.append(float("nan") if value is None else value)

    def finish(self, question_ranks: Integers) -> Answers:
        integers = {name: np.array(column, dtype=np.int64) for name, column in self._integers.items()}
        integers["questions"] = question_ranks[integers["questions"]]
        integers["seeds"] = _ranks(self._seeds)[integers["seeds"]]
        floats = {name: np.array(column, dtype=np.float64) for name, column in self._floats.items()}
        num = len(integers["questions"])
        # The last row of each question, seed and repeat, in the order of these, not in that of the log.
        order = np.lexsort((np.arange(num), integers["repeats"], integers["seeds"], integers["questions"]))
        keys = np.stack([integers[name][order] for name in ("questions", "seeds", "repeats")])
        is_last = np.append((keys[:, 1:] != keys[:, :-1]).any(axis=0), True)
        kept = order[is_last]
        return Answers(
            **{name: column[kept] for name, column in (integers | floats).items()},
            seed_values=tuple(sorted(self._seeds)),
            num_replaced=num - len(kept),
        )
