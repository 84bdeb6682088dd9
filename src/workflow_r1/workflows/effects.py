"""Effects of operator calls on the answer: right and wrong before and after each call, as far as the records tell.

The golden answers judge an answer to the whole question. A call about a part of the question gives no such answer: it is judged
only where what it was given or what it returned is a golden answer or the final one, since its question is then the
question's last part.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from workflow_r1.data import comparable_answer
from workflow_r1.operators.results import read_result
from workflow_r1.trajectory import OperatorCall, Trajectory
from workflow_r1.workflows.values import read_values
from workflow_r1.workflows.words import Words

GIVEN = "solution"
"""Argument that holds an answer which the call may change."""

ASKED = ("question", "query")
"""Arguments that hold what is asked; an input without tags is it as well."""


class EffectKind(StrEnum):
    """Effect of a call on the answer."""

    WRONG_TO_RIGHT = "wrong_to_right"
    """A wrong answer became a right one."""
    RIGHT_TO_WRONG = "right_to_wrong"
    """A right answer became a wrong one."""
    NO_CHANGE = "no_change"
    """The answer stayed right, or wrong."""
    UNKNOWN = "unknown"
    """There was no answer before or after the call, or nothing says whether it was right."""


@dataclass(frozen=True, slots=True)
class Effect:
    """Effect of one operator call."""

    call: str
    """Id of the call's node in the flow: ``call-2-1`` for the first call of the second turn."""
    turn: int
    """Index of the turn, from 1."""
    operator: str
    """Name of the operator."""
    kind: EffectKind
    """The effect."""
    before: bool | None
    """True where the answer was right before the call; None where there was no answer, or nothing says so."""
    after: bool | None
    """True where the answer was right after it; None where the call gave no answer, or nothing says so."""


@dataclass(frozen=True, slots=True)
class EffectCounts:
    """A row of the table of operators."""

    operator: str
    """Name of the operator."""
    num_calls: int
    """Valid calls."""
    num_right: int
    """Calls after which the answer was right."""
    num_wrong: int
    """Calls after which it was wrong."""
    wrong_to_right: int
    """Calls of that effect; so are the next three."""
    right_to_wrong: int
    no_change: int
    unknown: int


def trace_effects(trajectory: Trajectory) -> tuple[Effect, ...]:
    """Return the effect of each valid call, in the order of the calls.

    The answer before a call is the first of its solutions, or else what the latest earlier call returned to the same question.
    The answer after it is its result; an operator with several answers has one where they all say the same, and a review
    leaves the answer as it was.
    """
    judge = _Judge(trajectory)
    effects: list[Effect] = []
    known: dict[str, str] = {}
    for turn in trajectory.turns:
        returned: dict[str, str] = {}
        for number, call in enumerate(turn.calls, start=1):
            if not call.valid:
                continue
            values = read_values(call.input)
            asked = _fold(next((text for name, text in values if name in ("", *ASKED)), ""))
            given = next((text for name, text in values if name == GIVEN), known.get(asked))
            result = _answer_of(call, given)
            is_judged = judge.applies(asked, [text for name, text in values if name == GIVEN], result)
            before, after = (judge.is_right(text) if is_judged else None for text in (given, result))
            effects.append(
                Effect(f"call-{turn.index}-{number}", turn.index, call.operator, _kind(before, after), before, after)
            )
            if result is not None:
                returned[asked] = result
        known |= returned
    return tuple(effects)


def count_effects(effects: Iterable[Effect]) -> tuple[EffectCounts, ...]:
    """Count effects by operator, the most frequent operator first."""
    by_operator: dict[str, list[Effect]] = {}
    for effect in effects:
        by_operator.setdefault(effect.operator, []).append(effect)
    rows = []
    for operator, found in by_operator.items():
        kinds = Counter(effect.kind for effect in found)
        rows.append(
            EffectCounts(
                operator,
                num_calls=len(found),
                num_right=sum(effect.after is True for effect in found),
                num_wrong=sum(effect.after is False for effect in found),
                **{kind.value: kinds[kind] for kind in EffectKind},
            )
        )
    return tuple(sorted(rows, key=lambda row: (-row.num_calls, row.operator)))


def _kind(before: bool | None, after: bool | None) -> EffectKind:
    if before is None or after is None:
        return EffectKind.UNKNOWN
    if before == after:
        return EffectKind.NO_CHANGE
    return EffectKind.WRONG_TO_RIGHT if after else EffectKind.RIGHT_TO_WRONG


def _answer_of(call: OperatorCall, given: str | None) -> str | None:
    """Return the answer after a call; None where it gives none."""
    if call.operator in ("Search", "PromptOptimizer"):
        return None
    if call.operator == "Review":
        return given
    result = read_result(call.operator, call.observation)
    if not result.answers:
        return result.result or None
    return result.answers[0] if len({comparable_answer(answer) for answer in result.answers}) == 1 else None


class _Judge:
    """Tells right answers from wrong ones, where the golden answers apply."""

    def __init__(self, trajectory: Trajectory) -> None:
        self._question = _fold(trajectory.question.text)
        self._golden = {comparable_answer(answer) for answer in trajectory.question.golden_answers}
        self._final = None if trajectory.answer is None else comparable_answer(trajectory.answer)

    def applies(self, asked: str, given: Sequence[str], result: str | None) -> bool:
        """Return True where the call is about the whole question, or about its last part."""
        if not self._golden:
            return False
        answers = {comparable_answer(text) for text in (*given, *([] if result is None else [result]))}
        return asked == self._question or bool(answers & self._golden) or self._final in answers

    def is_right(self, answer: str | None) -> bool | None:
        return None if answer is None else comparable_answer(answer) in self._golden


def _fold(text: str) -> str:
    return Words(text).core
