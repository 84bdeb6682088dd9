"""Differences between runs: held-out figures by seed, sampled ones question by question."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TypeVar

import numpy as np

from workflow_r1.errors import DataError
from workflow_r1.evaluation.comparison import differ_alike
from workflow_r1.evaluation.figures import MEASURES, Measure, wilson_interval
from workflow_r1.evaluation.statistics import (
    Interval,
    crossed_difference_interval,
    crossed_interval,
    crossed_test,
    holm,
    rate_interval,
)
from workflow_r1.recording.metrics import headline_of
from workflow_r1.recording.run_files import trajectories_file
from workflow_r1.reports.comparison.arms import Arm, group_runs
from workflow_r1.reports.run_record import Row, RunRecord
from workflow_r1.trajectory.index import IndexRow, TrajectoryIndex
from workflow_r1.trajectory.outcome import Outcome

COMPARED_SHARE = 0.25
"""The last part of the steps, common to all runs, whose sampled trajectories are compared."""

T = TypeVar("T")

Values = Mapping[str, float]
"""One number for each question."""

SAMPLED_FIGURES: Mapping[str, Callable[[IndexRow], float | None]] = {
    "success": lambda row: None if row.outcome is None else float(row.outcome is Outcome.RIGHT),
    "reward": lambda row: None if row.reward is None else row.reward.total,
    "turns": lambda row: float(row.num_turns),
    "policy tokens": lambda row: float(row.num_policy_tokens),
    "operator calls": lambda row: float(len(row.operators)),
    "cost": lambda row: row.cost,
}
"""Figures of a sampled trajectory; infrastructure failures enter none."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure of an arm beside that of the first arm."""

    figure: str
    """Name of the figure."""
    arm: str
    """Name of the arm."""
    mean: float
    """Mean of the arm."""
    reference: float
    """Mean of the first arm."""
    interval: Interval
    """Difference, arm minus first arm; its method says what is paired."""
    p_value: float | None
    """P-value of a paired test, corrected by Holm over all of the comparison; None where nothing is paired."""

    @property
    def is_found(self) -> bool:
        """True where the difference cannot be put down to chance."""
        if self.p_value is not None:
            return self.p_value < 1 - self.interval.confidence
        return not self.interval.low <= 0 <= self.interval.high


@dataclass(frozen=True, slots=True)
class QuestionShares:
    """Sampled success on one question."""

    question: str
    """Beginning of the question."""
    question_class: str
    """Its class."""
    shares: tuple[str, ...]
    """Right trajectories and all of them, ``3/8``, for each arm; empty where an arm has none."""
    spread: float
    """Largest difference between two arms."""


@dataclass(frozen=True, slots=True)
class RunComparison:
    """Arms beside each other; the others are compared with the first."""

    arms: tuple[Arm, ...]
    """Arms in the order of their first runs."""
    measure: Measure
    """Figure that says how good a policy is."""
    held_out_step: int | None
    """Last step at which every run was evaluated; None where no step is."""
    sampled_steps: tuple[int, int]
    """First and last step whose sampled trajectories are compared."""
    differences: tuple[Difference, ...]
    """All differences."""
    questions: tuple[QuestionShares, ...]
    """Questions that at least two arms have, those first on which they differ most."""
    confidence: float
    """Confidence of the intervals."""

    @property
    def is_simulation(self) -> bool:
        """True where any of the runs is one."""
        return any(run.is_simulation for arm in self.arms for run in arm.runs)


def compare_runs(runs: Sequence[RunRecord], *, confidence: float = 0.95) -> RunComparison:
    """Compare runs of training. Those that differ in their seed alone are one arm; the first arm is the reference.

    Args:
        runs: at least two.
        confidence: in (0, 1).

    Raises:
        DataError: their figures have no measure in common.
    """
    arms = group_runs(runs)
    measures = {headline_of(run.metrics[-1], "rollout") for run in runs}
    if len(measures) > 1:
        names = " and ".join(sorted(MEASURES[each] for each in measures))
        raise DataError(f"expected runs of one task, received runs that tell {names}: compare them apart")
    measure = measures.pop()
    last = min(run.metrics[-1]["step"] for run in runs)
    first = last - max(1, math.ceil(COMPARED_SHARE * last)) + 1
    sampled = [{seed: _sampled_rows(run, first, last) for seed, run in arm.by_seed.items()} for arm in arms]
    held_out_step = _held_out_step(runs, measure)
    found = []
    if held_out_step is not None:
        found += _held_out_differences(arms, measure, held_out_step, confidence)
    for name, figure in SAMPLED_FIGURES.items():
        values = [{seed: _by_question(rows, figure) for seed, rows in of_arm.items()} for of_arm in sampled]
        label = f"{MEASURES[measure] if name == 'success' else name}, sampled"
        for arm, of_arm in zip(arms[1:], values[1:], strict=True):
            difference = _difference(label, arm.name, of_arm, values[0], confidence, is_share=name == "success")
            if difference is not None:
                found.append(difference)
    return RunComparison(
        arms=tuple(arms),
        measure=measure,
        held_out_step=held_out_step,
        sampled_steps=(first, last),
        differences=tuple(_corrected(found)),
        questions=tuple(_questions(sampled)),
        confidence=confidence,
    )


