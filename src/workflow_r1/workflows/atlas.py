"""The atlas of workflows: the most frequent sequences of operators in each part of a run, with their reward and cost."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import fmean

from workflow_r1.trajectory.index import IndexRow
from workflow_r1.trajectory.outcome import Outcome

PARTS = ("start", "middle", "end")
"""Parts of a run of training: a third of its steps each."""


@dataclass(frozen=True, slots=True)
class WorkflowShare:
    """One sequence of operators in one part of a run."""

    operators: tuple[str, ...]
    """Operators in the order of their calls; empty where the policy called none."""
    num: int
    """Trajectories with it."""
    share: float
    """Their share of the part's trajectories."""
    mean_reward: float | None
    """Mean total reward; None where none of them was scored."""
    success: float | None
    """Share of successes among those whose outcome is known; None where no outcome is."""
    mean_cost: float | None
    """Mean price of all calls of a trajectory; None where a price is unknown."""
    mean_seconds: float
    """Mean wall time of a trajectory."""
    example: str
    """Id of the first of them."""


@dataclass(frozen=True, slots=True)
class AtlasPart:
    """The workflows of one part of a run."""

    name: str
    """``start``, ``middle`` or ``end``; ``all`` outside of training, and where there are fewer than three steps."""
    first_step: int | None
    """First step of the part; None outside of training."""
    last_step: int | None
    """Last step of the part."""
    num: int
    """Trajectories, failures of the infrastructure left out."""
    num_workflows: int
    """Different sequences of operators."""
    workflows: tuple[WorkflowShare, ...]
    """The most frequent ones, the most frequent first."""


@dataclass(frozen=True, slots=True)
class StepShare:
    """The most frequent workflow of one step."""

    step: int
    """The step."""
    operators: tuple[str, ...]
    """Its operators."""
    share: float
    """Its share of the step's trajectories. Near 1 the policy has collapsed onto one workflow."""


@dataclass(frozen=True, slots=True)
class Atlas:
    """The workflows of a run."""

    parts: tuple[AtlasPart, ...]
    """Parts in order."""
    by_step: tuple[StepShare, ...]
    """The most frequent workflow of each step; empty outside of training."""
    num_left_out: int
    """Trajectories that the infrastructure ended: in no figure."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two trajectories of one question, an earlier and a later one."""

    question_id: str
    """Id of the question."""
    before: IndexRow
    """The earlier trajectory."""
    after: IndexRow
    """The later one."""


def make_atlas(rows: Iterable[IndexRow], *, most: int = 8) -> Atlas:
    """Make the atlas of a run or of an evaluation.

    Args:
        rows: rows of an index, in any order.
        most: workflows of each part.
    """
    rows = list(rows)
    kept = [row for row in rows if row.outcome is not Outcome.FAILED]
    steps = sorted({row.step for row in kept if row.step is not None})
    if len(steps) < len(PARTS):
        parts = [_part("all", kept, most)] if kept else []
    else:
        number = {step: at * len(PARTS) // len(steps) for at, step in enumerate(steps)}
        stepped = [row for row in kept if row.step is not None]
        parts = [
            _part(name, [row for row in stepped if number[row.step or 0] == at], most) for at, name in enumerate(PARTS)
        ]
    of_step: dict[int, list[IndexRow]] = {step: [] for step in steps}
    for row in kept:
        if row.step is not None:
            of_step[row.step].append(row)
    by_step = tuple(_most_frequent(step, found) for step, found in of_step.items())
    return Atlas(tuple(parts), by_step, len(rows) - len(kept))


def pair_questions(before: Iterable[IndexRow], after: Iterable[IndexRow] | None = None) -> tuple[Pair, ...]:
    """Pair trajectories of the same question, before and after learning, the most telling pairs first.

    Those that went from wrong to right come first, then those from right to wrong, then those whose workflow changed.
    One pair is made of each question: of its first trajectory before and its last one after.

    Args:
        before: rows of a run of training, or of an evaluation before it.
        after: rows of an evaluation after it. None pairs the first step with the last that asked the question.
    """
    earlier = _by_question(before)
    pairs = []
    if after is None:
        for (id, _), found in earlier.items():
            steps = [row.step for row in found if row.step is not None]
            if steps and min(steps) < max(steps):
                first = next(row for row in found if row.step == min(steps))
                last = next(row for row in reversed(found) if row.step == max(steps))
                pairs.append(Pair(id, first, last))
    else:
        later = _by_question(after)
        pairs = [Pair(key[0], found[0], later[key][-1]) for key, found in earlier.items() if key in later]
    return tuple(sorted(pairs, key=_rank))


def _part(name: str, rows: Sequence[IndexRow], most: int) -> AtlasPart:
    steps = [row.step for row in rows if row.step is not None]
    ranked = _by_operators(rows)
    return AtlasPart(
        name=name,
        first_step=min(steps, default=None),
        last_step=max(steps, default=None),
        num=len(rows),
        num_workflows=len(ranked),
        workflows=tuple(_share(operators, found, len(rows)) for operators, found in ranked[:most]),
    )


def _by_operators(rows: Sequence[IndexRow]) -> list[tuple[tuple[str, ...], list[IndexRow]]]:
    """Group rows by their operators, the most frequent ones first."""

    def key(row: IndexRow) -> tuple[str, ...]:
        return row.operators

    grouped = [(operators, list(found)) for operators, found in groupby(sorted(rows, key=key), key)]
    return sorted(grouped, key=lambda each: (-len(each[1]), each[0]))


def _share(operators: tuple[str, ...], rows: Sequence[IndexRow], total: int) -> WorkflowShare:
    known = [row.reward.success for row in rows if row.reward is not None and row.reward.success is not None]
    costs = [row.cost for row in rows]
    return WorkflowShare(
        operators=operators,
        num=len(rows),
        share=len(rows) / total,
        mean_reward=_mean([row.reward.total for row in rows if row.reward is not None]),
        success=_mean(known),
        mean_cost=None if None in costs else _mean([cost for cost in costs if cost is not None]),
        mean_seconds=fmean(row.seconds for row in rows),
        example=rows[0].id,
    )


def _most_frequent(step: int, rows: Sequence[IndexRow]) -> StepShare:
    operators, found = _by_operators(rows)[0]
    return StepShare(step, operators, len(found) / len(rows))


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def _by_question(rows: Iterable[IndexRow]) -> dict[tuple[str, str], list[IndexRow]]:
    """Group rows by what they ask: two worlds or benchmarks may give one id to two questions."""
    found: dict[tuple[str, str], list[IndexRow]] = {}
    for row in rows:
        if row.outcome is not Outcome.FAILED:
            found.setdefault((row.question_id, row.question), []).append(row)
    return found


def _rank(pair: Pair) -> tuple[int, str]:
    was_right, is_right = (row.outcome is Outcome.RIGHT for row in (pair.before, pair.after))
    if was_right != is_right:
        return (0 if is_right else 1), pair.question_id
    return (2 if pair.before.operators != pair.after.operators else 3), pair.question_id
