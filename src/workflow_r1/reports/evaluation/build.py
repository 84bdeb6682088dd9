"""Makes the record of a report from the directories of evaluations."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from workflow_r1.data.benchmarks import BENCHMARKS
from workflow_r1.evaluation.answers import AnswerLog, Answers, Figure, collect_answers
from workflow_r1.evaluation.comparison import Comparison, Draws, compare_methods, mean_interval
from workflow_r1.evaluation.published import published_figures
from workflow_r1.methods.catalogue import POLICY
from workflow_r1.methods.method import SEARCH, WITH_SEARCH
from workflow_r1.reports.evaluation.record import (
    BesideThePaper,
    ClassFigure,
    EvaluationReport,
    Example,
    Outcome,
    Outcomes,
    Source,
)
from workflow_r1.reports.evaluation.sources import SAME_METHOD, Evaluation, open_evaluations
from workflow_r1.reports.evaluation.traces import MAX_CLASSES, NUM_EXAMPLES, merge_rare, outcomes_of, read_traces

MAX_EXAMPLES = 8
"""Most examples of each outcome, over all methods and benchmarks."""


def build_report(
    directories: Sequence[Path | str],
    *,
    reference: str | None = None,
    figure: Figure | None = None,
    confidence: float = 0.95,
    log: AnswerLog | None = None,
    notify: Callable[[str], None] = lambda line: None,
) -> EvaluationReport:
    """Read evaluations and compare their methods.

    Args:
        directories: directories of evaluations; their rows are compared together.
        reference: method that the others are tested against; by default ``policy``, where there is one and another
            method.
        figure: figure that tables, frontiers and means show; None takes exact match for questions, success or reward for
            another task.
        confidence: confidence of every interval; a test finds a difference where its corrected p-value is below ``1 -
            confidence``.
        log: answers of the one directory, where they have been read already.
        notify: called with each line of progress.

    Raises:
        DataError: a directory is not an evaluation's, a file in it is damaged, or the reference does not exist.
    """
    evaluations = open_evaluations(directories, methods=None if log is None else [log.methods])
    if log is None:
        notify("reading answers")
        log = collect_answers(chain.from_iterable(evaluation.rows() for evaluation in evaluations))
    known = {method for method, _ in log.answers}
    if reference is None and POLICY in known and len(known) > 1:
        reference = POLICY
    notify("comparing methods")
    ceilings = {label for each in evaluations for method, label in each.labels.items() if each.is_ceiling(method)}
    comparison = compare_methods(
        log.answers, reference=reference, figure=figure, ceilings=ceilings, confidence=confidence
    )
    traces = read_traces(evaluations, log, notify=lambda path: notify(f"reading {path}"))
    draws, num_answers = Draws(confidence=confidence), _num_answers_by_seed(log)
    return EvaluationReport(
        title=_title(evaluations),
        is_simulation=any(evaluation.card.get("is_simulation") is True for evaluation in evaluations),
        sources=tuple(
            Source(name=each.name, directory=str(each.directory), card=dict(each.card)) for each in evaluations
        ),
        currency=_currency(evaluations),
        methods=_in_order_of_cards(known, evaluations),
        benchmarks=_in_order(log.question_ids, BENCHMARKS),
        ceilings=tuple(sorted(ceilings)),
        caveats=tuple(_caveats(evaluations, log, comparison)),
        comparison=comparison,
        outcomes=tuple(
            Outcomes(method=method, benchmark=benchmark, counts=_count(answers))
            for (method, benchmark), answers in log.answers.items()
        ),
        searches=tuple(chain.from_iterable(evaluation.searches(num_answers) for evaluation in evaluations)),
        classes=tuple(_by_class(log, traces.classes, comparison.figure, draws)),
        operators=tuple(sorted(traces.operators, key=lambda mix: (mix.benchmark, mix.method))),
        examples=_choose(traces.examples),
        beside_the_paper=tuple(_beside_the_paper(evaluations, comparison)),
    )


def _title(evaluations: Sequence[Evaluation]) -> str:
    titles = dict.fromkeys(str(each.card.get("title") or each.name) for each in evaluations)
    return " and ".join(titles)


def _currency(evaluations: Sequence[Evaluation]) -> str | None:
    named = {each.currency for each in evaluations}
    return named.pop() if len(named) == 1 else None


def _in_order(names: Iterable[str], first: Iterable[str]) -> tuple[str, ...]:
    rest = sorted(names)
    return tuple([name for name in first if name in rest] + [name for name in rest if name not in set(first)])


def _in_order_of_cards(methods: set[str], evaluations: Sequence[Evaluation]) -> tuple[str, ...]:
    """Return the names in the order of the cards; names that no card holds come last."""
    named: dict[str, None] = {}
    for each in evaluations:
        described = each.card.get("methods")
        for method in described if isinstance(described, Mapping | list) else ():
            if isinstance(method, str) and (label := each.labels.get(method)) is not None:
                named[label] = None
    return _in_order(methods, list(named))


def _num_answers_by_seed(log: AnswerLog) -> Counter[tuple[str, str]]:
    """Count scored answers by method and name of the seed's directory."""
    found: Counter[tuple[str, str]] = Counter()
    for (method, _), answers in log.answers.items():
        counts = np.bincount(answers.seeds[answers.scored], minlength=len(answers.seed_values)).tolist()
        found.update({(method, f"seed-{seed}"): num for seed, num in zip(answers.seed_values, counts, strict=True)})
    return found


def _count(answers: Answers) -> dict[Outcome, int]:
    found = Counter(outcomes_of(answers).tolist())
    return {outcome: found[outcome] for outcome in Outcome}


