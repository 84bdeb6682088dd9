"""A report in words and tables, which Markdown, HTML and the terminal show each in its own way.

Every text in a document is plain text, much of it from outside. Each writer of a document makes it harmless for its
form.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from workflow_r1.evaluation.answers import Figure
from workflow_r1.evaluation.comparison import CostKind, MethodFigures, MethodTest
from workflow_r1.evaluation.published import OPERATOR_LLMS, WHY_THEY_DIFFER, WITH_SEARCH
from workflow_r1.evaluation.statistics import Interval
from workflow_r1.reports.evaluation.frontier import Panel, make_panels
from workflow_r1.reports.evaluation.record import ClassFigure, EvaluationReport, Example, Outcome
from workflow_r1.reports.intervals import show_interval

FIGURE_NAMES: dict[Figure, str] = {"exact_match": "exact match", "f1": "F1"}
COST_NAMES: dict[CostKind, str] = {
    "cost": "cost", "tokens": "tokens", "llm_calls": "LLM calls", "seconds": "seconds"
}  # fmt: skip
OUTCOME_NAMES = {
    Outcome.RIGHT: "right",
    Outcome.WRONG: "wrong",
    Outcome.NO_ANSWER: "no answer",
    Outcome.MALFORMED: "malformed",
    Outcome.OUT_OF_BUDGET: "out of budget",
    Outcome.FAILED: "failed",
}
SIMULATION = (
    "A simulation: questions, passages or the LLM are the embedded world's. The figures say how methods compare in that "
    "world, and nothing about real questions."
)
ABOVE, BELOW = "▲", "▼"
_MARKS = {"better": f" {ABOVE}", "worse": f" {BELOW}", "no difference found": ""}
NONE = "-"


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A few sentences."""

    text: str


