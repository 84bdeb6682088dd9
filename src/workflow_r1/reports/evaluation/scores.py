"""The sections of scores: methods by benchmarks, tests of differences, classes of questions, the paper's figures beside ours."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from workflow_r1.evaluation.answers import Figure
from workflow_r1.evaluation.comparison import MethodTest
from workflow_r1.evaluation.published import OPERATOR_LLMS, WHY_THEY_DIFFER, WITH_SEARCH
from workflow_r1.reports.evaluation.blocks import Block, Grid, Paragraph, Points
from workflow_r1.reports.evaluation.record import ClassFigure, EvaluationReport
from workflow_r1.reports.evaluation.wording import (
    ABOVE,
    BELOW,
    FIGURE_NAMES,
    NONE,
    by_place,
    ordered,
    percent,
    score_name,
    score_of,
    show_left_out,
    show_p,
    tell_left_out,
    verdict,
)
from workflow_r1.reports.intervals import show_interval

_MARKS = {"better": f" {ABOVE}", "worse": f" {BELOW}", "no difference found": ""}


def matrix(report: EvaluationReport) -> Iterator[Block]:
    """Yield methods by benchmarks, with what the marks mean."""
    reference, several = report.comparison.reference, len(report.benchmarks) > 1
    yield score_grid(report)
    legend = ["The highest of a column stands out, which does not say that it is better than the next."]
    if reference is not None:
        legend.append(f"{ABOVE} above and {BELOW} below {reference}, after correction for all tests (next section).")
    if report.ceilings:
        legend.append(
            f"{', '.join(report.ceilings)}: a ceiling that looks at golden answers, left out of the highlighting."
        )
    if several:
        legend.append("The mean counts every benchmark alike, and is given where a method answered all of them.")
    yield Paragraph(" ".join(legend))


def score_grid(report: EvaluationReport, *, intervals: bool = True) -> Grid:
    """Methods by benchmarks.

    Args:
        report: the figures.
        intervals: True where there is room for them.
    """
    comparison, places = report.comparison, by_place(report)
    several = len(report.benchmarks) > 1
    marks = {
        (test.method, test.benchmark): _MARKS[verdict(test, confidence=comparison.confidence)]
        for test in comparison.tests
        if test.figure == comparison.figure
    }
    columns = [
        [score_of(report, row) if (row := places.get((method, benchmark))) else None for method in report.methods]
        for benchmark in report.benchmarks
    ]
    if several:
        columns.append([comparison.means[method] for method in report.methods])
    rows, best = [], set()
    for place, method in enumerate(report.methods):
        cells = [method]
        for number, column in enumerate(columns):
            interval = column[place]
            shown = show_interval(interval) if intervals else NONE if interval is None else f"{interval.estimate:.3f}"
            of = report.benchmarks[number] if number < len(report.benchmarks) else ""
            left_out = (
                show_left_out(places.get((method, of)), comparison.figure) if of else _left_out_of_mean(report, method)
            )
            cells.append(shown + marks.get((method, of), "") + left_out)
            rivals = [
                other.estimate
                for rival, other in zip(report.methods, column, strict=True)
                if other is not None and rival not in report.ceilings
            ]
            is_rival = interval is not None and method not in report.ceilings
            if is_rival and len(rivals) > 1 and interval is not None and interval.estimate == max(rivals):
                best.add((place, number + 1))
        rows.append(tuple(cells))
    return Grid(
        caption=f"{score_name(report)} [{percent(report)} interval]" if intervals else score_name(report),
        header=("method", *report.benchmarks, *(["mean over benchmarks"] if several else [])),
        rows=tuple(rows),
        best=frozenset(best),
    )


def _left_out_of_mean(report: EvaluationReport, method: str) -> str:
    """Note on a mean over benchmarks that left something out; empty where it left out nothing."""
    rows = [row for row in report.comparison.figures if row.method == method]
    if report.comparison.means[method] is None or not any(show_left_out(row, report.comparison.figure) for row in rows):
        return ""
    num = sum(max(row.num_left_out, row.num_answers_left_out) for row in rows)
    at_least = sum(row.if_left_out_wrong(report.comparison.figure) for row in rows) / len(rows)
    return tell_left_out(num, at_least)


def differences(report: EvaluationReport) -> Iterator[Block]:
    """Yield each method's difference from the reference, in words and as a table; nothing without a test."""
    comparison = report.comparison
    tests = ordered(report, (test for test in comparison.tests if test.figure == comparison.figure))
    if not tests or comparison.reference is None:
        return
    yield Points(tuple(_in_words(comparison.reference, tests, comparison.confidence)))
    places = by_place(report)

    def if_left_out_wrong(test: MethodTest) -> str:
        """The difference over all questions that were asked, for a difference from which some are left out."""
        if not test.num_left_out:
            return ""
        one, other = (places[name, test.benchmark] for name in (test.method, test.reference))
        difference = one.if_left_out_wrong(comparison.figure) - other.if_left_out_wrong(comparison.figure)
        return f"; {test.num_left_out:,} left out, {difference:+.3f} if wrong"

    rows = [
        (
            test.method,
            test.benchmark,
            verdict(test, confidence=comparison.confidence),
            show_interval(test.difference, sign=True) + if_left_out_wrong(test),
            f"{test.test.num_first_better}",
            f"{test.test.num_second_better}",
            f"{test.test.num_questions}",
            show_p(test.test.p_value),
            show_p(test.adjusted_p_value),
            test.test.method,
        )
        for test in tests
    ]
    yield Grid(
        caption=f"Difference in {score_name(report)}: method minus {comparison.reference}",
        header=(
            "method", "benchmark", "found", f"difference [{percent(report)}]", "wins", "losses", "compared",
            "p", "corrected p", "test",
        ),
        rows=tuple(rows),
        num_names=3,
    )  # fmt: skip
    yield Paragraph(
        "Both answered the same questions, and are compared question by question: a win is a question that the method did "
        f"better on, a loss one that {comparison.reference} did better on. The p-value is the probability of a "
        f"difference at least as large if there were none; corrected (Holm), so that among all {len(tests)} tests together a "
        f'false finding is as rare as {1 - comparison.confidence:.2g}. "No difference found" does not say that there is '
        "none: the interval, which is not corrected, says what is still possible."
    )


