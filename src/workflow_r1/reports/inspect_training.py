"""Trajectories of a run of training, or of any file, as logs of Inspect AI: a log for each step.

The trajectories of a question are its epochs, and the reward stands beside exact match and F1. Inspect's writer takes more
than in proportion to the samples of a log, which a step keeps small.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import fmean
from typing import Any

from inspect_ai.log import (
    EvalConfig,
    EvalDataset,
    EvalLog,
    EvalMetric,
    EvalPlan,
    EvalPlanStep,
    EvalResults,
    EvalSample,
    EvalScore,
    EvalSpec,
    EvalStats,
    HeadlineMetric,
)
from inspect_ai.scorer import Score

from workflow_r1.evaluation.harness import make_row
from workflow_r1.reports.inspect_logs import as_time, stable_id, sum_usage, write_log
from workflow_r1.reports.inspect_samples import make_sample
from workflow_r1.trajectory import ScoredTrajectory, Trajectory

REWARD = "reward"
"""Name of the score that a step of training is shown by."""


@dataclass(frozen=True, slots=True)
class Source:
    """Origin of the trajectories of some logs."""

    name: str
    """Name of the run."""
    llm: str
    """Name of the LLM behind the operators."""
    began: datetime
    """Time at which the run began."""
    ended: datetime
    """Time of its last trajectory."""
    is_simulation: bool
    """True where the operators were simulated."""
    metadata: dict[str, Any]
    """Anything else that the logs shall say of it, as plain JSON."""


def write_step(path: Path, source: Source, trajectories: Iterable[Trajectory], *, step: int | None) -> EvalLog:
    """Write the log of one step.

    Args:
        path: file of the log, ending in ``.eval``; replaced where it exists.
        source: origin of the trajectories.
        trajectories: trajectories of the step, at least one.
        step: the step; None for trajectories outside of training.

    Raises:
        OSError: the log cannot be written.
    """
    log = _make_log(source, list(trajectories), step)
    write_log(path, log)
    return log


def _make_log(source: Source, trajectories: Sequence[Trajectory], step: int | None) -> EvalLog:
    task = "trajectories" if step is None else f"training step {step}"
    created = as_time(source.began)
    policy = trajectories[0].policy or "policy"
    samples = list(_samples(source, trajectories))
    scored = [each for each in trajectories if isinstance(each, ScoredTrajectory)]
    ids = list(dict.fromkeys(str(sample.id) for sample in samples))
    names = sorted({each.question.dataset for each in trajectories if each.question.dataset})
    headline = HeadlineMetric(scorer=REWARD, score=REWARD, metric="mean")
    return EvalLog(
        status="success",
        eval=EvalSpec(
            eval_id=stable_id(source.name, created, task),
            run_id=stable_id(source.name, created),
            task_id=stable_id(source.name, task),
            created=created,
            task=task,
            solver=policy,
            tags=["simulation"] if source.is_simulation else None,
            dataset=EvalDataset(name=", ".join(names) or source.name, samples=len(ids), sample_ids=list(ids)),
            model=policy,
            config=EvalConfig(
                epochs=max(sample.epoch for sample in samples), epochs_reducer=["mean"], fail_on_error=False
            ),
            metadata=source.metadata,
            headline_metric=HeadlineMetric(score=REWARD, metric="mean"),
        ),
        plan=EvalPlan(name=policy, steps=[EvalPlanStep(solver=policy)]),
        results=EvalResults(
            total_samples=len(samples),
            completed_samples=sum(sample.error is None for sample in samples),
            scores=list(_scores(scored, num_left_out=len(trajectories) - len(scored))),
            headline=headline if scored else None,
        ),
        stats=EvalStats(
            started_at=created,
            completed_at=as_time(max(source.began, source.ended)),
            model_usage=sum_usage(sample.model_usage for sample in samples),
            role_usage=sum_usage(sample.role_usage for sample in samples),
        ),
        samples=samples,
    )


def _samples(source: Source, trajectories: Sequence[Trajectory]) -> Iterable[EvalSample]:
    epochs: Counter[str] = Counter()
    for trajectory in trajectories:
        epochs[trajectory.question.id] += 1
        epoch = epochs[trajectory.question.id]
        row = make_row(trajectory, method="policy", benchmark=source.name, seed=trajectory.seed, repeat=epoch - 1)
        uuid = stable_id(source.name, as_time(source.began), trajectory.id)
        sample = make_sample(row, trajectory, epoch=epoch, llm=source.llm, uuid=uuid)
        sample.metadata |= {"step": trajectory.step, "group": trajectory.group_id}
        if isinstance(trajectory, ScoredTrajectory):
            reward = Score(
                value=trajectory.reward.total, answer=trajectory.answer, metadata=dict(trajectory.reward.parts)
            )
            sample.scores = {
                REWARD: reward,
                **{name: score for name, score in (sample.scores or {}).items() if name != REWARD},
            }
        yield sample


def _scores(scored: Sequence[ScoredTrajectory], *, num_left_out: int) -> Iterable[EvalScore]:
    """Yield the plain means over the scored trajectories."""
    if not scored:
        return
    values = {REWARD: [each.reward.total for each in scored]}
    for name in ("exact_match", "f1"):
        if all(name in each.reward.parts for each in scored):
            values[name] = [each.reward.parts[name] for each in scored]
    num_questions = len({each.question.id for each in scored})
    for name, found in values.items():
        metric = "accuracy" if name == "exact_match" else "mean"
        yield EvalScore(
            name=name,
            scorer=name,
            reducer="mean" if len(found) > num_questions else None,
            scored_samples=num_questions,
            unscored_samples=num_left_out,
            metrics={metric: EvalMetric(name=metric, value=fmean(found))},
        )