@dataclass(frozen=True, slots=True)
class Points:
    """Sentences of one kind, a point each."""

    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Grid:
    """A table. The first cell of a row names it."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    best: frozenset[tuple[int, int]] = frozenset()
    """Cells, by row and column, that stand out."""
    num_names: int = 1
    """Number of first columns that hold names, not figures."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """The accuracy-cost frontier of each benchmark."""

    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Quotes:
    """Answers of one kind: a title each, and texts by name."""

    title: str
    entries: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]


Block = Paragraph | Points | Grid | Pictures | Quotes


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a document under its heading."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """A whole report."""

    title: str
    simulation: str | None
    """The mark of a simulation, where it is one."""
    sections: tuple[Section, ...]


def make_document(report: EvaluationReport) -> Document:
    """Put a report into words and tables."""
    sections = [
        Section("What was evaluated", tuple(_describe(report))),
        Section(f"Methods by benchmarks: {_score_name(report)}", tuple(_matrix(report))),
        Section(f"Compared with {report.comparison.reference}", tuple(_tests(report))),
        Section("Accuracy and cost", tuple(_cost(report))),
        Section("How answers ended", tuple(_outcomes(report))),
        Section("Classes of questions", tuple(_classes(report))),
        Section("Operators", tuple(_operators(report))),
        Section("Examples", tuple(_examples(report))),
        Section("Beside the paper", tuple(_beside_the_paper(report))),
        Section("Every figure", (every_figure(report),)),
        Section("Evaluation card", tuple(_cards(report))),
    ]
    return Document(
        title=report.title,
        simulation=SIMULATION if report.is_simulation else None,
        sections=tuple(section for section in sections if section.blocks),
    )


def verdict(test: MethodTest, *, confidence: float) -> str:
    """Finding of a test, in a word or three."""
    if test.adjusted_p_value >= 1 - confidence:
        return "no difference found"
    return "better" if test.difference.estimate > 0 else "worse"


def _percent(report: EvaluationReport) -> str:
    return f"{100 * report.comparison.confidence:g}%"


def _score_name(report: EvaluationReport) -> str:
    return FIGURE_NAMES[report.comparison.figure]


def _score(report: EvaluationReport, row: MethodFigures) -> Interval | None:
    score: Interval | None = getattr(row, report.comparison.figure)
    return score


def _left_out(row: MethodFigures | None, figure: Figure) -> str:
    """Note on a score that left something out; empty where it left out nothing."""
    if row is None or not (row.num_left_out or row.num_answers_left_out):
        return ""
    return _tell_left_out(max(row.num_left_out, row.num_answers_left_out), row.if_left_out_wrong(figure))


def _tell_left_out(num: int, at_least: float) -> str:
    return f"; {num:,} left out, {at_least:.3f} if wrong"


def _by_place(report: EvaluationReport) -> dict[tuple[str, str], MethodFigures]:
    return {(row.method, row.benchmark): row for row in report.comparison.figures}


def _ordered(report: EvaluationReport, rows: Iterable[Any]) -> list[Any]:
    """Rows with a method and a benchmark, in the order of the tables."""
    methods = {name: place for place, name in enumerate(report.methods)}
    benchmarks = {name: place for place, name in enumerate(report.benchmarks)}
    return sorted(rows, key=lambda row: (benchmarks[row.benchmark], methods[row.method]))


# ------------------------------------------------------------------------------------------------------------ sections


def _describe(report: EvaluationReport) -> Iterator[Block]:
    rows = report.comparison.figures
    num_answers = sum(sum(row.statuses.values()) for row in rows)
    seeds = sorted({row.num_seeds for row in rows})
    yield Paragraph(
        f"{_count(len(report.methods), 'method')} on {_count(len(report.benchmarks), 'benchmark')} "
        f"({', '.join(report.benchmarks)}): {_count(num_answers, 'answer')}, "
        f"{' to '.join(dict.fromkeys(str(end) for end in (seeds[0], seeds[-1])))} "
        f"{'seed' if seeds[-1] == 1 else 'seeds'} each. From {', '.join(source.directory for source in report.sources)}."
    )
    if report.caveats:
        yield Points(report.caveats)


def _matrix(report: EvaluationReport) -> Iterator[Block]:
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
    comparison, places = report.comparison, _by_place(report)
    several = len(report.benchmarks) > 1
    marks = {
        (test.method, test.benchmark): _MARKS[verdict(test, confidence=comparison.confidence)]
        for test in comparison.tests
        if test.figure == comparison.figure
    }
    columns = [
        [_score(report, row) if (row := places.get((method, benchmark))) else None for method in report.methods]
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
                _left_out(places.get((method, of)), comparison.figure) if of else _left_out_of_mean(report, method)
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
        caption=f"{_score_name(report)} [{_percent(report)} interval]" if intervals else _score_name(report),
        header=("method", *report.benchmarks, *(["mean over benchmarks"] if several else [])),
        rows=tuple(rows),
        best=frozenset(best),
    )


def _left_out_of_mean(report: EvaluationReport, method: str) -> str:
    """Note on a mean over benchmarks that left something out; empty where it left out nothing."""
    rows = [row for row in report.comparison.figures if row.method == method]
    if report.comparison.means[method] is None or not any(_left_out(row, report.comparison.figure) for row in rows):
        return ""
    num = sum(max(row.num_left_out, row.num_answers_left_out) for row in rows)
    at_least = sum(row.if_left_out_wrong(report.comparison.figure) for row in rows) / len(rows)
    return _tell_left_out(num, at_least)


def _tests(report: EvaluationReport) -> Iterator[Block]:
    comparison = report.comparison
    tests = _ordered(report, (test for test in comparison.tests if test.figure == comparison.figure))
    if not tests or comparison.reference is None:
        return
    yield Points(tuple(_in_words(comparison.reference, tests, comparison.confidence)))
    places = _by_place(report)

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
        caption=f"Difference in {_score_name(report)}: method minus {comparison.reference}",
        header=(
            "method", "benchmark", "found", f"difference [{_percent(report)}]", "wins", "losses", "compared",
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


def _cost(report: EvaluationReport) -> Iterator[Block]:
    kind = main_cost(report)
    panels = make_panels(report, kind, cost_name=cost_name(report, kind), score_name=_score_name(report))
    if panels:
        yield Pictures(panels)
        yield Paragraph(
            f"Higher is more accurate, further left is cheaper ({cost_name(report, kind)} per answer, the method's own search "
            "or training left out). A filled mark and the line: no other method is both cheaper and at least as accurate. "
            f"Bars are {_percent(report)} intervals; methods whose bars overlap widely may change places."
        )
    frontiers = {(each.benchmark, each.cost): each for each in report.comparison.frontiers}
    kinds = [each for each in get_args(CostKind) if any(getattr(row, each) for row in report.comparison.figures)]
    rows = []
    for row in _ordered(report, report.comparison.figures):
        on = [cost_name(report, each) for each in kinds if row.method in frontiers[row.benchmark, each].methods]
        rows.append(
            (
                row.method, row.benchmark, show_interval(_score(report, row)) + _left_out(row, report.comparison.figure),
                show_number(row.turns, ".1f"),
                show_number(row.llm_calls, ".1f"), show_number(row.tokens, ",.0f"), show_number(row.seconds, ".2f"),
                show_money(row.cost), ", ".join(on) or "no",
            )
        )  # fmt: skip
    yield Grid(
        caption="What one answer takes, on average",
        header=(
            "method", "benchmark", f"{_score_name(report)} [{_percent(report)}]", "turns", "LLM calls", "tokens", "seconds",
            cost_name(report, "cost"), "frontier",
        ),
        rows=tuple(rows),
        num_names=2,
    )  # fmt: skip
    yield Paragraph(
        "LLM calls and tokens are those of operators and of the policy. Seconds are wall time beside whatever ran at the same "
        "time. Calls that a store answered count like paid ones. A dash is unknown, never 0. A method is on the "
        "frontier of a cost where no other one is both cheaper and at least as accurate."
    )
    if report.searches:
        yield _searches(report)


def _searches(report: EvaluationReport) -> Grid:
    answers: dict[str, int] = {}
    for row in report.comparison.figures:
        answers[row.method] = answers.get(row.method, 0) + row.num_answers
    rows = [
        (
            each.method, each.seed, show_number(each.llm_calls, ",.0f"), show_number(each.tokens, ",.0f"),
            show_number(each.seconds, ",.1f"), show_money(each.cost), f"{answers.get(each.method, 0):,}", each.found or NONE,
        )
        for each in report.searches
    ]  # fmt: skip
    return Grid(
        caption="Spent once, before the first answer: searches and training of methods",
        header=(
            "method",
            "seed",
            "LLM calls",
            "tokens",
            "seconds",
            cost_name(report, "cost"),
            "answers since",
            "found",
        ),
        rows=tuple(rows),
        num_names=2,
    )


def _outcomes(report: EvaluationReport) -> Iterator[Block]:
    header = tuple(OUTCOME_NAMES.values())
    if len(report.benchmarks) > 1:
        totals: dict[str, dict[Outcome, int]] = {}
        for each in report.outcomes:
            of = totals.setdefault(each.method, dict.fromkeys(Outcome, 0))
            for outcome, count in each.counts.items():
                of[outcome] += count
        yield Grid(
            caption="Over all benchmarks",
            header=("method", *header),
            rows=tuple((method, *_shares(totals[method])) for method in report.methods),
        )
    yield Grid(
        caption="By benchmark",
        header=("method", "benchmark", *header),
        rows=tuple((each.method, each.benchmark, *_shares(each.counts)) for each in _ordered(report, report.outcomes)),
        num_names=2,
    )
    yield Paragraph(
        "Wrong: an answer that matches no golden answer. No answer, malformed and out of budget count as wrong. Failed: the "
        "infrastructure's failure, in no figure. Shares are of all answers."
    )


def _shares(counts: Mapping[Outcome, int]) -> Iterator[str]:
    total = sum(counts.values()) or 1
    for outcome in OUTCOME_NAMES:
        count = counts.get(outcome, 0)
        yield f"{count:,} ({count / total:.1%})" if count else "0"


def _classes(report: EvaluationReport) -> Iterator[Block]:
    for benchmark in report.benchmarks:
        of = [each for each in report.classes if each.benchmark == benchmark]
        names = sorted({each.question_class for each in of})
        scores = {(each.method, each.question_class): each for each in of}
        largest = {name: max(each.num_questions for each in of if each.question_class == name) for name in names}
        if of:
            yield Grid(
                caption=f"{benchmark}: {_score_name(report)} [{_percent(report)}]",
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
    return show_interval(of.score) + (_tell_left_out(of.num_left_out, of.if_left_out_wrong) if of.num_left_out else "")


def _operators(report: EvaluationReport) -> Iterator[Block]:
    mixes = [mix for mix in _ordered(report, report.operators) if mix.calls]
    if mixes:
        yield Grid(
            caption="Calls per answer",
            header=("method", "benchmark", "operators"),
            rows=tuple(
                (mix.method, mix.benchmark, ", ".join(f"{name} {calls:.2f}" for name, calls in mix.calls.items()))
                for mix in mixes
            ),
            num_names=3,
        )


def _examples(report: EvaluationReport) -> Iterator[Block]:
    for outcome, name in OUTCOME_NAMES.items():
        of = [each for each in report.examples if each.outcome is outcome]
        if of:
            yield Quotes(title=name.capitalize(), entries=tuple(_quote(each) for each in of))


def _quote(example: Example) -> tuple[str, tuple[tuple[str, str], ...]]:
    texts = [("question", example.question), ("right", "; ".join(example.golden_answers) or "unknown")]
    if example.answer is not None:
        texts.append(("answer", example.answer))
    if example.error is not None:
        texts.append(("error", example.error))
    elif example.outcome not in (Outcome.RIGHT, Outcome.WRONG):
        texts.append(("last turn", example.last_turn))
    return f"{example.method}, {example.benchmark}, {example.question_id}", tuple(texts)


def _beside_the_paper(report: EvaluationReport) -> Iterator[Block]:
    if not report.beside_the_paper:
        return
    llms = [*OPERATOR_LLMS, None]
    shown = [llm for llm in llms if any(_of(each.published, llm) for each in report.beside_the_paper)]
    places = _by_place(report)
    rows = []
    for each in _ordered(report, report.beside_the_paper):
        cells = [_of(each.published, llm) for llm in shown]
        rows.append(
            (
                each.method,
                each.benchmark,
                show_interval(each.exact_match) + _left_out(places[each.method, each.benchmark], "exact_match"),
                *(f"{cell[0]:.3f}" if cell else NONE for cell in cells),
            )
        )
    yield Grid(
        caption=f"Exact match [{_percent(report)}] beside what the paper prints",
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
    """One row per method and benchmark."""
    rows = [
        (
            row.method, row.benchmark, f"{row.num_questions:,}", f"{row.num_left_out:,}", str(row.num_seeds),
            f"{row.num_answers:,}", f"{row.num_answers_left_out:,}", f"{row.num_replaced:,}", show_interval(row.exact_match),
            f"{row.exact_match_if_left_out_wrong:.3f}", show_interval(row.f1), f"{row.f1_if_left_out_wrong:.3f}",
            row.exact_match.method if row.exact_match else NONE, row.f1.method if row.f1 else NONE,
        )
        for row in _ordered(report, report.comparison.figures)
    ]  # fmt: skip
    return Grid(
        caption="What the figures rest on",
        header=(
            "method", "benchmark", "questions", "left out", "seeds", "scored answers", "answers left out", "replaced rows",
            f"exact match [{_percent(report)}]", "if left out wrong", f"F1 [{_percent(report)}]", "if left out wrong",
            "interval of exact match", "interval of F1",
        ),
        rows=tuple(rows),
        num_names=2,
    )  # fmt: skip


def _cards(report: EvaluationReport) -> Iterator[Block]:
    for source in report.sources:
        rows = tuple(flatten(source.card))
        if rows:
            caption = source.name if len(report.sources) > 1 else "What the answers depend on"
            yield Grid(caption=caption, header=("key", "value"), rows=rows, num_names=2)
        else:
            yield Paragraph(f"{source.name}: none.")


def flatten(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Return nested JSON as rows of a dotted key and a value; a list of plain values is one row."""
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from flatten(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list) and any(isinstance(inner, Mapping | list) for inner in value):
        for number, inner in enumerate(value, start=1):
            yield from flatten(inner, f"{key}.{number}" if key else str(number))
    elif isinstance(value, list):
        yield key, ", ".join(_plain(inner) for inner in value) or NONE
    elif key:
        yield key, _plain(value)


