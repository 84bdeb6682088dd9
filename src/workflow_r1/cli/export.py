"""``workflow-r1 export``: an evaluation in the form of other tools."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workflow_r1.errors import UserError

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog

export = typer.Typer(name="export", help="Write an evaluation in the form of other tools.", no_args_is_help=True)


@export.command("inspect")
def export_inspect(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="The directory of an evaluation.", show_default=False)
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", metavar="DIR", help="Directory for the logs. Default: DIR/inspect.", show_default=False
        ),
    ] = None,
) -> None:
    """Write an evaluation as logs of Inspect AI, one for each method and benchmark, for `inspect view`.

    Logs of an earlier export are replaced.
    """
    from workflow_r1.running.configuration import require
    from workflow_r1.running.terminal import Terminal

    require("inspect_ai", extra="inspect", purpose="an export for Inspect AI")
    from workflow_r1.reports.inspect_logs import export_inspect_logs

    console = Terminal()
    output = output or directory / "inspect"
    if output.exists() and not output.is_dir():
        raise UserError(f"--output: expected a directory, found a file at {output}; choose another place")

    def show(path: Path, log: "EvalLog") -> None:
        failed = log.results.total_samples - log.results.completed_samples
        failures = f", {failed} of them failures" if failed else ""
        console.print(f"{path}: {log.results.total_samples:,} samples{failures}", markup=False, soft_wrap=True)

    with console.status("reading the answers") as status:
        export_inspect_logs(
            directory,
            output,
            on_start=lambda path, number: status.update(f"writing {path.name}: {number:,} answers"),
            on_log=show,
        )
    console.print(f"look at them: inspect view --log-dir {output}", style="dim", markup=False, soft_wrap=True)
