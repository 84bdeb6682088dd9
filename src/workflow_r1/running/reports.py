"""Reports of runs and evaluations, written without a terminal."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from workflow_r1.errors import MissingExtraError, UserError

if TYPE_CHECKING:
    from workflow_r1.evaluation.answers import AnswerLog, Figure
    from workflow_r1.reports import RunRecord
    from workflow_r1.reports.comparison import RunComparison
    from workflow_r1.reports.evaluation import EvaluationReport
    from workflow_r1.reports.evaluation.blocks import Document


@dataclass(frozen=True, slots=True)
class WrittenReport:
    """A report of evaluations, and its directory."""

    record: "EvaluationReport"
    """All figures of the evaluation."""
    document: "Document"
    """Its sections, as they are written."""
    place: Path
    """Its directory."""
    files: tuple[str, ...]
    """Names of its files."""
    missing: MissingExtraError | None
    """Reason for the lack of a picture; None where there is one."""


def report_evaluations(
    directories: Sequence[Path],
    *,
    reference: str | None = None,
    figure: str | None = None,
    confidence: float = 0.95,
    output: Path | None = None,
    log: "AnswerLog | None" = None,
    notify: Callable[[str], None] = lambda line: None,
) -> WrittenReport:
    """Write the report of evaluations.

    Args:
        directories: directories of the evaluations, which are compared together.
        reference: the method that the others are tested against; None takes ``policy``, if it is among several.
        figure: figure of tables and pictures: ``exact_match`` or ``f1``; ``success`` or ``reward`` of another task. None takes
            the first that there is.
        confidence: confidence of every interval, from 0.5 to below 1.
        output: directory of the report; None is ``report/`` in the first directory.
        log: answers of the one directory, where they have been read already.
        notify: called with each line of progress.

    Raises:
        DataError: a directory holds no evaluation, or a damaged one.
        UserError: the figure or reference is unknown, or the confidence is out of range.
    """
    from workflow_r1.reports.evaluation import build_report, make_document, write_report

    _check_confidence(confidence)
    record = build_report(
        directories, reference=reference, figure=_read_figure(figure), confidence=confidence, log=log, notify=notify
    )
    notify("writing")
    document = make_document(record)
    place = output if output is not None else directories[0] / "report"
    files, missing = write_report(record, document, place)
    return WrittenReport(record, document, place, tuple(files), missing)


def _check_confidence(confidence: float) -> None:
    if not 0.5 <= confidence < 1:
        raise UserError(f"confidence: expected a number from 0.5 to below 1, such as 0.95, received {confidence}")


def _read_figure(given: str | None) -> "Figure | None":
    from workflow_r1.evaluation.answers import Figure

    if given is None:
        return None
    for figure in get_args(Figure):
        if given == figure:
            return figure
    raise UserError(f"figure: expected one of {', '.join(get_args(Figure))}, received {given!r}")


@dataclass(frozen=True, slots=True)
class WrittenRunReport:
    """The report of a run of training, and its sources."""

    record: "RunRecord"
    """The run."""
    files: tuple[str, ...]
    """Names of its files in the run directory."""
    missing: MissingExtraError | None
    """Reason for the lack of a picture; None where there is one."""


def report_run(directory: Path) -> WrittenRunReport:
    """Draw the curve of a run and write its summary.

    Raises:
        DataError: the directory holds no run, or one without a step.
    """
    from workflow_r1.reports import draw_curve, read_run, write_summary
    from workflow_r1.trajectory.storage import write_atomically

    record = read_run(directory)
    missing: MissingExtraError | None = None
    pictures: list[str] = []
    try:
        pictures = [path.name for path in draw_curve(record)]
    except MissingExtraError as error:
        missing = error
    shown = [name for name in pictures if name.endswith("png")]
    write_atomically(directory / "report.md", write_summary(record, pictures=shown))
    return WrittenRunReport(record, (*pictures, "report.md"), missing)


@dataclass(frozen=True, slots=True)
class WrittenComparison:
    """The report of several runs of training beside each other, and its directory."""

    record: "RunComparison"
    """All its figures."""
    document: "Document"
    """Its sections, as they are written."""
    place: Path
    """Its directory."""
    files: tuple[str, ...]
    """Names of its files."""
    missing: MissingExtraError | None
    """Reason for the lack of a picture; None where there is one."""


def compare_training_runs(
    directories: Sequence[Path], *, confidence: float = 0.95, output: Path | None = None
) -> WrittenComparison:
    """Write the report of runs of training beside each other.

    Args:
        directories: run directories; those that differ in their seed alone are seeds of one arm, and the arm of the first is
            the reference.
        confidence: confidence of every interval, from 0.5 to below 1.
        output: directory of the report; None is ``report/`` in the first directory.

    Raises:
        DataError: a directory holds no run, or one without a step; the runs are of different tasks.
        UserError: one directory stands there twice, or the confidence is out of range.
    """
    from workflow_r1.reports import read_run
    from workflow_r1.reports.comparison import compare_runs, draw_curves, make_document
    from workflow_r1.reports.evaluation.markdown import write_markdown
    from workflow_r1.trajectory.storage import write_atomically

    _check_confidence(confidence)
    resolved = [directory.resolve() for directory in directories]
    for directory, path in zip(directories, resolved, strict=True):
        if resolved.count(path) > 1:
            raise UserError(f"expected different runs, received {directory} twice")
    record = compare_runs([read_run(directory) for directory in directories], confidence=confidence)
    document = make_document(record)
    place = output if output is not None else directories[0] / "report"
    place.mkdir(parents=True, exist_ok=True)
    missing: MissingExtraError | None = None
    pictures: list[str] = []
    try:
        pictures = [path.name for path in draw_curves(record, place)]
    except MissingExtraError as error:
        missing = error
    shown = "".join(f"\n![Curves]({name})\n" for name in pictures if name.endswith("png"))
    write_atomically(place / "report.md", write_markdown(document, pictures=[]) + shown)
    return WrittenComparison(record, document, place, (*pictures, "report.md"), missing)
