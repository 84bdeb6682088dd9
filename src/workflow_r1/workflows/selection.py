"""Selection of stored trajectories: by what their index says, and where that is not enough, by their texts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from workflow_r1.errors import UserError
from workflow_r1.nearest import did_you_mean
from workflow_r1.trajectory import Trajectory
from workflow_r1.trajectory.index import IndexRow, TrajectoryIndex
from workflow_r1.trajectory.outcome import Outcome
from workflow_r1.workflows.effects import EffectKind, trace_effects

Choice = TypeVar("Choice", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Selection:
    """Conditions that all hold for a selected trajectory; None sets no condition."""

    ids: frozenset[str] | None = None
    """Ids of trajectories."""
    outcomes: frozenset[Outcome] | None = None
    """Outcomes, one of which it has."""
    steps: tuple[int, int] | None = None
    """First and last training step."""
    question_class: str | None = None
    """Class of its question."""
    operator: str | None = None
    """An operator that ran, or ``(invalid)``."""
    question: str | None = None
    """Id of its question, or a part of its beginning in any case."""
    text: str | None = None
    """Text that stands in its question, turns, observations or answer, in any case."""
    effect: EffectKind | None = None
    """Effect that one of its calls had on the answer."""
    method: str | None = None
    """Method of an evaluation that it belongs to."""
    benchmark: str | None = None
    """Benchmark of an evaluation that it belongs to."""

    def fits(self, row: IndexRow) -> bool:
        """Return True where the conditions on a row of the index hold; method and benchmark are those of its file."""
        return (
            (self.ids is None or row.id in self.ids)
            and (self.outcomes is None or row.outcome in self.outcomes)
            and (self.steps is None or (row.step is not None and self.steps[0] <= row.step <= self.steps[1]))
            and (self.question_class is None or row.question_class == self.question_class)
            and (self.operator is None or self.operator in row.operators)
            and (self.question is None or self._asks(row, self.question))
        )

    @property
    def needs_text(self) -> bool:
        """True where the index does not tell, and trajectories must be read."""
        return self.text is not None or self.effect is not None

    def holds(self, trajectory: Trajectory) -> bool:
        """Return True where the conditions on texts hold; those on rows are not looked at."""
        if self.text is not None:
            wanted = self.text.casefold()
            if not any(wanted in each.casefold() for each in texts_of(trajectory)):
                return False
        return self.effect is None or any(effect.kind is self.effect for effect in trace_effects(trajectory))

    @staticmethod
    def _asks(row: IndexRow, question: str) -> bool:
        return row.question_id == question or question.casefold() in row.question.casefold()


KEYS = ("outcome", "step", "class", "operator", "question", "text", "effect", "id", "method", "benchmark")
"""Keys of conditions in words."""


def read_conditions(conditions: Sequence[str]) -> Selection:
    """Read conditions such as ``outcome=wrong,malformed``, ``step=3-7`` or ``text=Paris``.

    Args:
        conditions: ``key=value`` each, with a key of :data:`KEYS`. An outcome or an id may be one of several, with commas between.

    Raises:
        UserError: a condition has another form, its key is unknown or occurs twice, or its value cannot be read.
    """
    given: dict[str, str] = {}
    for condition in conditions:
        key, equals, value = condition.partition("=")
        if not equals or not value or key not in KEYS:
            hint = did_you_mean(key, KEYS)
            raise UserError(
                f"expected conditions key=value with a key among {', '.join(KEYS)}, received {condition!r}{hint}"
            )
        if key in given:
            raise UserError(f"expected one condition on {key}, received {given[key]!r} and {value!r}")
        given[key] = value
    ids, outcomes, steps, effect = (given.get(key) for key in ("id", "outcome", "step", "effect"))
    return Selection(
        ids=None if ids is None else frozenset(ids.split(",")),
        outcomes=None
        if outcomes is None
        else frozenset(_read(each, Outcome, "outcome") for each in outcomes.split(",")),
        steps=None if steps is None else _read_steps(steps),
        question_class=given.get("class"),
        operator=given.get("operator"),
        question=given.get("question"),
        text=given.get("text"),
        effect=None if effect is None else _read(effect, EffectKind, "effect"),
        method=given.get("method"),
        benchmark=given.get("benchmark"),
    )


def _read(text: str, choices: type[Choice], key: str) -> Choice:
    try:
        return choices(text)
    except ValueError:
        raise UserError(
            f"{key}: expected one of {', '.join(choices)}, received {text!r}{did_you_mean(text, list(choices))}"
        ) from None


def _read_steps(text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    try:
        steps = int(first), int(last if dash else first)
    except ValueError:
        steps = 1, 0
    if steps[0] > steps[1]:
        raise UserError(f"step: expected a number such as 3, or a range such as 3-7, received {text!r}")
    return steps


def select(index: TrajectoryIndex, selection: Selection) -> Iterator[IndexRow]:
    """Yield the rows of the selected trajectories in the order of the file; of one id and question the last.

    A file that is put together from several may hold one id for trajectories of different questions.

    Raises:
        DataError: the file is no longer what it was.
    """
    keys = [(row.id, row.question_id, row.question) for row in index.rows]
    latest = {key: at for at, key in enumerate(keys)}
    rows = [
        row
        for at, (key, row) in enumerate(zip(keys, index.rows, strict=True))
        if latest[key] == at and selection.fits(row)
    ]
    if not selection.needs_text:
        yield from rows
        return
    for row, trajectory in zip(rows, index.read_all(rows), strict=True):
        if selection.holds(trajectory):
            yield row


def texts_of(trajectory: Trajectory) -> Iterator[str]:
    """Yield the texts that a search looks through: question, golden answers, turns, observations and error."""
    yield trajectory.question.text
    yield from trajectory.question.golden_answers
    for turn in trajectory.turns:
        yield turn.text
        yield from (call.observation for call in turn.calls)
        yield turn.observation
    yield trajectory.error or ""
