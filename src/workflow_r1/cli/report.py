"""``workflow-r1 report``."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="A run directory.", show_default=False)],
) -> None:
    """Show what a run reached: tables here, curve.png, curve.svg and report.md in its directory."""
    from workflow_r1.cli.tables import print_table
    from workflow_r1.cli.terminal import Terminal
    from workflow_r1.errors import MissingExtraError
    from workflow_r1.reports import draw_curve, read_run, write_summary
    from workflow_r1.reports.services import services_table
    from workflow_r1.reports.summary import evaluation_table, training_table
    from workflow_r1.trajectory.storage import write_atomically

    record = read_run(run)
    console = Terminal()
    console.print(f"\n{record.config.title}", style="bold", markup=False)
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
