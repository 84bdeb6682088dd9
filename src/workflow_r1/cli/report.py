"""``workflow-r1 report``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from workflow_r1.evaluation.answers import Figure
    from workflow_r1.evaluation.comparison import Comparison


def report(
    directories: Annotated[
        list[Path],
        typer.Argument(metavar="DIR...", help="A run's directory; or those of evaluations, compared together.", show_default=False),
    ],
    reference: Annotated[
        str | None,
        typer.Option(metavar="METHOD", help="Evaluation: the method to test the others against. Default: policy, if there."),
    ] = None,
    figure: Annotated[str, typer.Option(help="Evaluation: what tables and pictures show: exact_match or f1.")] = "exact_match",
    confidence: Annotated[float, typer.Option(help="Evaluation: of the intervals, and 1 less the level of the tests.")] = 0.95,
    output: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Evaluation: where the report goes. Default: report/ in the first directory.", show_default=False),
    ] = None,
) -> None:  # fmt: skip
    """Show what a training run or an evaluation of methods reached: tables here, pictures and a report in its directory.

    Of a run: curve.png, curve.svg and report.md. Of evaluations: report/ with report.md, report.html, report.csv, report.json,
    frontier.svg and frontier.png.
    """
    from workflow_r1.cli.terminal import Terminal
    from workflow_r1.errors import UserError
    from workflow_r1.reports.evaluation import is_evaluation

    kinds = [is_evaluation(directory) for directory in directories]
    if any(kinds):
        if not all(kinds):
            odd = directories[kinds.index(False)]
            raise UserError(
                f"expected directories of evaluations beside {directories[kinds.index(True)]}, received {odd}"
            )
        report_evaluations(
            Terminal(), directories, reference=reference, figure=figure, confidence=confidence, output=output
        )
        return
    given = {"--reference": reference, "--output": output}
    wrong = [name for name, value in given.items() if value is not None]
    if wrong:
        raise UserError(f"expected the directory of an evaluation with {wrong[0]}, received {directories[0]}")
    for directory in directories:
        _report_run(directory)


def report_evaluations(
    console: "Console",
    directories: list[Path],
    *,
    reference: str | None = None,
    figure: str = "exact_match",
    confidence: float = 0.95,
    output: Path | None = None,
) -> "Comparison":
    """Write the report of evaluations and show its tables; the arguments are those of the command.

    Returns:
        What the report's figures, tests and frontiers are.

    Raises:
        DataError: a directory holds no evaluation, or a damaged one.
        UserError: ``figure`` or ``confidence`` is none, or the reference is no method of theirs.
    """
    from workflow_r1.cli.tables import print_table
    from workflow_r1.errors import UserError
    from workflow_r1.reports.evaluation import build_report, make_document, write_report
    from workflow_r1.reports.evaluation.blocks import Grid, Points
    from workflow_r1.reports.evaluation.scores import score_grid

    if not 0.5 <= confidence < 1:
        raise UserError(f"--confidence: expected a number from 0.5 to below 1, such as 0.95, received {confidence}")
    with console.status("reading") as status:
        record = build_report(
            directories, reference=reference, figure=_read_figure(figure), confidence=confidence, notify=status.update
        )
        status.update("writing")
        document = make_document(record)
        place = output if output is not None else directories[0] / "report"
        files, missing = write_report(record, document, place)

    def print_grid(grid: Grid) -> None:
        print_table(console, grid.caption, grid.header, grid.rows)

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
    if missing is not None:
        console.print(str(missing), style="yellow", markup=False, soft_wrap=True)
    console.print(f"wrote {', '.join(files)} in {place}", style="dim", soft_wrap=True, markup=False)
    return record.comparison


def _read_figure(given: str) -> "Figure":
    from typing import get_args

    from workflow_r1.errors import UserError
    from workflow_r1.evaluation.answers import Figure

    for figure in get_args(Figure):
        if given == figure:
            return figure
    raise UserError(f"--figure: expected one of {', '.join(get_args(Figure))}, received {given!r}")


def _report_run(run: Path) -> None:
    from workflow_r1.cli.tables import print_table
    from workflow_r1.cli.terminal import Terminal
    from workflow_r1.errors import MissingExtraError
    from workflow_r1.reports import draw_curve, read_run, write_summary
    from workflow_r1.reports.services import services_table
    from workflow_r1.reports.summary import evaluation_table, training_table
    from workflow_r1.trajectory.storage import write_atomically

    record = read_run(run)
    console = Terminal()
    console.print(f"\n{record.title}", style="bold", markup=False)
    if record.evaluations:
        print_table(console, "held-out exact match [95% interval]", *evaluation_table(record))
    print_table(console, "training", *training_table(record))
    if record.services:
        print_table(console, "services, over the whole run", *services_table(record))
    missing: MissingExtraError | None = None
    pictures: list[str] = []
    try:
        pictures = [path.name for path in draw_curve(record)]
    except MissingExtraError as error:
        missing = error
    write_atomically(
        run / "report.md", write_summary(record, pictures=[name for name in pictures if name.endswith("png")])
    )
    console.print(f"wrote {', '.join([*pictures, 'report.md'])} in {run}", style="dim", soft_wrap=True, markup=False)
    if missing is not None:
        raise missing