# ------------------------------------------------------------------------------------------------------- what is compared


def _sampled_rows(run: RunRecord, first: int, last: int) -> list[IndexRow]:
    path = trajectories_file(run.directory)
    if not path.exists():
        return []
    rows = TrajectoryIndex(path).rows
    return [
        row
        for row in rows
        if row.step is not None and first <= row.step <= last and not row.stop_reason.is_infrastructure
    ]


def _by_question(rows: Sequence[IndexRow], figure: Callable[[IndexRow], float | None]) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for row in rows:
        if (value := figure(row)) is not None:
            values.setdefault(question_of(row), []).append(value)
    return {question: math.fsum(each) / len(each) for question, each in values.items()}


def question_of(row: IndexRow) -> str:
    """Return what two rows of one question share: two worlds may give one id to two questions."""
    return f"{row.question_id}\0{row.question}"


def _held_out_step(runs: Sequence[RunRecord], measure: Measure) -> int | None:
    key = f"evaluation/{measure}"
    common = set.intersection(
        *({row["step"] for row in run.evaluations if row.get(key) is not None} for run in runs)
    )  # fmt: skip
    return max(common, default=None)


def _held_out_differences(arms: Sequence[Arm], measure: Measure, step: int, confidence: float) -> list[Difference]:
    """Compare held-out figures: seed by seed where two arms share seeds, else as figures of their own."""
    key, label = f"evaluation/{measure}", f"held-out {MEASURES[measure]}, greedy"
    rows = [
        {seed: next(row for row in run.evaluations if row["step"] == step) for seed, run in arm.by_seed.items()}
        for arm in arms
    ]
    values = [{seed: {"": row[key]} for seed, row in of_arm.items()} for of_arm in rows]
    differences = []
    for place, arm in enumerate(arms[1:], start=1):
        difference = _difference(label, arm.name, values[place], values[0], confidence)
        if difference is None:
            intervals = [_wilson(of_arm, key, confidence) for of_arm in _single_seeds(rows[place], rows[0])]
            if intervals[0] is not None and intervals[1] is not None:
                one, other = intervals[0], intervals[1]
                difference = Difference(label, arm.name, one.estimate, other.estimate, _apart(one, other), None)
        if difference is not None:
            differences.append(difference)
    return differences


def _single_seeds(own: Mapping[int, T], reference: Mapping[int, T]) -> tuple[Mapping[int, T], Mapping[int, T]]:
    """Leave two arms with one seed in common that seed alone: nothing else of them is paired."""
    common = own.keys() & reference.keys()
    if len(common) != 1:
        return own, reference
    seed = next(iter(common))
    return {seed: own[seed]}, {seed: reference[seed]}


def _wilson(rows: Mapping[int, Row], key: str, confidence: float) -> Interval | None:
    """Interval of the rate of an arm's only run; None of several runs, or where it is no rate."""
    row = next(iter(rows.values()))
    number = int(row.get("evaluation/num_scored") or 0)
    if len(rows) > 1 or not number or f"{key}_low" not in row:
        return None
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    low, high = wilson_interval(round(row[key] * number), number, z=z)
    return Interval(
        estimate=row[key], low=low, high=high, confidence=confidence, method="Wilson", num_questions=number, num_seeds=1
    )


# ----------------------------------------------------------------------------------------------------------- differences


