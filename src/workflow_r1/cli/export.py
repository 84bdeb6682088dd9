"""``workflow-r1 export inspect|atif|trackio``: trajectories in the form of other tools."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workflow_r1.cli.parameters import Conditions, Stored
from workflow_r1.errors import UserError

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog

    from workflow_r1.running.stored import Selected
    from workflow_r1.workflows.selection import Selection

export = typer.Typer(name="export", help="Write trajectories in the form of other tools.", no_args_is_help=True)


@export.command("inspect")
def export_inspect(
    directory: Stored,
    conditions: Conditions = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", metavar="DIR", help="Directory for the logs. Default: RUN/inspect.", show_default=False
        ),
    ] = None,
) -> None:
    """Write trajectories as logs of Inspect AI, for `inspect view`.

    An evaluation becomes a log for each method and benchmark, and is written whole. A run of training becomes a log for each
    step. Logs of an earlier export are replaced.
    """
    from workflow_r1.reports.evaluation import is_evaluation
    from workflow_r1.running.configuration import require
    from workflow_r1.running.terminal import Terminal
    from workflow_r1.workflows.selection import read_conditions

    require("inspect_ai", extra="inspect", purpose="an export for Inspect AI")
    selection = read_conditions(conditions or [])
    console = Terminal()
    output = output or (directory if directory.is_dir() else directory.parent) / "inspect"
    if output.exists() and not output.is_dir():
        raise UserError(f"--output: expected a directory, found a file at {output}; choose another place")
    if directory.is_dir() and is_evaluation(directory):
        _refuse_selection(selection)
        _export_evaluation(directory, output)
    else:
        from workflow_r1.running.exports import Origin, export_inspect_steps

        export_inspect_steps(
            _select(directory, selection), output, Origin.of(directory),
            on_log=lambda path, number: console.print(f"{path}: {number:,} samples", markup=False, soft_wrap=True),
        )  # fmt: skip
    console.print(f"look at them: inspect view --log-dir {output}", style="dim", markup=False, soft_wrap=True)


def _export_evaluation(directory: Path, output: Path) -> None:
    from workflow_r1.reports.inspect_logs import export_inspect_logs
    from workflow_r1.running.terminal import Terminal

    console = Terminal()

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


@export.command("atif")
def export_atif(
    place: Stored,
    conditions: Conditions = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            metavar="FILE",
            help="The file. Default: atif.jsonl beside the trajectories.",
            show_default=False,
        ),
    ] = None,
    tokens: Annotated[
        bool,
        typer.Option("--tokens", help="Add token ids and log-probabilities to the turns that hold them."),
    ] = False,
) -> None:
    """Write trajectories in the Agent Trajectory Interchange Format (ATIF), one JSON document a line.

    Each document is checked by the format's own package. The work of the LLM behind an operator call is a sub-trajectory.
    """
    from workflow_r1.running.exports import Origin
    from workflow_r1.running.exports import export_atif as write
    from workflow_r1.running.terminal import Terminal
    from workflow_r1.workflows.selection import read_conditions

    selection = read_conditions(conditions or [])
    selected = _select(place, selection)
    output = output or (place if place.is_dir() else place.parent) / "atif.jsonl"
    number = write(selected, output, Origin.of(place), with_tokens=tokens)
    Terminal().print(f"{output}: {number:,} documents", markup=False, soft_wrap=True)


@export.command("trackio")
def export_trackio(
    place: Stored,
    conditions: Conditions = None,
    project: Annotated[str, typer.Option(metavar="NAME", help="Project of Trackio.")] = "workflow-r1",
) -> None:
    """Log trajectories as traces of Trackio, into its store on this machine, for `trackio show`."""
    from workflow_r1.running.exports import Origin
    from workflow_r1.running.exports import export_trackio as write
    from workflow_r1.running.terminal import Terminal
    from workflow_r1.workflows.selection import read_conditions

    selection = read_conditions(conditions or [])
    number = write(_select(place, selection), Origin.of(place), project=project)
    console = Terminal()
    console.print(f"{number:,} traces in the project {project}", markup=False, soft_wrap=True)
    console.print(f"look at them: trackio show --project {project}", style="dim", markup=False, soft_wrap=True)


def _select(place: Path, selection: "Selection") -> "list[Selected]":
    from workflow_r1.running.stored import select_stored

    selected = [each for each in select_stored(place, selection) if each.rows]
    if not selected:
        raise UserError(f"expected trajectories to export in {place}, found none that are selected")
    return selected


def _refuse_selection(selection: "Selection") -> None:
    if selection != type(selection)():
        raise UserError(
            "an evaluation is exported for Inspect AI as a whole; leave the conditions out, or use export atif"
        )
