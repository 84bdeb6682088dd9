"""The document that a comparison of runs becomes."""

from collections.abc import Iterator

from workflow_r1.config.run import QUESTIONS
from workflow_r1.reports.comparison.figures import Difference, RunComparison
from workflow_r1.reports.evaluation.blocks import Block, Document, Grid, Paragraph, Points, Section
from workflow_r1.reports.evaluation.document import SIMULATED_TASK, SIMULATION
from workflow_r1.reports.evaluation.wording import NONE, show_count, show_p

MAX_QUESTION_CHARS = 48
"""Longest part of a question in the table."""

MAX_QUESTIONS = 20
"""Questions in the table: those on which the arms differ most."""


def make_document(comparison: RunComparison) -> Document:
    """Put a comparison of runs into words and tables."""
    sections = [
        Section("What is compared", tuple(_describe(comparison))),
        Section("Differences", tuple(_differences(comparison))),
        Section("Question by question", tuple(_questions(comparison))),
    ]
    tasks = {run.config.task for arm in comparison.arms for run in arm.runs}
    simulation = (SIMULATION if tasks == {QUESTIONS} else SIMULATED_TASK) if comparison.is_simulation else None
    return Document(
        title=f"{show_count(sum(len(arm.runs) for arm in comparison.arms), 'run')} beside each other",
        simulation=simulation,
        sections=tuple(section for section in sections if section.blocks),
    )


def _describe(comparison: RunComparison) -> Iterator[Block]:
    rows = tuple(
        (
            f"{arm.name}{' (reference)' if place == 0 and len(comparison.arms) > 1 else ''}",
            ", ".join(str(run.config.seed) for run in arm.runs),
            ", ".join(str(run.metrics[-1]["step"]) for run in arm.runs),
            ", ".join(run.directory.resolve().name for run in arm.runs),
        )
        for place, arm in enumerate(comparison.arms)
    )
    yield Grid(caption="Arms", header=("arm", "seeds", "steps", "directories"), rows=rows, num_names=4)
    notes = []
    if len(comparison.arms) == 1:
        notes.append("The runs differ in nothing but their seed: they are one arm, and there is no difference to test.")
    revisions = {run.environment.get("git_revision") for arm in comparison.arms for run in arm.runs} - {None}
    if len(revisions) > 1:
        notes.append("The runs are of several revisions of the code, which may explain a difference.")
    if notes:
        yield Points(tuple(notes))


def _differences(comparison: RunComparison) -> Iterator[Block]:
    if len(comparison.arms) == 1:
        return
    if not comparison.differences:
        yield Paragraph("The runs have no figure in common that can be compared.")
        return
    first, last = comparison.sampled_steps
    held_out = f"; held-out figures are those after step {comparison.held_out_step}" if comparison.held_out_step else ""
    yield Paragraph(
        f"Differences are arm minus {comparison.arms[0].name}. Sampled figures are means over the questions of steps {first} "
        f"to {last}{held_out}."
    )
    yield difference_grid(comparison)
    yield Paragraph(
        "P-values are of t tests, over the questions of one seed or over seeds, and corrected by Holm over the whole table. A held-out figure of two single runs is not paired, since a run "
        "keeps no held-out answers: evaluate both policies and report the two evaluations together for a paired test."
    )


def difference_grid(comparison: RunComparison) -> Grid:
    """Return the table of differences."""
    percent = f"{100 * comparison.confidence:g}%"
    return Grid(
        caption=f"Differences, with {percent} intervals",
        header=("figure", "arm", "mean", "reference", f"difference [{percent}]", "p", "finding", "questions", "seeds"),
        rows=tuple(_row(each) for each in comparison.differences),
        num_names=2,
    )  # fmt: skip


def _row(each: Difference) -> tuple[str, ...]:
    interval = each.interval
    direction = "more" if interval.estimate > 0 else "less"
    return (
        f"{each.figure}{' (not paired)' if each.p_value is None else ''}",
        each.arm,
        f"{each.mean:.4g}",
        f"{each.reference:.4g}",
        f"{interval.estimate:+.4g} [{interval.low:+.4g}, {interval.high:+.4g}]",
        NONE if each.p_value is None else show_p(each.p_value),
        direction if each.is_found else "no difference found",
        str(interval.num_questions),
        str(interval.num_seeds),
    )


def _questions(comparison: RunComparison) -> Iterator[Block]:
    if len(comparison.arms) == 1 or not comparison.questions:
        return
    shown = comparison.questions[:MAX_QUESTIONS]
    yield Grid(
        caption=f"Right of sampled answers, {len(shown)} of {len(comparison.questions):,} questions, the most different first",
        header=("question", "class", *(arm.name for arm in comparison.arms)),
        rows=tuple(
            (_shorten(each.question), each.question_class, *(share or NONE for share in each.shares)) for each in shown
        ),
        num_names=2,
    )


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_QUESTION_CHARS else f"{text[: MAX_QUESTION_CHARS - 3]}..."
