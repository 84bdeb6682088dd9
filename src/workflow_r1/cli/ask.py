"""``workflow-r1 ask``."""

from typing import TYPE_CHECKING, Annotated

import typer

from workflow_r1.cli.parameters import Overrides, SourceOption, open_config
from workflow_r1.errors import ConfigError
from workflow_r1.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from workflow_r1.config import RunConfig
    from workflow_r1.environment import Environment, Step
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
        typer.Option("--method", "-m", help="policy, or a fixed workflow: direct, answer-generate, self-consistency."),
    ] = "policy",
    temperature: Annotated[float, typer.Option(min=0.0, help="Of the policy; 0 is greedy.")] = 0.0,
    seed: Annotated[
        int | None, typer.Option(help="Picks the held-out question, and seeds the sampling.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the trajectory as JSON and nothing else.")] = False,
) -> None:
    """Ask one question and watch how the policy gets to its answer, turn by turn."""
    import asyncio

    from workflow_r1.cli.policies import POLICY, open_method
    from workflow_r1.cli.services import check_services
    from workflow_r1.cli.terminal import Terminal
    from workflow_r1.rewards import score_trajectory
    from workflow_r1.rollout import derive_seed, rollout

    settings = open_config(config, override)
    asked = _choose_question(settings, question, seed)
    console = Terminal()
    with Terminal(stderr=True).status("getting ready"):
        opened = open_method(settings, method, temperature=temperature)
        check_services(settings, opened.services, policy=method == POLICY)
    make_environment = opened.make_environment
    if not as_json:
        _show_question(console, settings, asked, opened.policy.name)
        make_environment = _traced(make_environment, console)
    number = settings.seed if seed is None else seed

    async def run() -> "Trajectory":
        async with opened:
            return await rollout(
                asked,
                policy=opened.policy,
                environment=make_environment(asked),
                trajectory_id=f"ask-{asked.id}",
                group_id=f"ask-{asked.id}",
                seed=derive_seed(number, "ask", asked.id),
            )

    trajectory = asyncio.run(run())
    if asked.golden_answers and not trajectory.stop_reason.is_infrastructure:
        trajectory = score_trajectory(trajectory)
    if as_json:
        typer.echo(trajectory.model_dump_json())
    else:
        _show_outcome(console, trajectory)
    if trajectory.stop_reason.is_infrastructure:
        typer.secho(printable(f"error: {trajectory.error or trajectory.stop_reason}"), fg="red", err=True)
        raise typer.Exit(1)


def _choose_question(config: "RunConfig", text: str | None, seed: int | None) -> "Question":
    import random

    from workflow_r1.config.components import build_evaluation_questions
    from workflow_r1.trajectory import Question

    if text is None:
        held_out = build_evaluation_questions(config, max(1, config.training.evaluation_questions))
        return random.Random(seed).choice(held_out)
    if not text.strip():
        raise ConfigError("expected a question, received an empty text")
    return Question(id="asked", text=text.strip(), golden_answers=())


def _traced(
    make_environment: "Callable[[Question], Environment]", console: "Console"
) -> "Callable[[Question], Environment]":
    """Show each turn as soon as it is written, and what came back as soon as it is there."""

    def make(question: "Question") -> "Environment":
        environment = make_environment(question)
        step, number = environment.step, 0

        async def traced_step(text: str) -> "Step":
            nonlocal number
            number += 1
            _show_turn(console, number, text)
            result = await step(text)
            _show_result(console, result)
            return result

        environment.step = traced_step  # type: ignore[method-assign]
        return environment

    return make


def _show_question(console: "Console", config: "RunConfig", question: "Question", policy: str) -> None:
    from rich.panel import Panel
    from rich.text import Text

    from workflow_r1.evaluation import question_class

    body = Text(question.text, style="bold")
    if question.golden_answers:
        body.append(f"\ngold: {', '.join(question.golden_answers)}   ({question_class(question)})", style="dim")
    console.print(
        Panel(
            body,
            title=Text(config.title),
            subtitle=Text(policy, style="dim"),
            title_align="left",
            subtitle_align="right",
        )
    )


def _show_turn(console: "Console", number: int, text: str) -> None:
    from rich.text import Text

    from workflow_r1.prompts import parse_turn

    parsed = parse_turn(text)
    # Of a malformed turn everything is shown: that is where the fault can be seen.
    thought = Text(text, style="red") if parsed.malformed else Text(parsed.think or "", style="italic")
    console.print(Text(f"\n{number}", style="bold cyan"), thought)
    for call in parsed.calls:
        line = Text("  → ", style="dim")
        line.append(call.operator, style="bold yellow")
        line.append(f"  {call.input}")
        console.print(line)


def _show_result(console: "Console", step: "Step") -> None:
    from rich.padding import Padding
    from rich.text import Text

    for call in step.calls:
        cost = f"   {call.seconds:.2f} s" + (
            f", {_count(call.usage.llm_calls, 'LLM call')}" if call.usage.llm_calls else ""
        )
        body = Text(call.observation, style="green" if call.valid else "red")
        body.append(cost, style="dim")
        console.print(Padding(body, (0, 0, 0, 4)))
    if not step.calls and step.observation:
        told = step.observation.removeprefix("<info>").removesuffix("</info>")
        console.print(Padding(Text(told, style="dim"), (0, 0, 0, 4)))


def _show_outcome(console: "Console", trajectory: "Trajectory") -> None:
    from rich.text import Text

    from workflow_r1.trajectory import ScoredTrajectory

    line = Text("\n")
    if trajectory.answer is None:
        line.append(f"no answer ({trajectory.stop_reason})", style="bold red")
    else:
        line.append(trajectory.answer, style="bold")
    if isinstance(trajectory, ScoredTrajectory):
        right = trajectory.reward.exact_match == 1.0
        line.append("  ✓ right" if right else "  ✗ wrong", style="bold green" if right else "bold red")
        line.append(f"   reward {trajectory.reward.total:g}", style="dim")
    console.print(line)
    calls = sum(len(turn.calls) for turn in trajectory.turns)
    usage = trajectory.usage
    parts = [
        _count(len(trajectory.turns), "turn"),
        _count(calls, "operator call"),
        f"{_count(usage.llm_calls, 'LLM call')} ({usage.prompt_tokens + usage.completion_tokens} tokens)",
        *([f"{trajectory.num_policy_tokens} policy tokens"] if trajectory.num_policy_tokens else []),
        f"{trajectory.seconds:.1f} s",
    ]
    console.print(Text(", ".join(parts), style="dim"))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