def _difference(
    label: str,
    arm: str,
    own: Mapping[int, Values],
    reference: Mapping[int, Values],
    confidence: float,
    *,
    is_share: bool = False,
) -> Difference | None:
    """Compare one figure, paired as far as the runs allow; None where an arm has it nowhere, or both have nothing but 0.

    Runs of one seed ask the same questions in the same steps. With one seed in common, its questions are paired, and other seeds
    do not count. With several, each seed's mean difference over its common questions is one number, and the interval is over seeds.
    """
    own, reference = _single_seeds(own, reference)
    means = [_mean_over_seeds(each) for each in (own, reference)]
    if means[0] is None or means[1] is None or means[0] == means[1] == 0:
        return None
    pairs = {
        seed: common
        for seed in sorted(own.keys() & reference.keys())
        if (common := sorted(own[seed].keys() & reference[seed].keys()))
    }
    tables = [
        {seed: np.array([each[seed][q] for q in common]) for seed, common in pairs.items()} for each in (own, reference)
    ]
    interval: Interval | None = None
    p_value: float | None = None
    if len(pairs) > 1:
        by_seed = [tables[0][seed].mean() - tables[1][seed].mean() for seed in pairs]
        interval = crossed_interval(scores=by_seed, confidence=confidence).model_copy(
            update={"method": "t over seeds, paired by seed and question", "num_seeds": len(by_seed),
                    "num_questions": sum(map(len, pairs.values()))}
        )  # fmt: skip
        p_value = crossed_test(first=by_seed, second=np.zeros(len(by_seed))).p_value
    elif len(pairs) == 1 and len(next(iter(pairs.values()))) > 1:
        one, other = (next(iter(each.values())) for each in tables)
        interval = crossed_difference_interval(first=one, second=other, confidence=confidence)
        p_value = crossed_test(first=one, second=other).p_value
    else:
        apart = [_over_questions(each, confidence, is_share=is_share) for each in (own, reference)]
        if apart[0] is not None and apart[1] is not None:
            interval = _apart(apart[0], apart[1])
    if is_share and p_value is not None and interval is not None:
        # The seeds' means may agree where their questions do not.
        by_question = np.concatenate([tables[0][seed] - tables[1][seed] for seed in pairs])
        # A question that several seeds ask counts once.
        of_questions = interval.model_copy(update={"num_questions": len(set().union(*pairs.values()))})
        if np.ptp(by_question) == 0 and (alike := differ_alike(of_questions)) is not None:
            interval, p_value = alike[0], alike[1].p_value
    return None if interval is None else Difference(label, arm, means[0], means[1], interval, p_value)


def _mean_over_seeds(values: Mapping[int, Values]) -> float | None:
    means = [math.fsum(each.values()) / len(each) for each in values.values() if each]
    return math.fsum(means) / len(means) if means else None


def _over_questions(values: Mapping[int, Values], confidence: float, *, is_share: bool) -> Interval | None:
    """Interval of an arm by itself: over seeds, or over the questions of its only run."""
    tables = [[*each.values()] for each in values.values() if each]
    if not tables:
        return None
    scores = [math.fsum(each) / len(each) for each in tables] if len(tables) > 1 else [*tables[0]]
    if is_share and len(scores) > 1 and set(scores) in ({0.0}, {1.0}):
        # No spread to go by: as wide as one answer to each question would be.
        alone = rate_interval(scores=tables[0], confidence=confidence)
        return alone.model_copy(update={"num_seeds": len(tables)})
    return crossed_interval(scores=scores, confidence=confidence) if len(scores) > 1 else None


def _apart(one: Interval, other: Interval) -> Interval:
    """Difference of two independent figures, by the method of variance estimates recovery (Zou and Donner 2008)."""
    estimate = one.estimate - other.estimate
    below = math.hypot(one.estimate - one.low, other.high - other.estimate)
    above = math.hypot(one.high - one.estimate, other.estimate - other.low)
    return Interval(
        estimate=estimate, low=estimate - below, high=estimate + above, confidence=one.confidence, method="not paired",
        num_questions=min(one.num_questions, other.num_questions), num_seeds=min(one.num_seeds, other.num_seeds),
    )  # fmt: skip


def _corrected(differences: Sequence[Difference]) -> list[Difference]:
    """Correct the p-values over all tests of the comparison."""
    tested = {place: each.p_value for place, each in enumerate(differences) if each.p_value is not None}
    corrected = dict(zip(tested, holm(p_values=[*tested.values()]).tolist(), strict=True))
    return [
        Difference(each.figure, each.arm, each.mean, each.reference, each.interval, corrected.get(place))
        for place, each in enumerate(differences)
    ]


# ------------------------------------------------------------------------------------------------- question by question


def _questions(sampled: Sequence[Mapping[int, Sequence[IndexRow]]]) -> list[QuestionShares]:
    by_arm: list[dict[str, list[IndexRow]]] = []
    for of_arm in sampled:
        rows: dict[str, list[IndexRow]] = {}
        for row in (row for of_seed in of_arm.values() for row in of_seed if row.outcome is not None):
            rows.setdefault(question_of(row), []).append(row)
        by_arm.append(rows)
    found = []
    for question in sorted({question for rows in by_arm for question in rows}):
        held = [rows.get(question, []) for rows in by_arm]
        counts = [(sum(row.outcome is Outcome.RIGHT for row in rows), len(rows)) for rows in held]
        shares = [right / num for right, num in counts if num]
        if len(shares) > 1:
            row = next(rows[0] for rows in held if rows)
            told = tuple(f"{right}/{num}" if num else "" for right, num in counts)
            found.append(QuestionShares(row.question, row.question_class, told, max(shares) - min(shares)))
    return sorted(found, key=lambda each: -each.spread)
