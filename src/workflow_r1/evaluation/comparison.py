"""Methods by benchmarks: figures with their intervals, paired tests against one method, and the price of accuracy.

Infrastructure failures enter no figure and are counted. A question enters a figure where the method has a score on it
under every one of its seeds, and a test where both methods have one. Questions left out by this are counted. An unknown
cost stays unknown.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Literal, get_args

import numpy as np
from pydantic import Field

from workflow_r1.errors import DataError
from workflow_r1.evaluation.answers import HEADLINES, STATUSES, Answers, Figure, Floats
from workflow_r1.evaluation.rows import EvaluationStatus
from workflow_r1.evaluation.statistics import (
    Interval,
    PairedTest,
    bootstrap_interval,
    crossed_difference_interval,
    crossed_interval,
    crossed_interval_of_mean,
    crossed_test,
    holm,
    interval_of_mean,
    mcnemar_test,
    paired_rate_interval,
    pareto_frontier,
    permutation_test,
    rate_interval,
)
from workflow_r1.trajectory.records import Record

CostKind = Literal["llm_calls", "tokens", "seconds", "cost"]
"""Cost that accuracy is weighed against."""

NUM_RESAMPLES = 4000
"""Resamples of each bootstrap in a table."""


def _is_none(value: object) -> bool:
    return value is None


class MethodFigures(Record):
    """Scores and costs of one method on one benchmark. Means are over answers that were scored."""

    method: str
    """Name of the method."""
    benchmark: str
    """Name of the benchmark."""
    num_questions: int
    """Questions that the figures rest on: those with a score under every seed."""
    num_left_out: int
    """Questions without a score under some seed."""
    num_seeds: int
    """Seeds that the method ran under."""
    num_answers: int
    """Answers that were scored: by questions, seeds and repeats."""
    num_replaced: int
    """Rows of the log that a later one replaced, e.g. a failure that was tried again."""
    statuses: dict[str, int]
    """Number of answers that ended in each status; ``failed`` are the infrastructure's failures."""
    exact_match: Interval | None
    """Mean over questions, each the mean of its seeds and repeats; None where no question was scored."""
    f1: Interval | None
    """The same of F1."""
    exact_match_if_left_out_wrong: float
    """Exact match over all questions that were asked, where everything left out counts as wrong: a lower bound."""
    f1_if_left_out_wrong: float
    """The same of F1."""
    success: Interval | None = Field(default=None, exclude_if=_is_none)
    """Mean success in a task without golden answers; None for questions, and where the task does not say."""
    success_if_left_out_wrong: float | None = Field(default=None, exclude_if=_is_none)
    """The same, where everything left out counts as a failure."""
    reward: Interval | None = Field(default=None, exclude_if=_is_none)
    """Mean reward in a task without golden answers; None for questions."""
    reward_if_left_out_wrong: float | None = Field(default=None, exclude_if=_is_none)
    """The same, where everything left out counts as a reward of 0."""
    turns: float | None
    """Mean; None where no answer was scored, here and below."""
    llm_calls: float | None
    """Mean calls of LLMs."""
    tokens: float | None
    """Mean tokens of LLMs."""
    seconds: float | None
    """Mean wall time."""
    cost: float | None
    """Mean price; None also where the price of any answer is unknown."""

    @property
    def num_answers_left_out(self) -> int:
        """Answers that the infrastructure kept from being given."""
        return self.statuses.get(EvaluationStatus.FAILED.value, 0)

    def if_left_out_wrong(self, figure: Figure) -> float:
        """The figure over all questions that were asked, where everything left out counts as wrong."""
        value: float | None = getattr(self, f"{figure}_if_left_out_wrong")
        return 0.0 if value is None else value


class MethodTest(Record):
    """One method against the reference on one benchmark."""

    method: str
    """Name of the method."""
    reference: str
    """Name of the method that it is compared with."""
    benchmark: str
    """Name of the benchmark."""
    figure: Figure
    """Figure that is compared."""
    num_left_out: int
    """Questions that one of the two was asked, and that lack a score of either."""
    difference: Interval
    """Method minus reference, over the questions that both answered."""
    test: PairedTest
    """First is the method, second the reference."""
    adjusted_p_value: float
    """P-value, corrected (Holm) for all tests of this figure in the comparison."""