def _in_words(reference: str, tests: Sequence[MethodTest], confidence: float) -> Iterator[str]:
    by_method: dict[str, list[MethodTest]] = {}
    for test in tests:
        by_method.setdefault(test.method, []).append(test)
    for method, of in by_method.items():
        parts = []
        for kind in ("better", "worse"):
            found = [test for test in of if verdict(test, confidence=confidence) == kind]
            if found:
                places = ", ".join(
                    f"{test.benchmark} (by {abs(test.difference.estimate):.3f}; {_range([test])})" for test in found
                )
                parts.append(f"{kind} than {reference} on {places}")
        rest = [test for test in of if verdict(test, confidence=confidence) == "no difference found"]
        if rest:
            places = (
                f"all {len(rest)} benchmarks"
                if len(rest) == len(of) > 1
                else ", ".join(test.benchmark for test in rest)
            )
            alone = [test.benchmark for test in rest if test.test.p_value < 1 - confidence]
            uncorrected = "; a single uncorrected test would find one" if alone else ""
            uncorrected += f" on {', '.join(alone)}" if alone and len(rest) > 1 else ""
            parts.append(f"no difference found on {places} ({_range(rest)}{uncorrected})")
        yield f"{method}: {'; '.join(parts)}."


def _range(tests: Sequence[MethodTest]) -> str:
    """Range that holds the intervals of some tests."""
    return f"{min(test.difference.low for test in tests):+.3f} to {max(test.difference.high for test in tests):+.3f}"


