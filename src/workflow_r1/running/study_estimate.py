"""Estimate of what a study will cost, from one step of each arm."""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from workflow_r1.running.planned import PlannedRun, train_run
from workflow_r1.running.study import StudyPlan

if TYPE_CHECKING:
    from workflow_r1.config import RunConfig


@dataclass(frozen=True, slots=True)
class RunCost:
    """CPU seconds of the parts of a run of one arm in one world, on one thread."""

    world: str
    arm: str
    step: float
    """Seconds of a step."""
    evaluation: float
    """Seconds of an evaluation."""
    rest: float
    """Seconds of everything else: loading, saving, the report."""
    num_steps: int
    """Steps of a run."""
    num_evaluations: int
    """Evaluations of a run."""
    num_runs: int
    """Runs of the machine's part of the study, all those of the tuning among them, counted as whole ones."""

    @property
    def seconds(self) -> float:
        """CPU seconds of one run."""
        return self.rest + self.num_steps * self.step + self.num_evaluations * self.evaluation


def estimate_study(plan: StudyPlan, *, on_start: Callable[[str], None] = lambda title: None) -> list[RunCost]:
    """Train each arm in each world for one step, in a temporary directory, and scale it up.

    The first step is that of an untrained policy: one that learns to write less, or more, costs less, or more.

    Args:
        plan: the study.
        on_start: called with the name of each run.

    Raises:
        UserError: see ``running.training.train``.
    """
    study = plan.study
    value = None if study.tune is None else study.tune.values[0]
    tuned = dict.fromkeys(plan.tuned_as(arm) for arm in study.arms) if study.tune is not None else {}
    costs = []
    with tempfile.TemporaryDirectory(prefix="workflow-r1-study-") as folder:
        for world in study.worlds:
            for arm in study.arms_and_again:
                on_start(f"{world}: {arm}")
                config = plan.settings(world, arm, study.all_seeds[0], value=value)
                num_runs = sum(seed in plan.seeds for seed in study.seeds_of(arm))
                if study.tune is not None and world == plan.first_world and arm in tuned:
                    num_runs += len(study.tune.values) * len(study.tune.seeds)
                run = PlannedRun(arm, Path(folder) / world / arm, _shortened(config))
                costs.append(replace(_measure(run, config), world=world, arm=arm, num_runs=num_runs))
    return costs


def _shortened(config: "RunConfig") -> "RunConfig":
    from workflow_r1.config import change_settings

    return change_settings(config, {"training.steps": 1, "training.evaluate_every": 0})


def _measure(run: PlannedRun, config: "RunConfig") -> RunCost:
    from workflow_r1.reports import read_run

    wall, cpu = time.perf_counter(), time.process_time()
    train_run(run)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    record = read_run(run.directory)
    # A busy machine stretches every part alike.
    share = min(1.0, cpu / wall)
    step = record.metrics[0]["time/step_seconds"] * share
    evaluations = [row["time/evaluation_seconds"] * share for row in record.evaluations]
    # Where the step taught nothing, the second evaluation asked nothing again.
    asked = evaluations if record.metrics[0].get("policy_version") else evaluations[:1]
    evaluation = sum(asked) / max(1, len(asked))
    return RunCost(
        world="", arm="", step=step, evaluation=evaluation, rest=max(0.0, cpu - step - sum(evaluations)),
        num_steps=config.training.steps, num_evaluations=_num_evaluations(config), num_runs=0,
    )  # fmt: skip


def _num_evaluations(config: "RunConfig") -> int:
    from workflow_r1.evaluation.estimate import count_trajectories

    # As many as there are answers where each evaluation asks one question, once.
    training = config.training.model_copy(update={"evaluation_samples": 0})
    return count_trajectories(training, 1)[1]


def total_minutes(costs: Sequence[RunCost]) -> float:
    """Return the minutes of all runs on one core."""
    return sum(cost.seconds * cost.num_runs for cost in costs) / 60
