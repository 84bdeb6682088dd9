"""Estimate of a training run's use of services, from a few trajectories."""

from collections.abc import Callable, Sequence

import numpy as np

from workflow_r1.config.training import TrainingConfig
from workflow_r1.trajectory import Trajectory
from workflow_r1.trajectory.records import Record

NUM_RESAMPLES = 2000
"""Resamples of the bootstrap."""


class Range(Record):
    """An estimate with its 95% interval."""

    estimate: float
    """Mean of the sample, scaled up."""
    low: float
    """Lower end."""
    high: float
    """Upper end."""


class Bill(Record):
    """Estimated usage of so many trajectories."""

    num_trajectories: int
    """Trajectories that it is for."""
    llm_calls: Range
    """Replies of LLMs."""
    prompt_tokens: Range | None
    """Sent; None where a service did not count them."""
    completion_tokens: Range | None
    """Received; None where a service did not count them."""
    searches: Range
    """Searches."""
    cost: Range | None
    """Price of all of them; None where one is unknown."""


def count_trajectories(training: TrainingConfig, num_questions: int) -> tuple[int, int]:
    """Return the number of trajectories of a whole run: of its training and of its evaluations.

    Args:
        training: steps, groups, evaluations.
        num_questions: held-out questions of one evaluation.
    """
    steps = range(1, training.steps + 1)
    evaluated = [step for step in steps if training.evaluate_every and step % training.evaluate_every == 0]
    num_answers = num_questions * (1 + training.evaluation_samples)
    # Before the first step, and after the last in any case.
    num_evaluations = 1 + len({*evaluated, training.steps})
    return training.steps * training.questions_per_step * training.group_size, num_evaluations * num_answers


def estimate_bill(trajectories: Sequence[Trajectory], *, num_trajectories: int, seed: int = 0) -> Bill:
    """Scale a sample up, with percentile intervals of the mean (bootstrap over trajectories, Efron 1979).

    The interval says how far the mean of so small a sample can be off; not that the policy changes while it learns.

    Args:
        trajectories: independent ones, each of another question; at least two.
        num_trajectories: number of trajectories to scale up to.
        seed: seed of the resampling.
    """
    if len(trajectories) < 2:
        raise ValueError(f"expected at least two trajectories, received {len(trajectories)}")
    usages = [trajectory.usage for trajectory in trajectories]
    chosen = np.random.default_rng(seed).integers(len(usages), size=(NUM_RESAMPLES, len(usages)))

    def scale(figure: Callable[[int], float]) -> Range:
        values = np.array([figure(index) for index in range(len(usages))], dtype=np.float64)
        low, high = np.percentile(values[chosen].mean(axis=1), (2.5, 97.5)).tolist()
        return Range(
            estimate=float(values.mean()) * num_trajectories, low=low * num_trajectories, high=high * num_trajectories
        )

    counted = all(usage.tokens is not None for usage in usages)
    costs = [usage.cost for usage in usages if usage.cost is not None]
    return Bill(
        num_trajectories=num_trajectories,
        llm_calls=scale(lambda index: usages[index].llm_calls),
        prompt_tokens=scale(lambda index: usages[index].prompt_tokens) if counted else None,
        completion_tokens=scale(lambda index: usages[index].completion_tokens) if counted else None,
        searches=scale(lambda index: usages[index].searches),
        cost=scale(lambda index: costs[index]) if len(costs) == len(usages) else None,
    )
