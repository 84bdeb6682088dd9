"""Wording of figures, costs and verdicts, the same in every section of a report."""

from collections.abc import Iterable
from typing import Any

from workflow_r1.evaluation.answers import Figure
from workflow_r1.evaluation.comparison import CostKind, MethodFigures, MethodTest
from workflow_r1.evaluation.statistics import Interval
from workflow_r1.reports.evaluation.record import EvaluationReport

FIGURE_NAMES: dict[Figure, str] = {"exact_match": "exact match", "f1": "F1", "success": "success", "reward": "reward"}
COST_NAMES: dict[CostKind, str] = {
    "cost": "cost", "tokens": "tokens", "llm_calls": "LLM calls", "seconds": "seconds"
}  # fmt: skip
ABOVE, BELOW = "▲", "▼"
NONE = "-"


def verdict(test: MethodTest, *, confidence: float) -> str:
    """Finding of a test, in a word or three."""
    if test.adjusted_p_value >= 1 - confidence:
        return "no difference found"
    return "better" if test.difference.estimate > 0 else "worse"


def percent(report: EvaluationReport) -> str:
    """Return the confidence of the report's intervals."""
    return f"{100 * report.comparison.confidence:g}%"


def score_name(report: EvaluationReport) -> str:
    """Return the name of the figure that the report compares."""
    return FIGURE_NAMES[report.comparison.figure]


def score_of(report: EvaluationReport, row: MethodFigures) -> Interval | None:
    """Return a row's interval of the figure that the report compares; None where it has no score."""
    score: Interval | None = getattr(row, report.comparison.figure)
    return score


def show_left_out(row: MethodFigures | None, figure: Figure) -> str:
    """Note on a score that left something out; empty where it left out nothing."""
    if row is None or not (row.num_left_out or row.num_answers_left_out):
        return ""
    return tell_left_out(max(row.num_left_out, row.num_answers_left_out), row.if_left_out_wrong(figure))


def tell_left_out(num: int, at_least: float) -> str:
    """Return what to add to a score where answers were left out of it."""
    return f"; {num:,} left out, {at_least:.3f} if wrong"


def by_place(report: EvaluationReport) -> dict[tuple[str, str], MethodFigures]:
    """Return the figures by method and benchmark."""
    return {(row.method, row.benchmark): row for row in report.comparison.figures}


def ordered(report: EvaluationReport, rows: Iterable[Any]) -> list[Any]:
    """Rows with a method and a benchmark, in the order of the tables."""
    methods = {name: place for place, name in enumerate(report.methods)}
    benchmarks = {name: place for place, name in enumerate(report.benchmarks)}
    return sorted(rows, key=lambda row: (benchmarks[row.benchmark], methods[row.method]))


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


def show_count(number: int, name: str) -> str:
    """Return a number with its noun, which is in the plural unless the number is 1."""
    return f"{number:,} {name}{'' if number == 1 else 's'}"
