"""``workflow-r1 train``."""

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from workflow_r1.cli.parameters import Overrides, Source
from workflow_r1.errors import (
    CheckpointError,
    ConfigError,
    MissingExtraError,
    ProcessLostError,
    ServiceError,
    UserError,
)
from workflow_r1.running.configuration import open_config
from workflow_r1.running.processes import command_of, is_launched, joined, launch, num_started, speak_when_ended

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from workflow_r1.config import RunConfig
    from workflow_r1.policy.distributed import Ranks

Resume = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Go on with the run in DIR from its newest checkpoint.", show_default=False),
]
RunDirectory = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Where the run goes. Default: runs/NAME-TIME.", show_default=False),
]


def train(
    config: Source = None,
    override: Overrides = None,
    resume: Resume = None,
    run_directory: RunDirectory = None,
    engine: Annotated[
        Literal["native", "trl", "verl"] | None,
        typer.Option(
            help="What trains: this process, TRL's loop, or verl on Ray. Default: the configuration's `engine`.",
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
    from workflow_r1.cli.dry_run import dry_run as estimate
    from workflow_r1.running.policies import require_trainable
    from workflow_r1.running.terminal import Terminal

    overrides = [*(override or []), *([f"engine={engine}"] if engine else [])]
    settings = open_run(config, overrides, resume, run_directory)
    require_trainable(settings)
    console = Terminal()
    if settings.engine == "verl":
        if processes > 1:
            raise ConfigError(
                "expected --processes with the native engine alone: verl starts its own, as its options say"
            )
        from workflow_r1.cli.train_verl import show_options, train_on_verl

        if dry_run:
            show_options(settings, console)
            return
        if exit_code := train_on_verl(settings, console, resume, run_directory):
            raise typer.Exit(exit_code)
        return
    if dry_run:
        if resume is not None:
            raise ConfigError("expected --dry-run without --resume: it estimates a whole run before it starts")
        estimate(settings, console)
        return
    if processes > 1:
        exit_code = _launch(settings, console, processes, config, overrides, resume, run_directory)
    else:
        with joined(settings) as ranks:
            if ranks is not None and not ranks.is_main:
                console = Terminal(quiet=True, force_terminal=False)
            exit_code = _train(settings, console, resume, run_directory, ranks)
    if exit_code:
        raise typer.Exit(exit_code)


def open_run(
    config: str | None, override: list[str] | None, resume: Path | None, run_directory: Path | None
) -> "RunConfig":
    """The configuration of a new run, or of the run that goes on.

    Raises:
        ConfigError: both are asked for.
        CheckpointError: there is nothing to go on with.
    """
    if resume is None:
        return open_config(config, override)
    if config is not None or run_directory is not None:
        raise ConfigError(
            "expected --resume alone: the run's own config.toml says the rest; single keys can be changed with -o"
        )
    if not (resume / "config.toml").is_file():
        raise CheckpointError(f"expected a run directory to resume, found no config.toml in {resume}")
    return open_config(str(resume / "config.toml"), override)


def _launch(
    settings: "RunConfig",
    console: "Console",
    num: int,
    config: str | None,
    overrides: list[str],
    resume: Path | None,
    run_directory: Path | None,
) -> int:
    """Run the command in several processes; the place of the run is chosen here, to say how to go on with it."""
    from workflow_r1.running.run_directory import check_place, choose_place

    check_place(run_directory)
    directory = resume or run_directory or choose_place(settings)
    source = [] if config is None else [config]
    place = ["--run-directory" if resume is None else "--resume", str(directory)]

    def go_on() -> str:
        checkpoints = _checkpoints(directory)
        if not checkpoints and resume is None:
            return "There is no checkpoint yet: repair the cause and start again"
        kept = f"The checkpoint {checkpoints[-1]} stands" if checkpoints else "There is no checkpoint yet"
        return f"{kept}; go on with:  [bold]{command_of(f'--resume {show_path(directory)}', num)}[/]"

    arguments = ["train", *source, *place, *(part for override in overrides for part in ("-o", override))]
    return launch(arguments, num=num, tell=lambda line: console.print(line, soft_wrap=True), go_on=go_on)


def _train(
    config: "RunConfig", console: "Console", resume: Path | None, chosen: Path | None, ranks: "Ranks | None"
) -> int:
    from workflow_r1.assembly.components import (
        build_environment_factory,
        build_questions,
        build_services,
        open_accounts,
    )
    from workflow_r1.cli.budget import EXIT_CODE, tell_used_up
    from workflow_r1.reports import open_trackers
    from workflow_r1.running.display import stop_once, watch
    from workflow_r1.running.policies import special_tokens
    from workflow_r1.running.run_directory import check_place, discard_if_unused, make_run_directory, write_description
    from workflow_r1.running.services import check_services

    is_main = ranks is None or ranks.is_main
    together = nullcontext if ranks is None else ranks.agreeing
    # All that can be refused is refused before anything is written, and what is cheap to refuse before torch is imported.
    with together():
        if resume is None and is_main:
            check_place(chosen)
    with together(), console.status("getting ready"):
        train_questions, evaluation_questions = build_questions(config)
        accounts = open_accounts(config)
        services = build_services(config, accounts=accounts)
        check_services(config, services)
        make_environment = build_environment_factory(config, services=services, special_tokens=special_tokens(config))

        make_trainer = _trainer_of(config)
        from workflow_r1.recording.events import EvaluationFinished, Event, RunStarted, StepFinished

    with together():
        directory = resume or (make_run_directory(config, chosen) if is_main else Path())
    directory = directory if ranks is None else ranks.from_main(directory)
    place = show_path(directory)
    go_on = command_of(f"--resume {place}", num_started())
    speak_when_ended(lambda: tell_aborted(console, directory, go_on))
    trackers = []
    try:
        trackers = list(open_trackers(config, directory)) if is_main else []
        with watch(console, config.title, place) as display:

            def on_event(event: Event) -> None:
                display.receive(event)
                if isinstance(event, RunStarted) and resume is not None:
                    # The checkpoint has taken the overrides: from here on they are the run's.
                    write_description(directory, config)
                # The line of a step holds its evaluation; only the one before the first step has no line of a step.
                if isinstance(event, StepFinished) or (isinstance(event, EvaluationFinished) and event.step == 0):
                    for tracker in trackers:
                        tracker.log(event.metrics, step=event.step)

            trainer = make_trainer(
                config=config,
                run_directory=directory,
                train_questions=train_questions,
                evaluation_questions=evaluation_questions,
                make_environment=make_environment,
                on_event=on_event,
                accounts=accounts,
                ranks=ranks,
            )
            with stop_once(trainer.request_stop, display.note):
                result = trainer.run(resume=resume is not None)
    except UserError:
        if is_main:
            discard_if_unused(directory)
        raise
    except (ServiceError, ProcessLostError) as error:
        if not (isinstance(error, ProcessLostError) and is_launched()):
            tell_aborted(console, directory, go_on)
        raise
    except KeyboardInterrupt:
        tell_aborted(console, directory, go_on)
        raise typer.Exit(130) from None
    finally:
        for tracker in trackers:
            tracker.close()
    if is_main:
        draw_report(directory, console)
    if result.cause == "interrupted":
        console.print(f"stopped at step {result.step}; go on with:  [bold]{go_on}[/]", soft_wrap=True)
        return 130
    if result.exceeded is not None:
        kept = f"What is complete up to step {result.step} is kept"
        tell_used_up(console, result.exceeded, go_on, kept=kept)
        return EXIT_CODE
    console.print(f"\nThe run is in [bold]{place}[/]. Next:", soft_wrap=True)
    for command, purpose in (
        (f"workflow-r1 ask -c {place}", "watch the trained policy answer a held-out question"),
        (f"workflow-r1 report {place}", "figures, curve and example trajectories"),
        (f"workflow-r1 evaluate {place} --method ensemble", "what a fixed workflow reaches"),
    ):
        console.print(f"  [bold cyan]{command}[/]  [dim]{purpose}[/]", soft_wrap=True)
    return 0


def _trainer_of(config: "RunConfig") -> "Callable[..., Any]":
    """What makes the trainer of the configured engine.

    Raises:
        MissingExtraError: the engine's packages are not installed, or not in a tested version.
    """
    if config.engine == "trl":
        from workflow_r1.cli.train_trl import TrlTrainer
        from workflow_r1.engines.trl.versions import require_tested_trl

        require_tested_trl()
        return TrlTrainer
    from workflow_r1.engines.native.trainer import Trainer

    return Trainer


def _checkpoints(directory: Path) -> list[str]:
    """Names of a run's checkpoints, the newest last: ``step-N`` of the native engine, ``checkpoint-N`` of TRL."""
    names = [path.name for kind in ("step", "checkpoint") for path in (directory / "checkpoints").glob(f"{kind}-*")]
    return sorted(names, key=lambda name: int(name.rpartition("-")[2]))


def tell_aborted(console: "Console", directory: Path, go_on: str) -> None:
    """Say what a second Ctrl-C left behind."""
    if _checkpoints(directory):
        console.print(f"aborted; the newest checkpoint stands:  [bold]{go_on}[/]", soft_wrap=True)
    else:
        console.print(f"aborted before the first checkpoint; to start over:  [bold]{go_on}[/]", soft_wrap=True)


def draw_report(directory: Path, console: "Console") -> None:
    """Draw the curve and write the summary; a run that has no step yet has neither."""
    from workflow_r1.errors import DataError
    from workflow_r1.reports import draw_curve, read_run, write_summary
    from workflow_r1.trajectory.storage import write_atomically

    try:
        run = read_run(directory)
    except DataError:
        return
    try:
        pictures = [path.name for path in draw_curve(run) if path.suffix == ".png"]
    except MissingExtraError as error:
        console.print(f"no picture: {error}", markup=False, soft_wrap=True)
        pictures = []
    write_atomically(directory / "report.md", write_summary(run, pictures=pictures))


def show_path(path: Path) -> str:
    """A path as a person would type it: relative where it lies below the working directory, quoted where needed."""
    import shlex

    here = Path.cwd()
    absolute = path.resolve()
    return shlex.quote(str(absolute.relative_to(here) if absolute.is_relative_to(here) else path))