def _by_class(
    log: AnswerLog, classes: Mapping[str, Mapping[str, str]], figure: Figure, draws: Draws
) -> Iterator[ClassFigure]:
    for benchmark, class_of in sorted(classes.items()):
        shown = merge_rare(Counter(class_of.values()), MAX_CLASSES)
        if len(shown) < 2:
            continue
        names = sorted(set(shown.values()))
        numbers = {name: number for number, name in enumerate(names)}
        of_question = np.array(
            [numbers[shown[class_of[id]]] if id in class_of else -1 for id in log.question_ids[benchmark]]
        )
        for (method, of), answers in log.answers.items():
            if of == benchmark:
                questions, scores = answers.score_table(figure)
                asked = np.unique(answers.questions)
                for name, number in numbers.items():
                    of_class = scores[of_question[questions] == number]
                    asked_of_class = asked[of_question[asked] == number]
                    if len(asked_of_class):
                        yield ClassFigure(
                            method=method,
                            benchmark=benchmark,
                            question_class=name,
                            num_questions=len(of_class),
                            num_left_out=len(asked_of_class) - len(of_class),
                            score=mean_interval(of_class, draws, is_share=figure != "reward")
                            if len(of_class)
                            else None,
                            if_left_out_wrong=answers.mean_if_left_out_wrong(figure, asked_of_class),
                        )


def _choose(examples: Iterable[Example]) -> tuple[Example, ...]:
    """A few of each outcome: one of each method and benchmark in turn, methods and benchmarks mixed."""
    chosen = []
    for outcome in Outcome:
        of_kind: dict[tuple[str, str], list[Example]] = {}
        for example in examples:
            if example.outcome is outcome:
                of_kind.setdefault((example.method, example.benchmark), []).append(example)
        rounds = chain.from_iterable(
            (of_kind[key][turn] for key in _spread(of_kind) if turn < len(of_kind[key])) for turn in range(NUM_EXAMPLES)
        )
        chosen += list(rounds)[:MAX_EXAMPLES]
    return tuple(chosen)


def _spread(keys: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Methods in turn, each with another benchmark than the one before it where there is one."""
    benchmarks_of: dict[str, list[str]] = {}
    for method, benchmark in sorted(keys):
        benchmarks_of.setdefault(method, []).append(benchmark)
    longest = max((len(benchmarks) for benchmarks in benchmarks_of.values()), default=0)
    return [
        (method, benchmarks[(turn + offset) % len(benchmarks)])
        for turn in range(longest)
        for offset, (method, benchmarks) in enumerate(benchmarks_of.items())
        if turn < len(benchmarks)
    ]


def _beside_the_paper(evaluations: Sequence[Evaluation], comparison: Comparison) -> Iterator[BesideThePaper]:
    called = {label: (each, method) for each in evaluations for method, label in each.labels.items()}
    for row in comparison.figures:
        evaluation, method = called[row.method]
        described = evaluation.described("methods", method)
        operators = described.get("operators") if isinstance(described, Mapping) else None
        searches = method.endswith(WITH_SEARCH) or (isinstance(operators, Mapping | list) and SEARCH in operators)
        published = published_figures(evaluation.kind_of(method), row.benchmark, searches=searches)
        if published and row.exact_match is not None:
            yield BesideThePaper(
                method=row.method, benchmark=row.benchmark, exact_match=row.exact_match, published=published
            )


def _caveats(evaluations: Sequence[Evaluation], log: AnswerLog, comparison: Comparison) -> Iterator[str]:
    for each in evaluations:
        if not each.card:
            yield f"{each.name} has no evaluation card: the conditions of its answers are unknown."
    for one, other in pairwise(evaluations):
        different = [key for key in SAME_METHOD if one.card.get(key) != other.card.get(key)]
        if different:
            yield (
                f"{one.name} and {other.name} differ in {', '.join(different)}: a difference between a method of one and a "
                "method of the other is not a difference of methods alone."
            )
    for benchmark in log.question_ids:
        if len({repr(found) for each in evaluations if (found := _questions_of(each, benchmark)) is not None}) > 1:
            yield f"{benchmark} has other questions in one evaluation than in another; tests compare those that both have."
    yield from _uneven(comparison)
    failed = sum(row.statuses.get("failed", 0) for row in comparison.figures)
    if failed:
        num = failed + sum(row.num_answers for row in comparison.figures)
        yield (
            f"{failed} of {num} answers failed because of the infrastructure ({failed / num:.1%}): they are left out, not "
            "counted as wrong."
        )
    if all(row.num_seeds == 1 for row in comparison.figures):
        yield (
            "One seed: the intervals cover the choice of questions, and say nothing of another training, search or draw "
            "under another seed."
        )


def _uneven(comparison: Comparison) -> Iterator[str]:
    numbers: dict[str, dict[str, int]] = {}
    for row in comparison.figures:
        numbers.setdefault(row.benchmark, {})[row.method] = row.num_questions
    ends = {benchmark: (min(of.values()), max(of.values())) for benchmark, of in numbers.items()}
    uneven = [f"{benchmark} ({few:,} to {many:,})" for benchmark, (few, many) in ends.items() if few < many]
    if uneven:
        yield (
            f"Methods rest on different numbers of questions on {', '.join(uneven)}: their figures are of different questions; "
            "tests compare those that both answered."
        )


def _questions_of(evaluation: Evaluation, benchmark: str) -> Any:
    described = evaluation.described("benchmarks", benchmark)
    return described.get("fingerprint", described) if isinstance(described, Mapping) else described
