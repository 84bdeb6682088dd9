"""The figures of one run of a study, from its run directory."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from workflow_r1.config.study import StudyConfig
from workflow_r1.errors import DataError
from workflow_r1.evaluation.figures import MEASURES
from workflow_r1.recording.metrics import headline_of
from workflow_r1.reports.run_record import Row, RunRecord, read_run
from workflow_r1.reports.study.record import RunFigures

SAMPLED, GREEDY = "evaluation/sampled", "evaluation"

UPDATE = "update/"


@dataclass(frozen=True, slots=True)
class RunOfStudy:
    """A finished run, and its place in the study."""

    world: str
    arm: str
    seed: int
    directory: Path


def read_run_figures(run: RunOfStudy, study: StudyConfig) -> RunFigures:
    """Read what a run reached.

    An evaluation in which the infrastructure failed every question has no figure and is left out.

    Raises:
        DataError: the run holds no evaluation with a figure.
    """
    record = read_run(run.directory)
    if not record.evaluations:
        raise DataError(f"{run.directory}: expected evaluations, found none; set training.evaluation_questions above 0")
    stage = SAMPLED if f"{SAMPLED}/num_failed" in record.evaluations[0] else GREEDY
    measure = headline_of(record.evaluations[0], stage)
    key = f"{stage}/{measure}"
    evaluations = [row for row in record.evaluations if row.get(key) is not None]
    if not evaluations:
        raise DataError(
            f"{run.directory}: expected an evaluation with a scored answer, but the infrastructure failed all; repair the service, "
            "remove the run, and train it again"
        )
    last = evaluations[-study.last_evaluations :]
    curve = [(_num_trajectories(record, row["step"]), float(row[key])) for row in evaluations]
    result = statistics.fmean(row[key] for row in last)
    reached = next((row for row in evaluations if _is_reached(row[key], study.threshold)), None)
    return RunFigures(
        world=run.world,
        arm=run.arm,
        seed=run.seed,
        measure=f"{'sampled' if stage == SAMPLED else 'greedy'} {MEASURES[measure]}",
        result=result,
        greedy=_mean(last, f"{GREEDY}/{measure}") if stage == SAMPLED else None,
        area=_area(curve),
        collapsed=_is_collapsed(result, best=max(value for _, value in curve), share=study.collapse),
        minutes_to_threshold=None if reached is None else record.minutes_at(reached["step"]),
        trajectories_to_threshold=None if reached is None else _num_trajectories(record, reached["step"]),
        pass_all=_mean(last, f"{SAMPLED}/pass_all"),
        flip_rate=_mean(last, f"{SAMPLED}/flip_rate"),
        minutes=record.minutes_at(record.metrics[-1]["step"]),
        curve=tuple(curve),
        update=_update(record),
        revision=record.environment.get("git_revision"),
    )


def _is_collapsed(result: float, *, best: float, share: float) -> bool:
    """Say whether a result fell below a share of the best one; there is no share of a best that is negative, such as a cost."""
    return best > 0.0 and result < share * best


def _is_reached(value: float, threshold: float | None) -> bool:
    return threshold is not None and value >= threshold


def _num_trajectories(record: RunRecord, step: int) -> int:
    return sum(row["rollout/num_trajectories"] for row in record.metrics if row["step"] <= step)


def _mean(rows: Sequence[Row], key: str) -> float | None:
    values = [row[key] for row in rows if row.get(key) is not None]
    return statistics.fmean(values) if values else None


def _area(curve: Sequence[tuple[int, float]]) -> float:
    """Mean height of the curve by the trapezoid rule; that of a single point is its own."""
    width = curve[-1][0] - curve[0][0]
    if not width:
        return curve[-1][1]
    return sum((right - left) * (low + high) / 2 for (left, low), (right, high) in pairwise(curve)) / width


def _update(record: RunRecord) -> dict[str, float]:
    """Reduce the updates of all steps; a step that learned from nothing has none."""
    reduced = {}
    for key in record.keys(UPDATE):
        name, (_, values) = key.removeprefix(UPDATE), record.series(key)
        if not values:
            continue
        reduce = min if name.endswith("_min") else max if name.endswith("_max") else statistics.fmean
        reduced[name] = float(reduce(values))
    return reduced