class Frontier(Record):
    """Methods of one benchmark that no other one beats in score and cost."""

    benchmark: str
    """Name of the benchmark."""
    cost: CostKind
    """Per answer."""
    methods: tuple[str, ...]
    """Methods on the frontier, from the cheapest to the most accurate."""
    unknown: tuple[str, ...]
    """Methods whose cost or accuracy is unknown: they are not weighed."""


class Comparison(Record):
    """Methods by benchmarks."""

    reference: str | None
    """The method that the others are tested against."""
    confidence: float
    """Confidence of every interval."""
    figure: Figure
    """Figure of frontiers and means."""
    figures: tuple[MethodFigures, ...]
    """Figures in alphabetical order of benchmark and method."""
    tests: tuple[MethodTest, ...]
    """Tests in the same order; pairs without a common question have no test."""
    frontiers: tuple[Frontier, ...]
    """One for each benchmark and kind of cost."""
    means: dict[str, Interval | None]
    """Mean of each method over the benchmarks, every benchmark counted alike; None where it lacks one of them."""


def compare_methods(
    answers: Mapping[tuple[str, str], Answers],
    *,
    reference: str | None = None,
    figure: Figure | None = None,
    ceilings: Collection[str] = (),
    confidence: float = 0.95,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Compare methods on benchmarks. ``docs/explanation/statistics.md`` says where each interval and test is used.

    Args:
        answers: answers by ``(method, benchmark)``, from :func:`~workflow_r1.evaluation.answers.read_answers`.
        reference: method that the others are tested against; None for no tests.
        figure: figure of frontiers and means; None takes the first of ``HEADLINES`` that there is.
        ceilings: methods that look at golden answers: no frontier holds them.
        confidence: confidence of every interval.
        num_resamples: resamples of each bootstrap.
        seed: seed of all draws.

    Raises:
        DataError: there are no answers at all, or no answers of the reference.
    """
    if not answers:
        raise DataError("expected rows of an evaluation, found none: evaluate a method first")
    methods = sorted({method for method, _ in answers})
    benchmarks = sorted({benchmark for _, benchmark in answers})
    if reference is not None and reference not in methods:
        raise DataError(f"expected the reference to be one of {', '.join(methods)}, received {reference!r}")
    figure = figure or headline_of(answers.values())
    draws = Draws(confidence=confidence, num_resamples=num_resamples, seed=seed)
    keys = [(method, benchmark) for benchmark in benchmarks for method in methods if (method, benchmark) in answers]
    figures = tuple(_figures_of(key, answers[key], draws) for key in keys)
    tests: list[MethodTest] = []
    if reference is not None:
        for compared in get_args(Figure):
            if not any(each.has(compared) for each in answers.values()):
                continue
            tests += _tests_of(answers, keys, figure=compared, reference=reference, draws=draws)
    return Comparison(
        reference=reference,
        confidence=confidence,
        figure=figure,
        figures=figures,
        tests=tuple(tests),
        frontiers=tuple(
            _frontier(benchmark, [row for row in figures if row.method not in ceilings], figure, cost)
            for benchmark in benchmarks
            for cost in get_args(CostKind)
        ),
        means={method: _mean_over_benchmarks(answers, method, benchmarks, figure, draws) for method in methods},
    )


class Draws(Record):
    """Settings of intervals."""

    confidence: float = 0.95
    """Confidence of every interval."""
    num_resamples: int = NUM_RESAMPLES
    """Resamples of each bootstrap."""
    seed: int = 0
    """Seed of all draws."""


def _figures_of(key: tuple[str, str], answers: Answers, draws: Draws) -> MethodFigures:
    method, benchmark = key
    scored = answers.scored

    def mean(values: Floats) -> float | None:
        average = float(values[scored].mean()) if scored.any() else float("nan")
        return None if np.isnan(average) else average

    headline = headline_of([answers])
    questions, _ = answers.score_table(headline)
    tables = {figure: answers.score_table(figure)[1] for figure in get_args(Figure) if answers.has(figure)}
    intervals = {
        figure: mean_interval(table, draws, is_share=figure != "reward") if len(table) else None
        for figure, table in tables.items()
    }
    at_least = {figure: answers.mean_if_left_out_wrong(figure) for figure in tables}
    counts = np.bincount(answers.statuses, minlength=len(STATUSES)).tolist()
    return MethodFigures(
        method=method,
        benchmark=benchmark,
        num_questions=len(questions),
        num_left_out=len(np.unique(answers.questions)) - len(questions),
        num_seeds=tables[headline].shape[1],
        num_answers=int(scored.sum()),
        num_replaced=answers.num_replaced,
        statuses={str(status): count for status, count in zip(STATUSES, counts, strict=True) if count},
        exact_match=intervals.get("exact_match"),
        f1=intervals.get("f1"),
        exact_match_if_left_out_wrong=at_least.get("exact_match", 0.0),
        f1_if_left_out_wrong=at_least.get("f1", 0.0),
        success=intervals.get("success"),
        success_if_left_out_wrong=at_least.get("success"),
        reward=intervals.get("reward"),
        reward_if_left_out_wrong=at_least.get("reward"),
        turns=mean(answers.turns),
        llm_calls=mean(answers.llm_calls),
        tokens=mean(answers.tokens),
        seconds=mean(answers.seconds),
        cost=mean(answers.cost),
    )


def headline_of(answers: Iterable[Answers]) -> Figure:
    """Return the first of ``HEADLINES`` that any answers have."""
    answers = list(answers)
    return next((figure for figure in HEADLINES if any(each.has(figure) for each in answers)), HEADLINES[0])


def mean_interval(scores: Floats, draws: Draws, *, is_share: bool = True) -> Interval:
    """Return the mean of scores ``(questions, seeds)``, at least one of each, with the interval that fits them.

    Args:
        scores: the scores.
        draws: settings of the interval.
        is_share: the scores lie between 0 and 1, as shares do; rewards need not.
    """
    num_questions, num_seeds = scores.shape
    if not is_share:
        if num_questions == 1:
            return _unbounded(scores, draws)
        if num_seeds == 1:
            return bootstrap_interval(
                scores=scores, confidence=draws.confidence, num_resamples=draws.num_resamples, seed=draws.seed
            )
        return crossed_interval(scores=scores, confidence=draws.confidence)
    if num_seeds == 1 and np.isin(scores, (0.0, 1.0)).all():
        return rate_interval(scores=scores, confidence=draws.confidence)
    if (scores == 0.0).all() or (scores == 1.0).all():
        # No spread to go by: as wide as one answer to each question would be.
        return rate_interval(scores=scores[:, :1], confidence=draws.confidence).model_copy(
            update={"num_seeds": num_seeds}
        )
    if num_questions == 1:
        return _unbounded(scores, draws).clipped(low=0.0, high=1.0)
    if num_seeds == 1:
        return bootstrap_interval(
            scores=scores, confidence=draws.confidence, num_resamples=draws.num_resamples, seed=draws.seed
        )
    return crossed_interval(scores=scores, confidence=draws.confidence).clipped(low=0.0, high=1.0)


def _tests_of(
    answers: Mapping[tuple[str, str], Answers],
    keys: list[tuple[str, str]],
    *,
    figure: Figure,
    reference: str,
    draws: Draws,
) -> list[MethodTest]:
    """Every method against the reference, their p-values corrected as one family."""
    tests = []
    for method, benchmark in keys:
        if method == reference or (reference, benchmark) not in answers:
            continue
        one, other = answers[method, benchmark], answers[reference, benchmark]
        questions, first = one.score_table(figure)
        other_questions, second = other.score_table(figure)
        both, here, there = np.intersect1d(questions, other_questions, assume_unique=True, return_indices=True)
        if not len(both):
            continue
        difference, test = _compare(first[here], second[there], draws, is_share=figure != "reward")
        asked = np.union1d(one.questions, other.questions)
        tests.append(
            MethodTest(
                method=method, reference=reference, benchmark=benchmark, figure=figure,
                num_left_out=len(asked) - len(both), difference=difference, test=test, adjusted_p_value=1.0,
            )
        )  # fmt: skip
    adjusted = holm(p_values=[test.test.p_value for test in tests]).tolist()
    return [test.model_copy(update={"adjusted_p_value": value}) for test, value in zip(tests, adjusted, strict=True)]


def _compare(first: Floats, second: Floats, draws: Draws, *, is_share: bool) -> tuple[Interval, PairedTest]:
    confidence = draws.confidence
    bounds = {"low": -1.0, "high": 1.0} if is_share else {"low": -float("inf"), "high": float("inf")}
    one_seed = first.shape[1] == second.shape[1] == 1
    if is_share and one_seed and np.isin(first, (0.0, 1.0)).all() and np.isin(second, (0.0, 1.0)).all():
        interval = paired_rate_interval(first=first, second=second, confidence=confidence)
        return interval, mcnemar_test(first=first, second=second)
    if len(first) == 1:
        interval = _unbounded(first.mean(axis=1, keepdims=True) - second.mean(axis=1, keepdims=True), draws)
        return interval.clipped(**bounds), permutation_test(first=first, second=second)
    if one_seed:
        interval = bootstrap_interval(
            scores=first - second, confidence=confidence, num_resamples=draws.num_resamples, seed=draws.seed
        )
        test = permutation_test(first=first, second=second, seed=draws.seed)
    else:
        interval = crossed_difference_interval(first=first, second=second, confidence=confidence)
        interval, test = interval.clipped(**bounds), crossed_test(first=first, second=second)
    alike = differ_alike(interval) if is_share else None
    return alike or (interval, test)


def differ_alike(difference: Interval) -> tuple[Interval, PairedTest] | None:
    """Return interval and test of two shares whose questions all differ alike, so that no spread tells the width: as for one
    answer to each question.

    Args:
        difference: the difference over questions, as another method computes it.

    Returns:
        None where that interval has a width, or its questions differ by a part of 1.
    """
    if difference.low != difference.high or abs(difference.estimate) not in (0.0, 1.0):
        return None
    answers = {
        "first": np.full(difference.num_questions, difference.estimate > 0),
        "second": np.full(difference.num_questions, difference.estimate < 0),
    }
    wald = paired_rate_interval(**answers, confidence=difference.confidence)
    return wald.model_copy(update={"num_seeds": difference.num_seeds}), mcnemar_test(**answers)


def _unbounded(scores: Floats, draws: Draws) -> Interval:
    """Return an interval without bounds: one question that is neither right nor wrong says nothing of others."""
    return Interval(
        estimate=float(scores.mean()), low=-float("inf"), high=float("inf"), confidence=draws.confidence,
        method="none: one question", num_questions=1, num_seeds=scores.shape[1],
    )  # fmt: skip


def _frontier(benchmark: str, figures: list[MethodFigures], figure: Figure, cost: CostKind) -> Frontier:
    rows = [row for row in figures if row.benchmark == benchmark]
    known = [row for row in rows if getattr(row, cost) is not None and getattr(row, figure) is not None]
    accuracies = [getattr(row, figure).estimate for row in known]
    costs = [getattr(row, cost) for row in known]
    chosen = np.flatnonzero(pareto_frontier(costs=costs, accuracies=accuracies)).tolist()
    return Frontier(
        benchmark=benchmark,
        cost=cost,
        methods=tuple(known[index].method for index in sorted(chosen, key=lambda index: costs[index])),
        unknown=tuple(row.method for row in rows if row not in known),
    )


def _mean_over_benchmarks(
    answers: Mapping[tuple[str, str], Answers], method: str, benchmarks: list[str], figure: Figure, draws: Draws
) -> Interval | None:
    if any((method, benchmark) not in answers for benchmark in benchmarks):
        return None
    tables = [answers[method, benchmark].score_table(figure)[1] for benchmark in benchmarks]
    if not all(len(table) for table in tables):
        return None
    seeds = {answers[method, benchmark].seed_values for benchmark in benchmarks}
    have_spread = all(len(table) > 1 for table in tables) and any(table.min() < table.max() for table in tables)
    if len(tables) > 1 and len(seeds) == 1 and len(next(iter(seeds))) > 1 and have_spread:
        shared = crossed_interval_of_mean(tables=tables, confidence=draws.confidence)
        return shared.clipped(low=0.0, high=1.0) if figure != "reward" else shared
    intervals = [mean_interval(table, draws, is_share=figure != "reward") for table in tables]
    return (
        intervals[0]
        if len(intervals) == 1
        else interval_of_mean(intervals=intervals, independent=all(table.shape[1] == 1 for table in tables))
    )
