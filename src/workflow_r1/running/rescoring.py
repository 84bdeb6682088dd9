"""A stored run scored again with another reward: nothing is sampled, and the run stays as it is."""

import itertools
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from workflow_r1.errors import ConfigError, DataError
from workflow_r1.running.configuration import open_config
from workflow_r1.running.run_directory import CONFIG, check_place, make_run_directory

if TYPE_CHECKING:
    from workflow_r1.recording.metrics import Metrics
    from workflow_r1.rewards import Scorer
    from workflow_r1.trajectory import Trajectory


@dataclass(frozen=True, slots=True)
class RescoredStep:
    """One step of a run, by its own reward and by the new one."""

    before: "Metrics"
    """Its ``rollout/...`` metrics by the rewards that are stored."""
    after: "Metrics"
    """The same by the new reward, as they are written."""


@dataclass(frozen=True, slots=True)
class RescoredRun:
    """A run that was scored again."""

    directory: Path
    """Directory with the new ``config.toml``, ``metrics.jsonl`` and ``trajectories.jsonl.gz``."""
    steps: tuple[RescoredStep, ...]
    """Its steps in order."""

    def mean(self, key: str, *, before: bool) -> float | None:
        """Return the mean of a metric over all steps that have it; None where none has."""
        rows = [step.before if before else step.after for step in self.steps]
        values = [value for row in rows if (value := row.get(key)) is not None]
        return sum(values) / len(values) if values else None


def rescore_run(
    directory: Path,
    overrides: Sequence[str] = (),
    *,
    output: Path | None = None,
    trust: bool = False,
    notify: Callable[[str], None] = lambda line: None,
) -> RescoredRun:
    """Score the trajectories of a run of training with another reward, group by group as training does.

    Args:
        directory: the run directory; nothing in it is changed.
        overrides: the new reward: keys of the section ``reward``.
        output: the new directory, which must not hold anything yet. None is a place of its own among the runs.
        trust: the user trusts the run directory; that is recorded.
        notify: called with each line of progress.

    Raises:
        ConfigError: an override sets something else than the reward, or the reward cannot be used.
        DataError: there are no trajectories, or the file of them is damaged.
        RewardError: a reward function raised an error, or returned no finite number.
        UntrustedError: the run directory is not trusted, and its configuration would run code, start programs or ask services.
        UserError: the output is taken.
    """
    from workflow_r1.assembly.tasks import build_scorer, build_task
    from workflow_r1.recording.run_files import trajectories_file

    for override in overrides:
        if override.partition("=")[0].split(".")[0].strip() != "reward":
            raise ConfigError(
                f"expected keys of the section reward, received {override!r}: everything else of the run stays as it was"
            )
    if not (directory / CONFIG).is_file():
        raise DataError(f"expected a run directory with {CONFIG}, found none in {directory}")
    config = open_config(directory / CONFIG, overrides, trust=trust)
    path = trajectories_file(directory)
    if not path.is_file():
        raise DataError(f"expected the trajectories of a run at {path}, found none: `workflow-r1 train` writes them")
    check_place(output, option=None)
    score = build_scorer(config.reward, build_task(config.chosen_task))
    place = make_run_directory(config, output, kind="rescored", option=None)
    try:
        steps = tuple(_write_steps(path, place, score, config.environment.operators, notify))
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)  # It was new, and half of it would look like a whole.
        raise
    return RescoredRun(place, steps)


def _write_steps(
    path: Path, place: Path, score: "Scorer", operators: Sequence[str], notify: Callable[[str], None]
) -> "Iterator[RescoredStep]":
    from workflow_r1.recording.metrics import rollout_metrics
    from workflow_r1.recording.run_files import METRICS, RunFiles
    from workflow_r1.trajectory.storage import iterate_trajectories

    files = RunFiles(place, resume=False)
    for number, (_, of_step) in enumerate(itertools.groupby(iterate_trajectories(path), _step_of), start=1):
        trajectories = [*of_step]
        step = trajectories[0].step or number
        notify(f"step {step}")
        rescored = [each for group in _groups(trajectories) for each in score(group)]
        before, after = (rollout_metrics(each, operators=operators) for each in (trajectories, rescored))
        files.append_trajectories(rescored, step=step)
        files.append(METRICS, {"step": step, **after})
        yield RescoredStep(before, after)


def _step_of(trajectory: "Trajectory") -> int:
    """Return what the trajectories of one step share, in files of an earlier version too."""
    return trajectory.policy_version if trajectory.step is None else trajectory.step


def _groups(trajectories: "Iterable[Trajectory]") -> "Iterator[list[Trajectory]]":
    groups: dict[str, list[Trajectory]] = {}
    for trajectory in trajectories:
        groups.setdefault(trajectory.group_id, []).append(trajectory)
    yield from groups.values()
