"""``workflow-r1 study``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workflow_r1.cli.parameters import Trust
from workflow_r1.errors import ProcessLostError

if TYPE_CHECKING:
    from rich.console import Console

    from workflow_r1.running.planned import PlannedRun
    from workflow_r1.running.study import StudyPlan


def study(
    file: Annotated[Path, typer.Argument(metavar="STUDY.toml", help="The study: docs/how-to/study.md.")],
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Directory of all runs and of the table; what is done there stays done. Default: runs/study-NAME.",
            show_default=False,
        ),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, metavar="N", help="Processes of one thread that train at a time.")] = 1,
    share: Annotated[
        str, typer.Option(metavar="K/N", help="Train only the K-th of N parts of the seeds, on one of N machines.")
    ] = "1/1",
    merge: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR",
            help="First take over the runs that are further along in another directory of this study. Repeatable.",
        ),
    ] = None,
    table: Annotated[bool, typer.Option("--table", help="Train nothing; write the table of what is finished.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Train each arm for one step, say what the study will cost, and leave.")
    ] = False,
    trust: Trust = False,
) -> None:
    """Compare training settings: every arm under every seed, one table with intervals, and the smallest visible difference.

    The same command continues after an interruption.
    """
    from workflow_r1.running.display import show_path
    from workflow_r1.running.study import carry_out, plan_study
    from workflow_r1.running.study import merge as merge_runs
    from workflow_r1.running.terminal import Terminal

    console = Terminal()
    plan = plan_study(file, directory=output, share=share, trust=trust)
    if dry_run:
        _show_cost(plan, console, jobs)
        return
    for other in merge or []:
        console.print(f"{show_path(other)}: {merge_runs(plan, other)} runs taken over", soft_wrap=True)
    done = 0

    def tell(run: "PlannedRun") -> None:
        nonlocal done
        done += 1
        console.print(f"{done} done: {run.title}", markup=False, soft_wrap=True)

    if not table:
        try:
            carry_out(plan, jobs=jobs, on_done=tell)
        except KeyboardInterrupt:
            console.print(f"\ninterrupted; the same command continues in {show_path(plan.directory)}", soft_wrap=True)
            raise typer.Exit(130) from None
        except ProcessLostError as error:
            raise ProcessLostError(f"{error}; the same command continues in {plan.directory}") from None
    _show_table(plan, console)


def _show_table(plan: "StudyPlan", console: "Console") -> None:
    from workflow_r1.running.display import show_path
    from workflow_r1.running.study import report_study

    _, missing = report_study(plan)
    console.print((plan.directory / "table.md").read_text("utf-8"), markup=False, highlight=False, soft_wrap=True)
    if missing is not None:
        console.print(f"no pictures: {missing}", style="yellow", markup=False, soft_wrap=True)
    console.print(f"Everything is in [bold]{show_path(plan.directory)}[/].", soft_wrap=True)


def _show_cost(plan: "StudyPlan", console: "Console", jobs: int) -> None:
    from workflow_r1.cli.tables import print_table
    from workflow_r1.running.study_estimate import estimate_study, total_minutes

    with console.status("getting ready") as status:
        costs = estimate_study(plan, on_start=lambda title: status.update(f"one step of {title}"))
    rows = [
        [
            cost.world,
            cost.arm,
            f"{cost.step:.1f}",
            f"{cost.evaluation:.1f}",
            f"{cost.num_steps}",
            f"{cost.num_evaluations}",
            f"{cost.seconds:.0f}",
            f"{cost.num_runs}",
            f"{cost.seconds * cost.num_runs / 60:.0f}",
        ]
        for cost in costs
    ]
    head = ["world", "arm", "s a step", "s an evaluation", "steps", "evaluations", "s a run", "runs", "minutes"]
    print_table(console, f"{plan.study.name}: CPU time on one thread", head, rows)
    minutes = total_minutes(costs)
    for line in (
        f"In all {minutes:.0f} CPU minutes: {minutes / jobs:.0f} minutes with --jobs {jobs} on as many idle cores.",
        "Scaled from one step of the untrained policy; one that learns to write more or less costs more or less. Runs of "
        "the tuning count as whole runs. The stop rule, if there is one, may end the study earlier.",
    ):
        console.print(line, style="dim", markup=False, soft_wrap=True)
