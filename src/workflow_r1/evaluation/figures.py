"""Figures of an evaluation: proportions with their intervals, per class, and their costs."""

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

from pydantic import Field

from workflow_r1.accounting import POLICY
from workflow_r1.evaluation.usage import OperatorUsage, usage_by_operator
from workflow_r1.trajectory import ScoredTrajectory, Trajectory, Usage
from workflow_r1.trajectory.outcome import question_class
from workflow_r1.trajectory.records import Record, compares_answers

Z_95 = 1.959963984540054
"""Standard normal quantile of a two-sided 95% interval."""


def wilson_interval(successes: int, total: int, *, z: float = Z_95) -> tuple[float, float]:
    """Score interval of a proportion (Wilson 1927): honest near 0 and 1 and for small totals.

        (p + z^2/2n  +-  z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)

    Args:
        successes: between 0 and ``total``.
        total: number of trials; 0 gives the interval (0, 1).
        z: normal quantile; the default gives 95%.

    Returns:
        Lower and upper end, in [0, 1].
    """
    if not 0 <= successes <= total:
        raise ValueError(f"expected 0 <= successes <= total, received {successes} and {total}")
    if total == 0:
        return 0.0, 1.0
    p = successes / total
    centre = p + z * z / (2 * total)
    half_width = z * math.sqrt(p * (1 - p) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    low = 0.0 if successes == 0 else (centre - half_width) / scale
    high = 1.0 if successes == total else (centre + half_width) / scale
    return low, high


Measure = Literal["exact_match", "success", "reward"]
"""The figure that says how good a policy is: answers that match golden ones, or the goal of a task as the task itself
says; the reward where it does not say."""

MEASURES: dict[Measure, str] = {"exact_match": "exact match", "success": "success", "reward": "reward"}
"""Their names in words."""


def _is_absent(value: object) -> bool:
    return value is None or value == {}


class Proportion(Record):
    """A share of questions with its 95% Wilson interval."""

    successes: int
    """Questions that count."""
    total: int
    """Questions that were scored."""
    rate: float
    """``successes / total``; 0 where nothing was scored."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""

    @classmethod
    def of(cls, successes: int, total: int) -> "Proportion":
        """Compute rate and interval."""
        low, high = wilson_interval(successes, total)
        return cls(successes=successes, total=total, rate=successes / total if total else 0.0, low=low, high=high)

    def __str__(self) -> str:
        return f"{self.rate:.3f} [{self.low:.3f}, {self.high:.3f}]"


class Figures(Record):
    """Figures of a set of trajectories. Infrastructure failures are counted, and enter nothing else."""

    exact_match: Proportion | None = Field(default=None, exclude_if=_is_absent)
    """Right by SQuAD normalisation, any golden answer; None for a task whose answers are not compared with golden ones."""
    exact_match_if_left_out_wrong: float | None = Field(default=None, exclude_if=_is_absent)
    """Share that is right where every trajectory that was left out counts as wrong: at least so much."""
    f1: float | None = Field(default=None, exclude_if=_is_absent)
    """Mean token F1, best over the golden answers."""
    success: Proportion | None = Field(default=None, exclude_if=_is_absent)
    """Trajectories that reached the goal of a task; None for exact matches, and where the task does not say."""
    success_if_left_out_wrong: float | None = Field(default=None, exclude_if=_is_absent)
    """Share that reached the goal where every trajectory that was left out counts as one that did not."""
    reward: float
    """Mean reward."""
    answered: Proportion
    """Trajectories that gave an answer at all."""
    well_formed: Proportion
    """Trajectories without a penalty for their format."""
    num_failed: int
    """Infrastructure failures (a service, the sampler, a prompt beyond its budget): left out."""
    turns: float
    """Mean turns."""
    operator_calls: dict[str, float]
    """Mean calls of each operator per question; calls that ran nothing (no such operator, wrong arguments) are ``(invalid)``."""
    policy_tokens: float
    """Mean tokens that the policy wrote (0 where the policy is a chat server, which does not hand out tokens)."""
    llm_calls: float
    """Mean requests to the operators' LLM."""
    llm_prompt_tokens: float | None
    """Mean tokens sent to the operators' LLM; None where its service did not count them."""
    llm_completion_tokens: float | None
    """Mean tokens received from the operators' LLM; None where its service did not count them."""
    cost: float | None
    """Mean price of LLM calls (the policy's own server included) and searches, paid or answered from the store of calls; None
    where a price is unknown."""
    stop_reasons: dict[str, int]
    """Number of trajectories by stop reason, failures included."""
    parts: dict[str, float] = Field(default_factory=dict, exclude_if=_is_absent)
    """Mean of each further part of the reward, over the trajectories that have it."""

    @property
    def measure(self) -> Measure:
        """The figure that says how good a policy is."""
        return "exact_match" if self.exact_match is not None else "success" if self.success is not None else "reward"

    @property
    def headline(self) -> Proportion | None:
        """Exact match or success; None where there is a reward alone."""
        return self.exact_match if self.exact_match is not None else self.success

    @property
    def headline_if_left_out_wrong(self) -> float | None:
        """The headline where everything that was left out counts as wrong; None where there is a reward alone."""
        return self.success_if_left_out_wrong if self.exact_match is None else self.exact_match_if_left_out_wrong


def compute_figures(trajectories: Iterable[Trajectory]) -> Figures:
    """Summarise trajectories; one without a reward is an infrastructure failure."""
    trajectories = list(trajectories)
    scored = [trajectory for trajectory in trajectories if isinstance(trajectory, ScoredTrajectory)]
    num = len(scored)

    def mean(values: Iterable[float]) -> float:
        return sum(values) / num if num else 0.0

    operators = usage_by_operator(scored)
    policy = operators.pop(POLICY, OperatorUsage())
    usage = sum((of.usage for of in operators.values()), start=Usage())
    cost = (usage + policy.usage).cost
    right = sum(t.reward.success is True for t in scored)
    parts = [t.reward.parts for t in scored]
    measure = measure_of(trajectories)
    shown = set().union(*parts) - (_ANSWER_PARTS if measure == "exact_match" else set())
    success = None if measure == "reward" else Proportion.of(right, num)
    at_least = None if measure == "reward" else right / max(1, len(trajectories))
    of_answers = measure == "exact_match"
    return Figures(
        exact_match=success if of_answers else None,
        exact_match_if_left_out_wrong=at_least if of_answers else None,
        f1=mean(each.get("f1", 0.0) for each in parts) if of_answers else None,
        success=None if of_answers else success,
        success_if_left_out_wrong=None if of_answers else at_least,
        reward=mean(t.reward.total for t in scored),
        answered=Proportion.of(sum(t.answer is not None for t in scored), num),
        well_formed=Proportion.of(sum(_is_well_formed(t) for t in scored), num),
        num_failed=len(trajectories) - num,
        turns=mean(len(t.turns) for t in scored),
        operator_calls={name: of.calls / num for name, of in operators.items()},
        policy_tokens=mean(t.num_policy_tokens for t in scored),
        llm_calls=usage.llm_calls / num if num else 0.0,
        llm_prompt_tokens=None if usage.tokens is None else usage.prompt_tokens / max(1, num),
        llm_completion_tokens=None if usage.tokens is None else usage.completion_tokens / max(1, num),
        cost=None if cost is None else cost / max(1, num),
        stop_reasons=dict(sorted(Counter(str(t.stop_reason) for t in trajectories).items())),
        parts={name: statistics.fmean(each[name] for each in parts if name in each) for name in sorted(shown)},
    )


_ANSWER_PARTS = frozenset({"answer", "format", "exact_match", "f1"})
"""Parts of the reward of an answer, which have figures of their own."""


def measure_of(trajectories: Sequence[Trajectory]) -> Measure:
    """Return the figure that says how good a policy is. Where nothing is scored, golden answers decide."""
    rewards = [trajectory.reward for trajectory in trajectories if isinstance(trajectory, ScoredTrajectory)]
    if rewards:
        if any(compares_answers(reward) for reward in rewards):
            return "exact_match"
        return "success" if any(reward.success is not None for reward in rewards) else "reward"
    return "exact_match" if all(trajectory.question.golden_answers for trajectory in trajectories) else "success"


def _is_well_formed(trajectory: ScoredTrajectory) -> bool:
    """Return True where the format costs nothing; a reward without such a part charges none, and the turns say it."""
    form = trajectory.reward.parts.get("format")
    return all(turn.well_formed for turn in trajectory.turns) if form is None else form == 0.0


def figures_by_class(trajectories: Sequence[Trajectory]) -> dict[str, Figures]:
    """Summarise each class of questions by itself, so that no mean hides a class that got worse."""
    classes: dict[str, list[Trajectory]] = {}
    for trajectory in trajectories:
        classes.setdefault(question_class(trajectory.question), []).append(trajectory)
    return {name: compute_figures(classes[name]) for name in sorted(classes)}
