"""Tables of methods compared."""

from workflow_r1.evaluation.comparison import Comparison, MethodFigures
from workflow_r1.evaluation.statistics import Interval


def figures_of_methods_table(comparison: Comparison, *, currency: str) -> tuple[list[str], list[list[str]]]:
    """Header and rows: one row per method and benchmark, with what an answer took."""
    benchmarks = {row.benchmark for row in comparison.figures}
    with_cost = any(row.cost for row in comparison.figures)
    header = [
        "method",
        *(["benchmark"] if len(benchmarks) > 1 else []),
        "questions",
        "exact match [95%]",
        "F1",
        "turns",
    ]
    header += ["LLM calls", "tokens", *([currency] if with_cost else [])]
    rows = []
    for row in comparison.figures:
        cells = [row.method, *([row.benchmark] if len(benchmarks) > 1 else []), _questions(row)]
        cells += [show_interval(row.exact_match), "-" if row.f1 is None else f"{row.f1.estimate:.3f}"]
        cells += [_number(row.turns, ".1f"), _number(row.llm_calls, ".1f"), _number(row.tokens, ",.0f")]
        rows.append([*cells, *([_number(row.cost, ".4g")] if with_cost else [])])
    return header, rows


def tests_table(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Header and rows: exact match of each method less the reference's, with the corrected p-value."""
    header = ["method", "benchmark", "difference [95%]", "p (Holm)"]
    return header, [
        [test.method, test.benchmark, show_interval(test.difference, sign=True), f"{test.adjusted_p_value:.2g}"]
        for test in comparison.tests
        if test.figure == "exact_match"
    ]


def show_interval(interval: Interval | None, *, sign: bool = False) -> str:
    """An estimate with its interval, or a dash."""
    if interval is None:
        return "-"
    form = "+.3f" if sign else ".3f"
    return f"{interval.estimate:{form}} [{interval.low:{form}}, {interval.high:{form}}]"


def _questions(row: MethodFigures) -> str:
    more = [f"{row.num_seeds} seeds"] if row.num_seeds > 1 else []
    more += [f"{row.num_left_out} left out"] if row.num_left_out else []
    return f"{row.num_questions}" + (f" ({', '.join(more)})" if more else "")


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
