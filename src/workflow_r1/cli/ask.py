"""``workflow-r1 ask``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workflow_r1.cli.parameters import Method, OldConfigOption, Overrides, PolicyTemperature, Source, Trust
from workflow_r1.errors import ConfigError
from workflow_r1.printable import printable

if TYPE_CHECKING:
    from workflow_r1.running.asking import AskEvent


def ask(
    config: Source = None,
    question: Annotated[
        str | None,
        typer.Argument(
            metavar="QUESTION", help="The question. Default: a held-out one of the configuration.", show_default=False
        ),
    ] = None,
    override: Overrides = None,
    trust: Trust = False,
    method: Method = "policy",
    temperature: PolicyTemperature = 0.0,
    seed: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Seed of the sampling, which also draws the held-out question.", show_default=False
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the trajectory as JSON and nothing else.")] = False,
    save: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="JSONL file to which the trajectory is appended. Default: asked/trajectories.jsonl beside the runs.",
            show_default=False,
        ),
    ] = None,
    no_save: Annotated[bool, typer.Option("--no-save", help="Leave no file behind.")] = False,
    old_config: OldConfigOption = None,
) -> None:
    """Ask one question and watch how the policy gets to its answer, turn by turn.

    `workflow-r1 ask runs/X "Who directed Jaws?"` asks the policy of that run; without CONFIG the embedded one answers.
    """
    from workflow_r1.running.asking import QuestionAsked, split_question
    from workflow_r1.running.asking import ask as ask_method
    from workflow_r1.running.configuration import open_config
    from workflow_r1.running.saving import check_can_append
    from workflow_r1.running.terminal import Terminal
    from workflow_r1.running.trace import LiveTrace
    from workflow_r1.trajectory import append_trajectories
    from workflow_r1.trajectory.storage import to_json_line

    if old_config is not None:
        config, question = old_config, config
    source, text = (config, question) if old_config is not None else split_question(config, question)
    settings = open_config(source, override, trust=trust)
    if save is not None and no_save:
        raise ConfigError("expected either --save or --no-save, received both")
    file = None if no_save else save or settings.directory / "asked" / "trajectories.jsonl"
    if file is not None:
        check_can_append(file, option="--save")
    trace = LiveTrace(Terminal(), currency=settings.prices.currency)

    def receive(event: "AskEvent") -> None:
        if not as_json:
            trace.receive(event)
        for note in event.notes if isinstance(event, QuestionAsked) else ():
            typer.secho(note, fg="yellow", err=True)

    try:
        with Terminal(stderr=True).status("asking") if as_json else trace.live():
            trajectory = ask_method(
                settings, text, method=method, temperature=temperature, seed=seed,
                on_event=receive,
            )  # fmt: skip
    except KeyboardInterrupt:
        typer.secho("interrupted; nothing was saved", fg="yellow", err=True)
        raise typer.Exit(130) from None
    if as_json:
        typer.echo(to_json_line(trajectory), nl=False)
    else:
        trace.show_outcome(trajectory)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        append_trajectories(file, [trajectory])
        typer.secho(f"saved to {file}", dim=True, err=as_json)
    if trajectory.error is not None or trajectory.stop_reason.is_infrastructure:
        typer.secho(printable(f"error: {trajectory.error or trajectory.stop_reason}"), fg="red", err=True)
    if trajectory.stop_reason.is_infrastructure:
        raise typer.Exit(1)
