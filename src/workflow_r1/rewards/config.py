"""Settings of the reward."""

from typing import Any, Literal

from pydantic import Field, FiniteFloat, model_validator

from workflow_r1.trajectory.records import Record

CostKind = Literal["tokens", "calls", "turns", "seconds", "money"]
"""Cost of a trajectory; see :func:`~workflow_r1.rewards.cost.cost_of`."""


class CostConfig(Record):
    """Cost of right trajectories, weighed within their group."""

    dial: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Largest part of its lead over the wrong ones that a right trajectory loses by its cost; 0 leaves the cost out."""
    kind: CostKind = "tokens"
    """``tokens`` of LLMs, the policy's own among them; ``calls`` of LLM and search by operators; ``turns``; ``seconds``
    of wall time, with which no run can be repeated; ``money``, with the prices of the configuration."""


class RewardConfig(Record):
    """Reward of a trajectory, in training and in every evaluation."""

    weights: dict[str, FiniteFloat] = Field(default_factory=dict)
    """Weight of each part; the reward is their weighted sum. A part is a figure of the task's own reward (for questions
    ``answer``, ``format``, ``exact_match``, ``f1``), ``task`` (that reward as a whole), ``success`` (1 or 0),
    ``turn_rewards`` (their sum), or a function of your own: ``"path/file.py:function"`` or ``"package.module:function"``.
    Empty is the task's own reward: ``answer`` plus ``format`` for questions, the paper's. ``reward = "f1"`` in place of the
    table is short for one part with the weight 1."""
    cost: CostConfig = CostConfig()

    @model_validator(mode="before")
    @classmethod
    def _read_one_name(cls, value: Any) -> Any:
        return {"weights": {value: 1.0}} if isinstance(value, str) else value
