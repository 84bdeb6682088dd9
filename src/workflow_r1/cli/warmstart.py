"""``workflow-r1 warmstart``."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from workflow_r1.cli.parameters import Overrides, Source
from workflow_r1.cli.train import Resume, RunDirectory
from workflow_r1.errors import ConfigError, UserError

if TYPE_CHECKING:
    from rich.console import Console

    from workflow_r1.config import RunConfig
    from workflow_r1.trajectory import Trajectory


def warmstart(
    config: Source = None, override: Overrides = None, resume: Resume = None, run_directory: RunDirectory = None
) -> None:
    """Teach a policy the grammar from demonstrations, before reinforcement learning."""
    from workflow_r1.cli.train import open_run
    from workflow_r1.running.policies import require_trainable
    from workflow_r1.running.terminal import Terminal

    settings = open_run(config, override, resume, run_directory)
    require_trainable(settings)
    if not _warmstart(settings, Terminal(), resume, run_directory):
        raise typer.Exit(130)


def _warmstart(config: "RunConfig", console: "Console", resume: Path | None, chosen: Path | None) -> bool:
    from workflow_r1.cli.train import show_path, tell_aborted
    from workflow_r1.engines.native.warmstart import Warmstart
    from workflow_r1.running.display import stop_once, watch
    from workflow_r1.running.policies import special_tokens
    from workflow_r1.running.run_directory import discard_if_unused, make_run_directory

    special_tokens(config)  # Refuses a model that is no policy before the demonstrations, which take time.
    demonstrations = _demonstrations(config, console)
    directory = resume or make_run_directory(config, chosen, kind="warmstart")
    place = show_path(directory)
    go_on = f"workflow-r1 warmstart --resume {place}"
    try:
        with watch(console, f"{config.title}: warm start", place) as display:
            run = Warmstart(
                config=config, run_directory=directory, demonstrations=demonstrations, on_event=display.receive
            )
            with stop_once(run.request_stop, display.note):
                result = run.run(resume=resume is not None)
    except UserError:
        discard_if_unused(directory)
        raise
    except KeyboardInterrupt:
        tell_aborted(console, directory, go_on)
        raise typer.Exit(130) from None
    if not result.finished:
        console.print(f"stopped at step {result.step}; go on with:  [bold]{go_on}[/]", soft_wrap=True)
        return False
    policy = show_path(result.policy_directory)
    console.print(f"\nThe policy is in [bold]{policy}[/]. Next:", soft_wrap=True)
    console.print(f"  [bold cyan]workflow-r1 train {place}[/]  [dim]reinforcement learning from it[/]", soft_wrap=True)
    return True


def _demonstrations(config: "RunConfig", console: "Console") -> "list[Trajectory]":
    """The configured file's, or made with the embedded world's demonstrators."""
    from workflow_r1.trajectory import load_trajectories

    if config.warmstart.demonstrations is not None:
        return load_trajectories(config.warmstart.demonstrations)
    if config.data.source != "embedded":
        raise ConfigError(
            "warmstart.demonstrations: expected a JSONL of trajectories to imitate, since only the embedded world makes its "
            "own; `workflow-r1 rollout` samples some from a stronger policy or a fixed workflow"
        )
    from workflow_r1.embedded import WARM_START
    from workflow_r1.engines.native.embedded_policy import make_demonstrations

    num = config.warmstart.num_demonstrations
    with console.status(f"making {num} demonstrations") as status:
        made = make_demonstrations(
            num,
            strategy=WARM_START,
            on_progress=lambda done, total: status.update(f"making demonstrations: {done} of {total}"),
        )
    return [demonstration.trajectory for demonstration in made]
