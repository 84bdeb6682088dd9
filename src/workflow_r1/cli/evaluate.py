"""``workflow-r1 evaluate``."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workflow_r1.cli.parameters import Overrides, Source, open_config, open_questions, with_questions
from workflow_r1.errors import BudgetExceededError, ConfigError

if TYPE_CHECKING:
    from workflow_r1.config import RunConfig
    from workflow_r1.evaluation import EvaluationResult
    from workflow_r1.trajectory import Trajectory

ROWS = "rows.jsonl"
SUMMARY = "summary.json"
SERVICES = "services.json"
SPENT = "spent.json"


def evaluate(
    config: Source = None,
    override: Overrides = None,
    method: Annotated[
        str,
        typer.Option("--method", "-m", help="policy, or a fixed workflow: direct, answer-generate, self-consistency."),
    ] = "policy",
    questions: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Questions in place of the configuration's held-out ones.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only the first so many questions.", show_default=False)
    ] = None,
    temperature: Annotated[float, typer.Option(min=0.0, help="Of the policy; 0 is greedy.")] = 0.0,
    seed: Annotated[
        int | None, typer.Option(help="Of the sampling; default: the configuration's.", show_default=False)
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where rows and summary go; an unfinished evaluation there is gone on with."),
    ] = None,
) -> None:
    """Score a policy, or a fixed workflow, on held-out questions: exact match per class with 95% intervals, and cost."""
    import asyncio
    import json

    from workflow_r1.accounting import Spent
    from workflow_r1.cli.budget import EXIT_CODE, tell_used_up
    from workflow_r1.cli.display import TrajectoryCounter
    from workflow_r1.cli.policies import POLICY, open_method
    from workflow_r1.cli.services import check_services
    from workflow_r1.cli.tables import print_table
    from workflow_r1.cli.terminal import Terminal
    from workflow_r1.cli.train import show_path
    from workflow_r1.cli.usage import print_usage
    from workflow_r1.evaluation import evaluate as run_evaluation
    from workflow_r1.reports.summary import figures_table
    from workflow_r1.trajectory import append_trajectories
    from workflow_r1.trajectory.storage import write_atomically

    settings = with_questions(open_config(config, override), questions)
    if seed is not None:
        settings = settings.model_copy(update={"seed": seed})
    console = Terminal()
    with console.status("getting ready"):
        chosen = open_questions(settings, limit)
        opened = open_method(settings, method, temperature=temperature)
        check_services(settings, opened.services, policy=method == POLICY)

    identity = {
        "method": method,
        "policy": opened.policy.name,
        "temperature": temperature,
        "seed": settings.seed,
        "questions": str(settings.data.evaluation or "embedded"),
        "num_questions": len(chosen),
    }
    directory, done = _open_output(settings, output, method, identity)
    budget = opened.accounts.budget
    budget.restart(Spent.read(directory / SPENT))
    rows = directory / ROWS
    with TrajectoryCounter(console, f"{settings.title}: {method}", len(chosen), done=len(done)) as counter:

        def keep(trajectory: "Trajectory") -> None:
            append_trajectories(rows, [trajectory])
            counter.count(trajectory)

        async def run() -> "EvaluationResult":
            async with opened:
                return await run_evaluation(
                    chosen,
                    policy=opened.policy,
                    make_environment=opened.make_environment,
                    seed=settings.seed,
                    concurrency=settings.sampling.max_sessions,
                    done=done,
                    on_trajectory=keep,
                )

        try:
            result = asyncio.run(run())
        except KeyboardInterrupt:
            console.print(
                f"\ninterrupted; go on with the same command and  --output {show_path(directory)}", soft_wrap=True
            )
            raise typer.Exit(130) from None
        except BudgetExceededError as exceeded:
            kept = f"The rows that are done are in {show_path(directory)}; the same command with this goes on"
            tell_used_up(console, exceeded, f"--output {show_path(directory)}", kept=kept)
            raise typer.Exit(EXIT_CODE) from None
        finally:
            budget.spent.write(directory / SPENT)
    write_atomically(directory / SUMMARY, json.dumps(_summary(identity, result), indent=2, ensure_ascii=False) + "\n")
    services = {"currency": settings.prices.currency, **opened.accounts.ledger.rows()}
    write_atomically(directory / SERVICES, json.dumps(services, indent=2, ensure_ascii=False) + "\n")
    where = f"{settings.title}, {method}" + (f" ({opened.policy.name})" if opened.policy.name != method else "")
    print_table(console, where, *figures_table([("all", result.figures), *result.by_class.items()]))
    figures = result.figures
    print_usage(console, result.trajectories, currency=settings.prices.currency, accounts=opened.accounts)
    console.print(
        f"answered {figures.answered.rate:.3f}, well formed {figures.well_formed.rate:.3f}"
        + (f", {figures.policy_tokens:.0f} policy tokens per question" if figures.policy_tokens else ""),
        soft_wrap=True,
        markup=False,
    )
    console.print(f"rows and summary in {show_path(directory)}", style="dim", soft_wrap=True, markup=False)
    if result.figures.num_failed:
        error = next(t.error or str(t.stop_reason) for t in result.trajectories if t.stop_reason.is_infrastructure)
        console.print(
            f"{result.figures.num_failed} questions failed (the first: {error}); they are left out of all figures. The same "
            f"command with --output {show_path(directory)} asks them again.",
            style="yellow", soft_wrap=True, markup=False,
        )  # fmt: skip
        if not result.figures.exact_match.total:
            raise typer.Exit(1)


def _open_output(
    config: "RunConfig", output: Path | None, method: str, identity: dict[str, object]
) -> "tuple[Path, Sequence[Trajectory]]":
    """A new directory, or the one of an unfinished evaluation with the same identity and what is done of it."""
    import json

    from workflow_r1.cli.run_directory import make_run_directory
    from workflow_r1.trajectory import load_trajectories
    from workflow_r1.trajectory.storage import write_atomically

    name = "evaluation.json"
    if output is not None and (output / name).is_file():
        before = json.loads((output / name).read_text(encoding="utf-8"))
        different = [key for key in identity if before.get(key) != identity[key]]
        if different:
            told = ", ".join(f"{key} was {before.get(key)!r} and is {identity[key]!r}" for key in different)
            raise ConfigError(f"{output} holds another evaluation: {told}; choose another --output")
        return output, load_trajectories(output / ROWS) if (output / ROWS).is_file() else []
    directory = make_run_directory(config, output, kind=f"evaluation-{method}")
    write_atomically(directory / name, json.dumps(identity, indent=2, ensure_ascii=False) + "\n")
    return directory, []


def _summary(identity: dict[str, object], result: "EvaluationResult") -> dict[str, object]:
    return {
        **identity,
        "all": result.figures.model_dump(mode="json"),
        "classes": {name: figures.model_dump(mode="json") for name, figures in result.by_class.items()},
    }