def _plain(value: Any) -> str:
    if value is None or value == {}:
        return NONE
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


# ------------------------------------------------------------------------------------------------------------- figures


def main_cost(report: EvaluationReport) -> CostKind:
    """Return the cost that frontiers are drawn by: money where every price is known and something has one, else tokens."""
    order: tuple[CostKind, ...] = ("cost", "tokens", "llm_calls", "seconds")
    scored = [row for row in report.comparison.figures if row.num_answers]
    for kind in order:
        values = [getattr(row, kind) for row in scored]
        if all(value is not None for value in values) and any(values):
            return kind
    return "llm_calls"


def cost_name(report: EvaluationReport, kind: CostKind) -> str:
    """Name of a cost, money with its currency."""
    return f"cost ({report.currency})" if kind == "cost" and report.currency else COST_NAMES[kind]


def show_number(value: float | None, form: str) -> str:
    """A number, or a dash."""
    return NONE if value is None else format(value, form)


def show_money(value: float | None) -> str:
    """An amount, or a dash where it is unknown."""
    return show_number(value, ".4g")


def show_p(value: float) -> str:
    """A p-value; never 0."""
    return "< 0.0001" if value < 0.0001 else f"{value:.2g}"


def _count(number: int, name: str) -> str:
    return f"{number:,} {name}{'' if number == 1 else 's'}"
