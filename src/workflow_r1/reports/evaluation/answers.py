"""The sections of the answers themselves: how they ended, which operators they called, and examples."""

from collections.abc import Iterator, Mapping

from workflow_r1.reports.evaluation.blocks import Block, Grid, Paragraph, Quotes
from workflow_r1.reports.evaluation.record import EvaluationReport, Example
from workflow_r1.reports.evaluation.wording import ordered
from workflow_r1.trajectory.outcome import Outcome

OUTCOME_NAMES = {
    Outcome.RIGHT: "right",
    Outcome.WRONG: "wrong",
    Outcome.NO_ANSWER: "no answer",
    Outcome.MALFORMED: "malformed",
    Outcome.OUT_OF_BUDGET: "out of budget",
    Outcome.FAILED: "failed",
}


def outcomes(report: EvaluationReport) -> Iterator[Block]:
    """Yield how the answers of each method ended, over all benchmarks and by benchmark."""
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
        rows=tuple((each.method, each.benchmark, *_shares(each.counts)) for each in ordered(report, report.outcomes)),
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


def operators(report: EvaluationReport) -> Iterator[Block]:
    """Yield which operators each method called, and how often for an answer."""
    mixes = [mix for mix in ordered(report, report.operators) if mix.calls]
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


def examples(report: EvaluationReport) -> Iterator[Block]:
    """Yield answers of each kind of end."""
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
