"""``workflow-r1 rollout``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workflow_r1.cli.parameters import Overrides, Source
from workflow_r1.errors import BudgetExceededError, UserError
from workflow_r1.running.configuration import open_config, open_questions, with_questions

if TYPE_CHECKING:
    from workflow_r1.trajectory import Trajectory


def rollout(
    config: Source = None,
    override: Overrides = None,
    output: Annotated[
        Path, typer.Option("--output", metavar="FILE", help="JSONL of trajectories; must not exist yet.")
    ] = Path("trajectories.jsonl"),
    questions: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Questions in place of the configuration's held-out ones.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only the first so many questions.", show_default=False)
    ] = None,
    group_size: Annotated[int, typer.Option(min=1, help="Trajectories of each question.")] = 1,
    method: Annotated[
        str,
        typer.Option(
            "--method", "-m", help="policy, or a fixed workflow such as direct, cot or ensemble: docs/methods.md."
        ),
    ] = "policy",
    temperature: Annotated[
        float | None, typer.Option(min=0.0, help="Default: the configuration's.", show_default=False)
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Default: the configuration's.", show_default=False)] = None,
) -> None:
    """Sample trajectories of a policy over questions into a JSONL file."""
    import asyncio

    from workflow_r1.cli.budget import EXIT_CODE, tell_used_up
    from workflow_r1.cli.usage import print_usage
    from workflow_r1.rewards import score_trajectory
    from workflow_r1.rollout import rollout_groups
    from workflow_r1.running.display import TrajectoryCounter
    from workflow_r1.running.policies import POLICY, open_method
    from workflow_r1.running.saving import check_can_append
    from workflow_r1.running.services import check_services
    from workflow_r1.running.terminal import Terminal
    from workflow_r1.trajectory import append_trajectories
    from workflow_r1.trajectory.storage import iterate_trajectories

    settings = with_questions(open_config(config, override), questions)
    if output.exists():
        raise UserError(f"expected a new file, but {output} exists; choose another --output")
    check_can_append(output, option="--output")
    heat = settings.sampling.temperature if temperature is None else temperature
    console = Terminal()
    with console.status("getting ready"):
        chosen = open_questions(settings, limit)
        opened = open_method(settings, method, temperature=heat, as_policy=True, questions=chosen)
        check_services(settings, opened.services, policy=method == POLICY)
    output.parent.mkdir(parents=True, exist_ok=True)
    with TrajectoryCounter(console, f"{settings.title}: {opened.policy.name}", len(chosen) * group_size) as counter:

        def keep(trajectory: "Trajectory") -> None:
            if trajectory.question.golden_answers and not trajectory.stop_reason.is_infrastructure:
                trajectory = score_trajectory(trajectory)
            append_trajectories(output, [trajectory])
            counter.count(trajectory)

        async def run() -> None:
            async with opened:
                await rollout_groups(
                    chosen,
                    policy=opened.policy,
                    make_environment=opened.make_environment,
                    group_size=group_size,
                    seed=settings.seed if seed is None else seed,
                    max_concurrency=settings.sampling.max_sessions,
                    on_trajectory=keep,
                )

        try:
            asyncio.run(run())
        except BudgetExceededError as exceeded:
            kept = f"The trajectories that were finished are in {output}" if output.exists() else "None was finished"
            tell_used_up(console, exceeded, None, kept=kept)
            raise typer.Exit(EXIT_CODE) from None
    trajectories = iterate_trajectories(output) if output.exists() else ()
    print_usage(console, trajectories, currency=settings.prices.currency, accounts=opened.accounts)
    console.print(f"trajectories in {output}", style="dim", soft_wrap=True, markup=False)
