"""``workflow-r1 frontier``."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from workflow_r1.cli.parameters import Overrides, Source, Trust
from workflow_r1.errors import UserError

Number = TypeVar("Number", int, float)


def frontier(
    config: Source = None,
    override: Overrides = None,
    trust: Trust = False,
    dial: Annotated[
        str, typer.Option(metavar="NUMBER,...", help="Settings of reward.cost.dial, each from 0 to below 1.")
    ] = "0,0.1,0.3,0.6,0.9",
    seed: Annotated[str, typer.Option(metavar="N,...", help="Seeds: each setting is trained under all of them.")] = "0,1,2",
    method: Annotated[
        list[str] | None,
        typer.Option("--method", "-m", metavar="NAME,...", help="Methods beside the policies: docs/reference/methods.md. Repeatable."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Ask only the first N held-out questions.", show_default=False)
    ] = None,
    output: Annotated[
        Path, typer.Option(metavar="DIR", help="Directory of all runs and of the evaluation; what is done there stays done.")
    ] = Path("runs/frontier"),
) -> None:  # fmt: skip
    """Trace accuracy against cost: train a policy for each setting of the cost dial, and ask it beside other methods.

    The report in DIR/evaluation/report holds the picture. The same command continues after an interruption.
    """
    from workflow_r1.cli.report import show_report
    from workflow_r1.running.configuration import open_config
    from workflow_r1.running.display import AnsweringDisplay, TrainingDisplay, show_path
    from workflow_r1.running.evaluation import evaluate
    from workflow_r1.running.frontier import plan_frontier
    from workflow_r1.running.planned import is_trained, train_run
    from workflow_r1.running.policies import require_trainable
    from workflow_r1.running.terminal import Terminal

    settings = open_config(config, override, trust=trust)
    require_trainable(settings.policy)
    plan = plan_frontier(
        settings, dials=_read(dial, float, "--dial"), seeds=_read(seed, int, "--seed"), directory=output,
        methods=[name for each in method or [] for name in each.split(",") if name], limit=limit,
    )  # fmt: skip
    console = Terminal()
    if plan.settings(plan.dials[0], plan.seeds[0]).objective.advantage != settings.objective.advantage:
        console.print(
            "every run takes objective.advantage = group_centred: the dial needs it", style="dim", soft_wrap=True
        )
    try:
        for number, (setting, of_seed) in enumerate(plan.runs, start=1):
            run = plan.planned(setting, of_seed)
            if is_trained(run):
                continue
            console.print(f"\nrun {number} of {len(plan.runs)}: {run.title}", style="bold")
            with TrainingDisplay(console) as display:
                result = train_run(run, on_event=display.receive)
            if result.exceeded is not None:
                raise result.exceeded
            if result.cause == "interrupted":
                raise KeyboardInterrupt
        with AnsweringDisplay(console) as answering:
            done = evaluate(plan.evaluation(), directory=output / "evaluation", on_event=answering.receive)
    except KeyboardInterrupt:
        console.print(f"\ninterrupted; the same command continues in {show_path(output)}", soft_wrap=True)
        raise typer.Exit(130) from None
    if done.report is not None:
        show_report(console, done.report)


def _read(given: str, kind: Callable[[str], Number], option: str) -> list[Number]:
    try:
        return [kind(part) for part in given.split(",")]
    except ValueError:
        wanted = "whole numbers" if kind is int else "numbers"
        raise UserError(f"{option}: expected {wanted} with commas between, received {given!r}") from None
