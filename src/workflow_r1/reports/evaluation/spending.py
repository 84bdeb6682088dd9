"""The section of what answers took: the accuracy-cost frontier, the costs of one answer, and what was spent before the first."""

from collections.abc import Iterator
from typing import get_args

from workflow_r1.evaluation.comparison import CostKind
from workflow_r1.reports.evaluation.blocks import Block, Grid, Paragraph, Pictures
from workflow_r1.reports.evaluation.frontier import make_panels
from workflow_r1.reports.evaluation.record import EvaluationReport
from workflow_r1.reports.evaluation.wording import (
    NONE,
    cost_name,
    ordered,
    percent,
    score_name,
    score_of,
    show_left_out,
    show_money,
    show_number,
)
from workflow_r1.reports.intervals import show_interval


def costs(report: EvaluationReport) -> Iterator[Block]:
    """Yield the accuracy-cost frontier, what one answer takes, and what was spent once."""
    kind = main_cost(report)
    panels = make_panels(report, kind, cost_name=cost_name(report, kind), score_name=score_name(report))
    if panels:
        yield Pictures(panels)
        yield Paragraph(
            f"Higher is more accurate, further left is cheaper ({cost_name(report, kind)} per answer, the method's own search "
            "or training left out). A filled mark and the line: no other method is both cheaper and at least as accurate. "
            f"Bars are {percent(report)} intervals; methods whose bars overlap widely may change places."
        )
    frontiers = {(each.benchmark, each.cost): each for each in report.comparison.frontiers}
    kinds = [each for each in get_args(CostKind) if any(getattr(row, each) for row in report.comparison.figures)]
    rows = []
    for row in ordered(report, report.comparison.figures):
        on = [cost_name(report, each) for each in kinds if row.method in frontiers[row.benchmark, each].methods]
        rows.append(
            (
                row.method, row.benchmark, show_interval(score_of(report, row)) + show_left_out(row, report.comparison.figure),
                show_number(row.turns, ".1f"),
                show_number(row.llm_calls, ".1f"), show_number(row.tokens, ",.0f"), show_number(row.seconds, ".2f"),
                show_money(row.cost), ", ".join(on) or "no",
            )
        )  # fmt: skip
    yield Grid(
        caption="What one answer takes, on average",
        header=(
            "method", "benchmark", f"{score_name(report)} [{percent(report)}]", "turns", "LLM calls", "tokens", "seconds",
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
    rows = [
        (
            each.method, each.seed, show_number(each.llm_calls, ",.0f"), show_number(each.tokens, ",.0f"),
            show_number(each.seconds, ",.1f"), show_money(each.cost), f"{each.num_answers:,}", each.found or NONE,
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


def main_cost(report: EvaluationReport) -> CostKind:
    """Return the cost that frontiers are drawn by: money where every price is known and something has one, else tokens."""
    order: tuple[CostKind, ...] = ("cost", "tokens", "llm_calls", "seconds")
    scored = [row for row in report.comparison.figures if row.num_answers]
    for kind in order:
        values = [getattr(row, kind) for row in scored]
        if all(value is not None for value in values) and any(values):
            return kind
    return "llm_calls"
