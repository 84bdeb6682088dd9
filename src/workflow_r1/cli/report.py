"""``workflow-r1 report``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workflow_r1.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from workflow_r1.reports.evaluation.blocks import Document
    from workflow_r1.running.reports import WrittenComparison, WrittenReport, WrittenRunReport


def report(
    directories: Annotated[
        list[Path],
        typer.Argument(metavar="DIR...", help="Directory of a run, or several of runs or of evaluations, which are compared.", show_default=False),
    ],
    reference: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Method of an evaluation that the others are tested against. Default: policy, if there."),
    ] = None,
    figure: Annotated[str | None, typer.Option(metavar="NAME", help="Figure of an evaluation's tables and pictures: exact_match or f1; success or reward of another task. Default: the first that there is.")] = None,
    confidence: Annotated[
        float,
        typer.Option(metavar="N", help="Confidence of intervals; the level of tests is 1 minus this number."),
    ] = 0.95,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Directory of the report of evaluations or of several runs. Default: report/ in the first directory.",
            show_default=False,
        ),
    ] = None,
) -> None:  # fmt: skip
    """Report on training runs or on evaluations: tables here, pictures and a report in the first directory.

    A run gets curve.png, curve.svg and report.md. Several runs get report/ with curves.png, curves.svg and report.md: runs that
    differ in their seed alone are one arm, and the first arm is the reference. Evaluations get report/ with report.md,
    report.html, report.csv, report.json, frontier.svg and frontier.png.
    """
    from workflow_r1.reports.evaluation import is_evaluation
    from workflow_r1.running.reports import compare_training_runs, report_evaluations, report_run
    from workflow_r1.running.terminal import Terminal

    console = Terminal()
    kinds = [is_evaluation(directory) for directory in directories]
    if any(kinds):
        if not all(kinds):
            odd = directories[kinds.index(False)]
            raise UserError(
                f"expected directories of evaluations beside {directories[kinds.index(True)]}, received {odd}"
            )
        with console.status("reading") as status:
            written = report_evaluations(
                directories, reference=reference, figure=figure, confidence=confidence, output=output,
                notify=status.update,
            )  # fmt: skip
        show_report(console, written)
        return
    given = {"--reference": reference, "--figure": figure, "--output": output if len(directories) == 1 else None}
    wrong = [name for name, value in given.items() if value is not None]
    if wrong:
        raise UserError(f"expected the directory of an evaluation with {wrong[0]}, received {directories[0]}")
    if len(directories) == 1:
        _show_run(console, directories[0], report_run(directories[0]))
        return
    with console.status("reading"):
        compared = compare_training_runs(directories, confidence=confidence, output=output)
    _show_comparison(console, compared)


def show_report(console: "Console", written: "WrittenReport") -> None:
    """Show the tables of a report of evaluations, and where the rest of it is."""
    from workflow_r1.cli.tables import print_table
    from workflow_r1.reports.evaluation.blocks import Grid, Points
    from workflow_r1.reports.evaluation.scores import score_grid

    def print_grid(grid: Grid) -> None:
        print_table(console, grid.caption, grid.header, grid.rows, num_names=grid.num_names)

    record, document = written.record, written.document
    console.print(f"\n{document.title}", style="bold", markup=False)
    if document.simulation:
        console.print(document.simulation, style="yellow", markup=False)
    # All intervals of seven benchmarks are wider than any terminal; the files hold them.
    print_grid(score_grid(record, intervals=len(record.benchmarks) < 3))
    for section in document.sections[:4]:
        for block in section.blocks:
            if isinstance(block, Grid) and block.num_names > 1:
                print_grid(block)
            elif isinstance(block, Points):
                for text in block.texts:
                    console.print(f"* {text}", markup=False)
                console.print()
    if written.missing is not None:
        console.print(str(written.missing), style="yellow", markup=False, soft_wrap=True)
    files = ", ".join(written.files)
    console.print(f"wrote {files} in {written.place}", style="dim", soft_wrap=True, markup=False)


def _show_run(console: "Console", directory: Path, written: "WrittenRunReport") -> None:
    from workflow_r1.cli.tables import print_table
    from workflow_r1.evaluation.figures import MEASURES
    from workflow_r1.recording.metrics import headline_of
    from workflow_r1.reports.services import services_table
    from workflow_r1.reports.summary import evaluation_table, training_table

    record = written.record
    console.print(f"\n{record.title}", style="bold", markup=False)
    if record.evaluations:
        measure = headline_of(record.evaluations[-1], "evaluation")
        interval = "" if measure == "reward" else " [95% interval]"
        print_table(console, f"held-out {MEASURES[measure]}{interval}", *evaluation_table(record))
    print_table(console, "training", *training_table(record))
    if record.services:
        print_table(console, "services, over the whole run", *services_table(record))
    files = ", ".join(written.files)
    console.print(f"wrote {files} in {directory}", style="dim", soft_wrap=True, markup=False)
    if written.missing is not None:
        raise written.missing


def _show_comparison(console: "Console", written: "WrittenComparison") -> None:
    _show_blocks(console, written.document, num_sections=3)
    files = ", ".join(written.files)
    console.print(f"wrote {files} in {written.place}", style="dim", soft_wrap=True, markup=False)
    if written.missing is not None:
        raise written.missing


def _show_blocks(console: "Console", document: "Document", *, num_sections: int) -> None:
    """Show the tables and points of a document's first sections."""
    from workflow_r1.cli.tables import print_table
    from workflow_r1.reports.evaluation.blocks import Grid, Paragraph, Points

    console.print(f"\n{document.title}", style="bold", markup=False)
    if document.simulation:
        console.print(document.simulation, style="yellow", markup=False)
    for section in document.sections[:num_sections]:
        for block in section.blocks:
            if isinstance(block, Grid):
                print_table(console, block.caption, block.header, block.rows, num_names=block.num_names)
            elif isinstance(block, Paragraph | Points):
                for text in (block.text,) if isinstance(block, Paragraph) else (f"* {each}" for each in block.texts):
                    console.print(text, style="dim", markup=False, highlight=False)
                console.print()