def classes(report: EvaluationReport) -> Iterator[Block]:
    """Yield the scores by class of question, a table for each benchmark that has classes."""
    for benchmark in report.benchmarks:
        of = [each for each in report.classes if each.benchmark == benchmark]
        names = sorted({each.question_class for each in of})
        scores = {(each.method, each.question_class): each for each in of}
        largest = {name: max(each.num_questions for each in of if each.question_class == name) for name in names}
        if of:
            yield Grid(
                caption=f"{benchmark}: {score_name(report)} [{percent(report)}]",
                header=("method", *(f"{name} ({largest[name]:,} questions)" for name in names)),
                rows=tuple(
                    (method, *(_class_score(scores.get((method, name))) for name in names))
                    for method in report.methods
                    if any((method, name) in scores for name in names)
                ),
            )


def _class_score(of: ClassFigure | None) -> str:
    if of is None:
        return NONE
    return show_interval(of.score) + (tell_left_out(of.num_left_out, of.if_left_out_wrong) if of.num_left_out else "")


def beside_the_paper(report: EvaluationReport) -> Iterator[Block]:
    """Yield our figures beside those that the paper prints, and why they may differ."""
    if not report.beside_the_paper:
        return
    llms = [*OPERATOR_LLMS, None]
    shown = [llm for llm in llms if any(_of(each.published, llm) for each in report.beside_the_paper)]
    places = by_place(report)
    rows = []
    for each in ordered(report, report.beside_the_paper):
        cells = [_of(each.published, llm) for llm in shown]
        rows.append(
            (
                each.method,
                each.benchmark,
                show_interval(each.exact_match) + show_left_out(places[each.method, each.benchmark], "exact_match"),
                *(f"{cell[0]:.3f}" if cell else NONE for cell in cells),
            )
        )
    yield Grid(
        caption=f"Exact match [{percent(report)}] beside what the paper prints",
        header=(
            "method", "benchmark", "here",
            *(f"paper, {llm}" if llm else f"paper, {WITH_SEARCH} (LLM not stated)" for llm in shown),
        ),
        rows=tuple(rows),
        num_names=2,
    )  # fmt: skip
    asked = dict.fromkeys(
        str(found.get("model") or found.get("kind"))
        for source in report.sources
        if isinstance(found := source.card.get("llm"), dict) and (found.get("model") or found.get("kind"))
    )
    yield Paragraph("Why they may differ:")
    here = (f"Here the operators' LLM is {', '.join(asked)}.",) if asked else ()
    yield Points(here + WHY_THEY_DIFFER)


def _of(published: Iterable[Any], llm: str | None) -> tuple[float, ...]:
    return tuple(each.value for each in published if each.operator_llm == llm)


def every_figure(report: EvaluationReport) -> Grid:
    """One row per method and benchmark; the scores of other tasks than questions stand beside where there are some."""
    others: list[Figure] = [
        figure for figure in ("success", "reward") if any(getattr(row, figure) for row in report.comparison.figures)
    ]
    rows = [
        (
            row.method, row.benchmark, f"{row.num_questions:,}", f"{row.num_left_out:,}", str(row.num_seeds),
            f"{row.num_answers:,}", f"{row.num_answers_left_out:,}", f"{row.num_replaced:,}", show_interval(row.exact_match),
            f"{row.exact_match_if_left_out_wrong:.3f}", show_interval(row.f1), f"{row.f1_if_left_out_wrong:.3f}",
            row.exact_match.method if row.exact_match else NONE, row.f1.method if row.f1 else NONE,
            *(cell for figure in others for cell in (show_interval(getattr(row, figure)), f"{row.if_left_out_wrong(figure):.3f}")),
        )
        for row in ordered(report, report.comparison.figures)
    ]  # fmt: skip
    return Grid(
        caption="What the figures rest on",
        header=(
            "method", "benchmark", "questions", "left out", "seeds", "scored answers", "answers left out", "replaced rows",
            f"exact match [{percent(report)}]", "if left out wrong", f"F1 [{percent(report)}]", "if left out wrong",
            "interval of exact match", "interval of F1",
            *(name for figure in others for name in (f"{FIGURE_NAMES[figure]} [{percent(report)}]", "if left out wrong")),
        ),
        rows=tuple(rows),
        num_names=2,
    )  # fmt: skip
