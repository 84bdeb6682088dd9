"""``workflow-r1 ask``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workflow_r1.cli.parameters import Overrides, SourceOption
from workflow_r1.errors import ConfigError
from workflow_r1.printable import printable
from workflow_r1.running.configuration import open_config

if TYPE_CHECKING:
    from workflow_r1.config import RunConfig
    from workflow_r1.trajectory import Question, Trajectory


def ask(
    question: Annotated[
        str | None,
        typer.Argument(
            metavar="QUESTION", help="Without one: a held-out question of the configuration.", show_default=False
        ),
    ] = None,
    config: SourceOption = None,
    override: Overrides = None,
    method: Annotated[
        str,
        typer.Option(
            "--method", "-m", help="policy, or a fixed workflow such as direct, cot or ensemble: docs/methods.md."
        ),
    ] = "policy",
    temperature: Annotated[float, typer.Option(min=0.0, help="Of the policy; 0 is greedy.")] = 0.0,
    seed: Annotated[
        int | None, typer.Option(help="Picks the held-out question, and seeds the sampling.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the trajectory as JSON and nothing else.")] = False,
    save: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="JSONL that the trajectory is appended to; default: asked/trajectories.jsonl beside the runs.",
            show_default=False,
        ),
    ] = None,
    no_save: Annotated[bool, typer.Option("--no-save", help="Leave no file behind.")] = False,
) -> None:
    """Ask one question and watch how the policy gets to its answer, turn by turn."""
    try:
        _ask(question, open_config(config, override), method, temperature, seed, as_json, save, no_save)
    except KeyboardInterrupt:
        typer.secho("interrupted; nothing was saved", fg="yellow", err=True)
        raise typer.Exit(130) from None


def _ask(
    text: str | None,
    config: "RunConfig",
    method: str,
    temperature: float,
    seed: int | None,
    as_json: bool,
    save: Path | None,
    no_save: bool,
) -> None:
    import asyncio
    import uuid
    from contextlib import nullcontext

    from workflow_r1.rewards import score_trajectory
    from workflow_r1.rollout import derive_seed, rollout
    from workflow_r1.running.policies import POLICY, open_method
    from workflow_r1.running.saving import check_can_append
    from workflow_r1.running.services import check_services
    from workflow_r1.running.terminal import Terminal
    from workflow_r1.running.trace import LiveTrace
    from workflow_r1.trajectory import append_trajectories
    from workflow_r1.trajectory.storage import to_json_line

    if save is not None and no_save:
        raise ConfigError("expected either --save or --no-save, received both")
    file = None if no_save else save or config.directory / "asked" / "trajectories.jsonl"
    if file is not None:
        check_can_append(file, option="--save")
    asked = _choose_question(config, text, seed)
    console = Terminal()
    with Terminal(stderr=True).status("getting ready"):
        opened = open_method(config, method, temperature=temperature, questions=[asked])
        check_services(config, opened.services, policy=method == POLICY)
    trace = LiveTrace(console, currency=config.prices.currency)
    if not as_json:
        trace.show_question(asked, title=config.title, policy=opened.policy.name)
    name = f"ask-{uuid.uuid4().hex[:16]}"

    async def run() -> "Trajectory":
        async with opened:
            return await rollout(
                asked,
                policy=opened.policy,
                environment=opened.make_environment(asked),
                trajectory_id=name,
                group_id=name,
                seed=derive_seed(config.seed if seed is None else seed, "ask", asked.id),
                on_event=None if as_json else trace.receive,
            )

    with nullcontext() if as_json else trace.live():
        trajectory = asyncio.run(run())
    if asked.golden_answers and not trajectory.stop_reason.is_infrastructure:
        trajectory = score_trajectory(trajectory)
    if as_json:
        typer.echo(to_json_line(trajectory), nl=False)
    else:
        trace.show_outcome(trajectory)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        append_trajectories(file, [trajectory])
        typer.secho(f"saved to {file}", dim=True, err=as_json)
    if trajectory.stop_reason.is_infrastructure:
        typer.secho(printable(f"error: {trajectory.error or trajectory.stop_reason}"), fg="red", err=True)
        raise typer.Exit(1)


def _choose_question(config: "RunConfig", text: str | None, seed: int | None) -> "Question":
    import random

    from workflow_r1.assembly.components import build_evaluation_questions
    from workflow_r1.trajectory import Question

    if text is None:
        held_out = build_evaluation_questions(config, max(1, config.training.evaluation_questions))
        return random.Random(seed).choice(held_out)
    if not text.strip():
        raise ConfigError("expected a question, received an empty text")
    return Question(id="asked", text=text.strip(), golden_answers=())
