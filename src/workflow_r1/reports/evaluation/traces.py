"""Findings in trajectories that rows lack: classes of questions, operators, examples. A file is read once, line by line.

Of the answers of one file, a few numbers each are kept at a time, and of all files a few shortened examples.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from workflow_r1.errors import DataError
from workflow_r1.evaluation.answers import STATUSES, AnswerLog, Answers, Integers
from workflow_r1.evaluation.harness import EvaluationLog
from workflow_r1.evaluation.rows import EvaluationStatus
from workflow_r1.reports.evaluation.record import Example, OperatorMix
from workflow_r1.reports.evaluation.sources import Evaluation
from workflow_r1.trajectory import Question
from workflow_r1.trajectory.outcome import INVALID, Outcome, question_class
from workflow_r1.trajectory.storage import iterate_lines

NUM_EXAMPLES = 2
"""Examples of each method and outcome."""

MAX_CHARS = 400
"""Longest text of an example."""

MAX_CLASSES, MAX_OPERATORS = 24, 16
"""Most classes of a benchmark, and operators of a method: the most frequent by themselves, the rest as one."""

OTHERS = "(others)"

_OUTCOMES = np.array([Outcome.WRONG if status is EvaluationStatus.ANSWERED else Outcome(status) for status in STATUSES])


@dataclass(slots=True)
class Traces:
    """Findings so far."""

    classes: dict[str, dict[str, str]] = field(default_factory=dict)
    """Class of each question by its id, for each benchmark."""
    operators: list[OperatorMix] = field(default_factory=list)
    """Operators by method and benchmark."""
    examples: list[Example] = field(default_factory=list)
    """Examples in no order."""


def outcomes_of(answers: Answers) -> Any:
    """Return the outcome of each answer: ``(rows,)`` of :class:`Outcome`."""
    return np.where(answers.right, Outcome.RIGHT, _OUTCOMES[answers.statuses])


def read_traces(
    evaluations: Iterable[Evaluation], log: AnswerLog, *, notify: Callable[[str], None] = lambda line: None
) -> Traces:
    """Read the trajectories of all methods and benchmarks that have some.

    Args:
        evaluations: the opened evaluations.
        log: outcome of each answer.
        notify: called with each file before it is read.

    Raises:
        DataError: a line is not a trajectory.
    """
    traces = Traces()
    numbers = {benchmark: {id: rank for rank, id in enumerate(ids)} for benchmark, ids in log.question_ids.items()}
    for evaluation in evaluations:
        for method, label in evaluation.labels.items():
            for benchmark in log.question_ids:
                path = EvaluationLog(evaluation.directory).trajectories_path(method, benchmark)
                if (label, benchmark) in log.answers and path.is_file():
                    notify(str(path))
                    _read_file(
                        path, traces, prefix=f"{method}-{benchmark}-", method=label, benchmark=benchmark,
                        rows=_Rows(log.answers[label, benchmark], numbers[benchmark]),
                    )  # fmt: skip
    return traces


def merge_rare(counts: Counter[str], most: int) -> dict[str, str]:
    """Return the name to show for each name: its own where it is among the most frequent, else that of all others."""
    kept = {name for name, _ in sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))[:most]}
    return {name: name if name in kept else OTHERS for name in counts}


class _Rows:
    """Finds the row of an answer."""

    def __init__(self, answers: Answers, numbers: dict[str, int]) -> None:
        self._numbers = numbers
        seeds = {seed: rank for rank, seed in enumerate(answers.seed_values)}
        keys = zip(*(_list(column) for column in (answers.questions, answers.seeds, answers.repeats)), strict=True)
        self._index = {key: index for index, key in enumerate(keys)}
        self._seeds = seeds
        self.outcomes = outcomes_of(answers)

    def find(self, question_id: str, seed: int, repeat: int) -> int | None:
        """Return the index of the row; None where there is no such row yet."""
        question, number = self._numbers.get(question_id), self._seeds.get(seed)
        return None if question is None or number is None else self._index.get((question, number, repeat))


def _list(column: Integers) -> list[int]:
    numbers: list[int] = column.tolist()
    return numbers


_ENDING = re.compile(r"-s(-?\d{1,19})-r(\d{1,19})\Z")


class _Part(BaseModel):
    """The fields of a trajectory that are needed here; the others are not even kept."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class _Usage(_Part):
    llm_calls: int = 0


class _Call(_Part):
    operator: str
    valid: bool
    usage: _Usage = _Usage()


