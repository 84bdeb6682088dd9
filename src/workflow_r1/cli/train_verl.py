"""``workflow-r1 train --engine verl``."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from workflow_r1.errors import ServiceError, UserError
from workflow_r1.running.configuration import require

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from workflow_r1.config import RunConfig
    from workflow_r1.recording.events import Event
    from workflow_r1.trajectory import Question


def train_on_verl(config: "RunConfig", console: "Console", resume: Path | None, chosen: Path | None) -> int:
    """Train on verl, and return the exit code.

    Raises:
        UserError: the configuration, the questions or the run directory cannot be used.
        MissingExtraError: verl is not installed.
        ServiceError: verl broke off, or infrastructure failed every trajectory of a step.
    """
    from workflow_r1.assembly.components import build_environment_factory, build_questions, build_services
    from workflow_r1.cli.train import draw_report, show_path, tell_aborted
    from workflow_r1.reports import open_trackers
    from workflow_r1.running.display import stop_once, watch
    from workflow_r1.running.policies import special_tokens
    from workflow_r1.running.run_directory import check_place, discard_if_unused, make_run_directory, write_description
    from workflow_r1.running.services import check_services

    require_verl()
    if resume is None:
        check_place(chosen)
    with console.status("getting ready"):
        train_questions, evaluation_questions = build_questions(config)
        services = build_services(config)
        check_services(config, services)
        build_environment_factory(config, services=services, special_tokens=special_tokens(config))

        from workflow_r1.engines.verl.options import check_possible
        from workflow_r1.engines.verl.training import VerlTraining
        from workflow_r1.policy.model import model_source
        from workflow_r1.recording import events

        check_possible(config)
    directory = resume or make_run_directory(config, chosen)
    place = show_path(directory)
    go_on = f"workflow-r1 train --resume {place}"
    trackers = list(open_trackers(config, directory))
    try:
        with watch(console, f"{config.title}, on verl", place) as display:

            def on_event(event: "Event") -> None:
                display.receive(event)
                if isinstance(event, events.RunStarted):
                    # All is checked, and no worker has started that would read it: the overrides are the run's from here.
                    write_description(directory, config)
                if isinstance(event, events.StepFinished) or (
                    isinstance(event, events.EvaluationFinished) and event.step == 0
                ):
                    for tracker in trackers:
                        tracker.log(event.metrics, step=event.step)

            training = VerlTraining(
                config=config,
                run_directory=directory,
                model=model_source(config.policy),
                train_questions=order_questions(config, train_questions),
                evaluation_questions=evaluation_questions,
                on_event=on_event,
            )
            with stop_once(
                training.request_stop, display.note, what_follows="verl ends; its newest checkpoint is what is kept"
            ):
                result = training.run(resume=resume is not None)
    except UserError:
        discard_if_unused(directory)
        raise
    except ServiceError:
        tell_aborted(console, directory, go_on)
        raise
    except KeyboardInterrupt:
        tell_aborted(console, directory, go_on)
        raise typer.Exit(130) from None
    finally:
        for tracker in trackers:
            tracker.close()
    draw_report(directory, console)
    if result.cause == "interrupted":
        console.print(f"stopped; step {result.step} is kept. Go on with:  [bold]{go_on}[/]", soft_wrap=True)
        return 130
    console.print(f"\nThe run is in [bold]{place}[/]. Next:", soft_wrap=True)
    console.print(
        f"  [bold cyan]workflow-r1 ask -c {place}[/]  [dim]watch the trained policy answer[/]", soft_wrap=True
    )
    console.print(f"  [bold cyan]workflow-r1 evaluate {place}[/]  [dim]measure it[/]", soft_wrap=True)
    return 0


def show_options(config: "RunConfig", console: "Console") -> None:
    """Show what verl would be told, every key checked against verl's own configuration, and what it would need.

    Raises:
        ConfigError: verl cannot do what is asked for, or does not know a key.
        MissingExtraError: verl is not installed.
    """
    from rich.table import Table

    require_verl()
    from workflow_r1.engines.verl.estimate import QWEN25_7B, ModelShape, estimate
    from workflow_r1.engines.verl.options import own_options, translate
    from workflow_r1.engines.verl.schema import complete
    from workflow_r1.policy.model import model_source

    folder = config.directory.resolve() / "NEW-RUN"
    options = translate(
        config,
        model=model_source(config.policy),
        run_directory=folder,
        train_file=folder / "verl" / "training.parquet",
        evaluation_file=folder / "verl" / "evaluation.parquet",
        resume=False,
    )
    own = own_options(config)
    complete(options, own)
    table = Table("verl's option", "value", "from", box=None, header_style="dim")
    for option in options:
        table.add_row(option.key, str(option.value), option.source)
    for key, value in own.items():
        table.add_row(key, str(value), "verl.options")
    console.print(table)
    file = Path(config.policy.model) / "config.json"
    known = QWEN25_7B if config.policy.model == "Qwen/Qwen2.5-7B-Instruct" else None
    shape = ModelShape.read(file) if file.is_file() else known
    if shape is None:
        console.print("\nNo estimate of memory: policy.model is no directory with a config.json.", soft_wrap=True)
        return
    console.print("\nEstimates, not measurements, for GPUs of 80 GiB:")
    for line in estimate(config, shape):
        console.print(f"  {line}", soft_wrap=True, markup=False)


def require_verl() -> None:
    """Refuse where verl or something that it needs is not installed.

    Raises:
        MissingExtraError: names the extra.
    """
    for module in ("verl", "ray", "transfer_queue", "pyarrow"):
        require(module, extra="verl", purpose="training on verl")


def order_questions(config: "RunConfig", questions: "Sequence[Question]") -> "list[Question]":
    """The questions of all steps in the order in which the native engine asks them."""
    from workflow_r1.engines.native.batching import draw

    num = config.training.steps * config.training.questions_per_step
    return [questions[index] for index in draw(len(questions), seed=config.seed, start=0, count=num)]
