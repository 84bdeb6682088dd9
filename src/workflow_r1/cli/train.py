"""``workflow-r1 train`` and ``workflow-r1 warmstart``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from workflow_r1.cli.parameters import Overrides, Source, Trust
from workflow_r1.errors import ConfigError, ProcessLostError, ServiceError
from workflow_r1.running.processes import command_of, is_launched, launch, num_started, rank, speak_when_ended

if TYPE_CHECKING:
    from rich.console import Console

    from workflow_r1.config import RunConfig
    from workflow_r1.recording.events import Event
    from workflow_r1.running.engines import Engine
    from workflow_r1.running.training import TrainResult

Resume = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Resume the run in DIR from its newest checkpoint.", show_default=False),
]
Output = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Directory of the run, new or empty. Default: runs/NAME-TIME.", show_default=False
    ),
]


def train(
    config: Source = None,
    override: Overrides = None,
    trust: Trust = False,
    resume: Resume = None,
    output: Output = None,
    engine: Annotated[
        Literal["native", "trl", "verl"] | None,
        typer.Option(
            help="Training engine: this process, TRL's loop, or verl on Ray. Default: the configuration's `engine`.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Estimate what the run will cost from a few trajectories, and leave."),
    ] = False,
    processes: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="N",
            help="Train in N processes of this machine, each with a GPU of its own where there are any.",
        ),
    ] = 1,
) -> None:
    """Train a policy by reinforcement learning (GSsPO). Without CONFIG: the embedded quickstart, minutes on a CPU."""
    from workflow_r1.cli.dry_run import show_estimate, show_verl_options
    from workflow_r1.config.run import QUESTIONS
    from workflow_r1.running.engines import ENGINES
    from workflow_r1.running.policies import require_trainable
    from workflow_r1.running.terminal import Terminal
    from workflow_r1.running.training import open_run

    overrides = [*(override or []), *([f"engine={engine}"] if engine else [])]
    settings = open_run(config, overrides, resume=resume, directory=output, trust=trust)
    # The cost of rollouts can be estimated with the policy behind a server, too; it cannot be trained there.
    if not (dry_run and settings.policy.base_url is not None and settings.engine == "native"):
        require_trainable(settings.policy)
    console = Terminal()
    if settings.engine == "verl" and processes > 1:
        raise ConfigError("expected --processes with the native engine alone: verl starts its own, as its options say")
    if dry_run and settings.engine == "verl":
        show_verl_options(settings, console)
    elif dry_run:
        if resume is not None:
            raise ConfigError("expected --dry-run without --resume: it estimates a whole run before it starts")
        show_estimate(settings, console)
    elif processes > 1:
        raise typer.Exit(_launch(settings, console, processes, config, overrides, resume, output))
    else:
        result = run_engine(settings, ENGINES[settings.engine], console, resume, output)
        if rank() == 0:
            _show_next(console, result, is_of_questions=settings.task == QUESTIONS)


def warmstart(
    config: Source = None,
    override: Overrides = None,
    trust: Trust = False,
    resume: Resume = None,
    output: Output = None,
) -> None:
    """Teach a policy the grammar from demonstrations, before reinforcement learning."""
    from workflow_r1.running.display import show_path
    from workflow_r1.running.engines import WARM_START
    from workflow_r1.running.terminal import Terminal
    from workflow_r1.running.training import open_run

    settings = open_run(config, override, resume=resume, directory=output, trust=trust)
    console = Terminal()
    result = run_engine(settings, WARM_START, console, resume, output)
    if result.policy_directory is not None:
        console.print(f"\nThe policy is in [bold]{show_path(result.policy_directory)}[/]. Next:", soft_wrap=True)
    command = f"workflow-r1 train {show_path(result.directory)}"
    console.print(f"  [bold cyan]{command}[/]  [dim]reinforcement learning from it[/]", soft_wrap=True)


def run_engine(
    config: "RunConfig", engine: "Engine", console: "Console", resume: Path | None, output: Path | None
) -> "TrainResult":
    """Train, show the progress, and show how to resume a run that did not finish.

    Raises:
        typer.Exit: the run was interrupted (130), or its budget is used up (3).
    """
    from workflow_r1.cli.budget import EXIT_CODE, tell_used_up
    from workflow_r1.recording.events import RunOpened
    from workflow_r1.running.display import TrainingDisplay, show_path
    from workflow_r1.running.terminal import Terminal
    from workflow_r1.running.training import train as train_policy

    if rank() > 0:
        console = Terminal(quiet=True, force_terminal=False)
    display = TrainingDisplay(console)

    def go_on(directory: Path) -> str:
        return command_of(f"--resume {show_path(directory)}", num_started(), command=engine.resume_with)

    def tell_aborted() -> None:
        if display.directory is not None:
            _tell_aborted(console, display.directory, go_on(display.directory))

    def receive(event: "Event") -> None:
        display.receive(event)
        if isinstance(event, RunOpened):
            speak_when_ended(tell_aborted)

    try:
        with display:
            result = train_policy(
                config, on_event=receive, resume=resume is not None, directory=resume or output, engine=engine
            )
    except (ServiceError, ProcessLostError) as error:
        if not (isinstance(error, ProcessLostError) and is_launched()):
            tell_aborted()
        raise
    except KeyboardInterrupt:
        tell_aborted()
        raise typer.Exit(130) from None
    if result.cause == "interrupted":
        command = go_on(result.directory)
        console.print(f"stopped at step {result.step}; continue with:  [bold]{command}[/]", soft_wrap=True)
        raise typer.Exit(130)
    if result.exceeded is not None:
        kept = f"Everything complete up to step {result.step} is kept"
        tell_used_up(console, result.exceeded, go_on(result.directory), kept=kept)
        raise typer.Exit(EXIT_CODE)
    return result


def _launch(
    settings: "RunConfig",
    console: "Console",
    num: int,
    config: str | None,
    overrides: list[str],
    resume: Path | None,
    output: Path | None,
) -> int:
    """Run the command in several processes; the place of the run is chosen here, to say how to resume it."""
    from workflow_r1.running.display import show_path
    from workflow_r1.running.run_directory import check_place, choose_place
    from workflow_r1.running.training import newest_checkpoint

    check_place(output)
    directory = resume or output or choose_place(settings)
    source = [] if config is None else [config]
    place = ["--output" if resume is None else "--resume", str(directory)]

    def go_on() -> str:
        newest = newest_checkpoint(directory)
        if newest is None and resume is None:
            return "There is no checkpoint yet: repair the cause and start again"
        kept = f"The checkpoint {newest} stands" if newest else "There is no checkpoint yet"
        return f"{kept}; continue with:  [bold]{command_of(f'--resume {show_path(directory)}', num)}[/]"

    # Trust was settled here: the processes of the run do not ask again.
    arguments = ["train", *source, *place, "--trust", *(part for override in overrides for part in ("-o", override))]
    return launch(arguments, num=num, tell=lambda line: console.print(line, soft_wrap=True), go_on=go_on)


def _tell_aborted(console: "Console", directory: Path, go_on: str) -> None:
    """Show the state that a second Ctrl-C left behind."""
    from workflow_r1.running.training import newest_checkpoint

    if newest_checkpoint(directory):
        console.print(f"aborted; the newest checkpoint stands:  [bold]{go_on}[/]", soft_wrap=True)
    else:
        console.print(f"aborted before the first checkpoint; to start over:  [bold]{go_on}[/]", soft_wrap=True)


def _show_next(console: "Console", result: "TrainResult", *, is_of_questions: bool) -> None:
    from workflow_r1.running.display import show_path

    place = show_path(result.directory)
    console.print(f"\nThe run is in [bold]{place}[/]. Next:", soft_wrap=True)
    for command, purpose in (
        (f"workflow-r1 ask {place}", "watch the trained policy answer a held-out question"),
        (f"workflow-r1 report {place}", "figures, curve and example trajectories"),
        (f"workflow-r1 evaluate {place} --method ensemble", "the score of a fixed workflow")
        if is_of_questions
        else (f"workflow-r1 evaluate {place}", "success on all held-out instances"),
    ):
        console.print(f"  [bold cyan]{command}[/]  [dim]{purpose}[/]", soft_wrap=True)
