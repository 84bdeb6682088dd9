"""``workflow-r1 rollout``."""

from pathlib import Path
from typing import Annotated

import typer

from workflow_r1.cli.parameters import Method, Overrides, Questions, Source, Trust
from workflow_r1.errors import BudgetExceededError


def rollout(
    config: Source = None,
    override: Overrides = None,
    trust: Trust = False,
    output: Annotated[
        Path, typer.Option("--output", metavar="FILE", help="JSONL of trajectories; must not exist yet.")
    ] = Path("trajectories.jsonl"),
    questions: Questions = None,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Ask only the first N questions.", show_default=False)
    ] = None,
    group_size: Annotated[int, typer.Option(min=1, metavar="N", help="Trajectories of each question.")] = 1,
    method: Method = "policy",
    temperature: Annotated[
        float | None,
        typer.Option(
            min=0.0, metavar="NUMBER", help="Sampling temperature. Default: the configuration's.", show_default=False
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(metavar="N", help="Seed of the sampling. Default: the configuration's.", show_default=False),
    ] = None,
) -> None:
    """Sample trajectories of a policy over questions into a JSONL file."""
    from workflow_r1.cli.budget import EXIT_CODE, tell_used_up
    from workflow_r1.cli.usage import print_usage
    from workflow_r1.running.configuration import open_config, with_questions
    from workflow_r1.running.display import AnsweringDisplay
    from workflow_r1.running.rollouts import roll_out
    from workflow_r1.running.terminal import Terminal

    settings = with_questions(open_config(config, override, trust=trust), questions)
    console = Terminal()
    try:
        with AnsweringDisplay(console) as display:
            done = roll_out(
                settings, output=output, method=method, limit=limit, group_size=group_size, temperature=temperature,
                seed=seed, on_event=display.receive,
            )  # fmt: skip
    except BudgetExceededError as exceeded:
        tell_used_up(console, exceeded, None, kept=_kept(output))
        raise typer.Exit(EXIT_CODE) from None
    except KeyboardInterrupt:
        console.print(f"\ninterrupted. {_kept(output)}", soft_wrap=True, markup=False)
        raise typer.Exit(130) from None
    print_usage(console, done.trajectories(), currency=settings.prices.currency, accounts=done.accounts)
    console.print(f"trajectories in {output}", style="dim", soft_wrap=True, markup=False)


def _kept(output: Path) -> str:
    return f"The trajectories that were finished are in {output}" if output.exists() else "None was finished"