class _Turn(_Part):
    text: str
    calls: tuple[_Call, ...] = ()


class _Trajectory(_Part):
    id: str
    question: Question
    turns: tuple[_Turn, ...] = ()
    answer: str | None = None
    error: str | None = None


def _read_file(path: Path, traces: Traces, *, prefix: str, method: str, benchmark: str, rows: _Rows) -> None:
    classes = traces.classes.setdefault(benchmark, {})
    called: dict[int, tuple[str, ...]] = {}
    # The examples of each outcome are those whose questions come first in an order that has nothing to do with them, and
    # that is the same for all methods: so many of them show several methods on one question.
    chosen: dict[Outcome, dict[str, tuple[str, Example]]] = {outcome: {} for outcome in Outcome}
    for index, trajectory in _answers_of(path, prefix, rows):
        question = trajectory.question
        classes[question.id] = question_class(question)
        outcome = Outcome(rows.outcomes[index])
        if outcome is not Outcome.FAILED:
            # A later line of the same answer, after a crash, replaces an earlier one.
            called[index] = tuple(
                call.operator if call.valid or call.usage.llm_calls else INVALID
                for turn in trajectory.turns
                for call in turn.calls
            )
        of_kind = chosen[outcome]
        rank = hashlib.sha256(question.id.encode(errors="replace")).hexdigest()
        worst = max(of_kind, key=lambda id: of_kind[id][0], default=None)
        if len(of_kind) < NUM_EXAMPLES or trajectory.id in of_kind or (worst and rank < of_kind[worst][0]):
            if len(of_kind) == NUM_EXAMPLES and trajectory.id not in of_kind and worst is not None:
                del of_kind[worst]
            of_kind[trajectory.id] = rank, _example(trajectory, outcome, method, benchmark)
    traces.examples += [example for of_kind in chosen.values() for _, example in sorted(of_kind.values(), key=_rank)]
    if called:
        counts = Counter(name for names in called.values() for name in names)
        shown = merge_rare(counts, MAX_OPERATORS)
        means: Counter[str] = Counter()
        for name, count in counts.items():
            means[shown[name]] += count
        traces.operators.append(
            OperatorMix(
                method=method, benchmark=benchmark, num_answers=len(called),
                calls={name: count / len(called) for name, count in sorted(means.items(), key=lambda e: (-e[1], e[0]))},
            )
        )  # fmt: skip


def _answers_of(path: Path, prefix: str, rows: _Rows) -> Iterator[tuple[int, _Trajectory]]:
    """Trajectories whose answers have a row, with the row's index."""
    for place, line in iterate_lines(path, of="trajectories"):
        trajectory = _parse(line, place)
        ending = _ENDING.search(trajectory.id)
        if ending is None or not trajectory.id.startswith(prefix):
            continue
        index = rows.find(trajectory.question.id, int(ending[1]), int(ending[2]))
        if index is not None:
            yield index, trajectory


def _parse(line: bytes, place: str) -> _Trajectory:
    try:
        try:
            return _Trajectory.model_validate_json(line)
        except ValidationError:
            # pydantic's reader, many times as fast, takes no lone surrogate; Python's does.
            return _Trajectory.model_validate(json.loads(line))
    except ValidationError as error:
        first = error.errors()[0]
        told = f"{'.'.join(str(part) for part in first['loc']) or 'the line'}: {first['msg']}"
    except (ValueError, RecursionError) as error:
        told = str(error)
    raise DataError(f"{place}: expected a trajectory: {told}")


def _rank(entry: tuple[str, Example]) -> str:
    return entry[0]


def _example(trajectory: _Trajectory, outcome: Outcome, method: str, benchmark: str) -> Example:
    question = trajectory.question
    return Example(
        outcome=outcome,
        method=method,
        benchmark=benchmark,
        question_id=question.id,
        question=_shorten(question.text),
        golden_answers=tuple(_shorten(answer) for answer in question.golden_answers[:5]),
        answer=None if trajectory.answer is None else _shorten(trajectory.answer),
        last_turn=_shorten(trajectory.turns[-1].text) if trajectory.turns else "",
        error=None if trajectory.error is None else _shorten(trajectory.error),
    )


def _shorten(text: str) -> str:
    text = text.strip()
    half = MAX_CHARS // 2
    return text if len(text) <= MAX_CHARS else f"{text[:half]} [...] {text[-half:]}"
