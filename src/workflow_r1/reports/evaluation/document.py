"""The document that a report becomes: its sections in order."""

from collections.abc import Iterator, Mapping
from typing import Any

from workflow_r1.reports.evaluation.answers import examples, operators, outcomes
from workflow_r1.reports.evaluation.blocks import Block, Document, Grid, Paragraph, Points, Section
from workflow_r1.reports.evaluation.record import EvaluationReport
from workflow_r1.reports.evaluation.scores import beside_the_paper, classes, differences, every_figure, matrix
from workflow_r1.reports.evaluation.spending import costs
from workflow_r1.reports.evaluation.wording import NONE, score_name, show_count

SIMULATION = (
    "A simulation: questions, passages or the LLM are the embedded world's. The figures say how methods compare in that "
    "world, and nothing about real questions."
)

SIMULATED_TASK = (
    "A simulation: the task, or the LLM or search that it uses, is not a real one. The figures say how policies compare in it, "
    "and nothing about the world outside."
)


def make_document(report: EvaluationReport) -> Document:
    """Put a report into words and tables."""
    sections = [
        Section("What was evaluated", tuple(_describe(report))),
        Section(f"Methods by benchmarks: {score_name(report)}", tuple(matrix(report))),
        Section(f"Compared with {report.comparison.reference}", tuple(differences(report))),
        Section("Accuracy and cost", tuple(costs(report))),
        Section("How answers ended", tuple(outcomes(report))),
        Section("Classes of questions", tuple(classes(report))),
        Section("Operators", tuple(operators(report))),
        Section("Examples", tuple(examples(report))),
        Section("Beside the paper", tuple(beside_the_paper(report))),
        Section("Every figure", (every_figure(report),)),
        Section("Evaluation card", tuple(_cards(report))),
    ]
    return Document(
        title=report.title,
        simulation=_simulation(report),
        sections=tuple(section for section in sections if section.blocks),
    )


def _describe(report: EvaluationReport) -> Iterator[Block]:
    rows = report.comparison.figures
    num_answers = sum(sum(row.statuses.values()) for row in rows)
    seeds = sorted({row.num_seeds for row in rows})
    yield Paragraph(
        f"{show_count(len(report.methods), 'method')} on {show_count(len(report.benchmarks), 'benchmark')} "
        f"({', '.join(report.benchmarks)}): {show_count(num_answers, 'answer')}, "
        f"{' to '.join(dict.fromkeys(str(end) for end in (seeds[0], seeds[-1])))} "
        f"{'seed' if seeds[-1] == 1 else 'seeds'} each. From {', '.join(source.directory for source in report.sources)}."
    )
    if report.caveats:
        yield Points(report.caveats)


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


def _simulation(report: EvaluationReport) -> str | None:
    if not report.is_simulation:
        return None
    return SIMULATED_TASK if report.comparison.figure in ("success", "reward") else SIMULATION
