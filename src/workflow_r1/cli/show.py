"""``workflow-r1 show``."""

from typing import TYPE_CHECKING, Annotated

import typer

from workflow_r1.cli.parameters import Conditions, Stored

if TYPE_CHECKING:
    from workflow_r1.running.stored import Selected
    from workflow_r1.running.terminal import Terminal
    from workflow_r1.trajectory.index import IndexRow

NUM_LISTED = 50
"""Trajectories that are listed without ``--limit``."""


def show(
    place: Stored,
    conditions: Conditions = None,
    full: Annotated[
        bool, typer.Option("--full", help="Print each one as a conversation. A single one always is.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print each one as the JSON line that the file holds.")] = False,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help=f"Print at most N. Default: {NUM_LISTED} of a list, else all.", show_default=False
        ),
    ] = None,
) -> None:
    """Print stored trajectories of a run, an evaluation or a file: a line each, or whole conversations.

    A conversation says of each call where its input came from, and whether it turned a right answer wrong or the other way.
    Nothing that the run names is executed. Long output: workflow-r1 show RUN --full | less
    """
    from workflow_r1.running.exports import Origin
    from workflow_r1.running.stored import select_stored
    from workflow_r1.running.terminal import Terminal
    from workflow_r1.workflows.selection import read_conditions

    selected = select_stored(place, read_conditions(conditions or []))
    console = Terminal()
    num_selected = sum(len(each.rows) for each in selected)
    if json:
        _print_json(_first(selected, limit))
        return
    if full or num_selected == 1:
        _print_conversations(console, _first(selected, limit), currency=Origin.of(place).currency)
    else:
        limit = NUM_LISTED if limit is None else limit
        _print_list(console, _first(selected, limit))
    shown = num_selected if limit is None else min(limit, num_selected)
    total = sum(len(each.file.index.rows) for each in selected)
    console.print(f"{shown:,} of {num_selected:,} selected, of {total:,} trajectories", style="dim", highlight=False)
    for each in selected:
        if each.file.index.problem is not None:
            console.print(each.file.index.problem, style="yellow", markup=False, soft_wrap=True)


def _first(selected: "list[Selected]", limit: int | None) -> "list[Selected]":
    from workflow_r1.running.stored import Selected

    kept = []
    left = sum(len(each.rows) for each in selected) if limit is None else limit
    for each in selected:
        kept.append(Selected(each.file, each.rows[:left]))
        left -= len(kept[-1].rows)
    return [each for each in kept if each.rows]


def _print_json(selected: "list[Selected]") -> None:
    from workflow_r1.trajectory.storage import to_json_line

    for each in selected:
        for trajectory in each.read():
            typer.echo(to_json_line(trajectory), nl=False)


def _print_conversations(console: "Terminal", selected: "list[Selected]", *, currency: str | None) -> None:
    from workflow_r1.running.trace import LiveTrace

    trace = LiveTrace(console, currency=currency or "")
    for each in selected:
        for trajectory in each.read():
            step = "" if trajectory.step is None else f", step {trajectory.step}"
            trace.show_stored(trajectory, title=f"{trajectory.id}{step}")
            console.print()


def _print_list(console: "Terminal", selected: "list[Selected]") -> None:
    for each in selected:
        if each.file.label:
            console.print(each.file.label, style="bold", markup=False)
        for row in each.rows:
            line = _line(row)
            # A pipe has no width.
            if console.is_terminal:
                console.print(
                    line, style=_STYLES.get(row.outcome or ""), markup=False, no_wrap=True, overflow="ellipsis"
                )
            else:
                console.print(line, markup=False, highlight=False, soft_wrap=True)


_STYLES = {"right": "green", "failed": "yellow", "malformed": "red", "no_answer": "red", "out_of_budget": "red"}


def _line(row: "IndexRow") -> str:
    reward = "" if row.reward is None else f"{row.reward.total:g}"
    step = "" if row.step is None else f"{row.step}"
    workflow = " > ".join(row.operators) or "(no call)"
    return f"{row.id}  {step:>4}  {row.outcome or 'unjudged':<13} {reward:>5}  {workflow}  | {row.question}"
