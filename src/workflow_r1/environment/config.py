"""Limits of one trajectory."""

from typing import Literal

from pydantic import Field, model_validator

from workflow_r1.trajectory.records import Record

PAPERS_CALLS = 20
"""Operator calls of a trajectory, in the paper (arXiv:2602.01202)."""


class EnvironmentConfig(Record):
    """Limits of the policy; the defaults are the paper's (arXiv:2602.01202) where it states them."""

    operators: tuple[str, ...] = (
        "AnswerGenerate",
        "Custom",
        "MultiAnswerGenerate",
        "ScEnsemble",
        "PromptOptimizer",
        "Review",
        "Revise",
    )
    """The pool. The paper's Workflow-R1; with ``Search`` added it is Workflow-R1-Search."""
    prompt_style: Literal["full", "brief"] = "full"
    """``full`` explains the grammar and lists the operators; ``brief`` is the bare question."""
    max_operator_calls: int = Field(default=PAPERS_CALLS, ge=0)
    """Paper: 20."""
    # Deviation: turns are limited, too; the paper limits the calls alone, and a malformed turn makes none.
    max_turns: int = Field(default=24, ge=1)
    """Malformed turns call no operator, so they need a limit of their own."""
    max_response_tokens: int = Field(default=8192, ge=1)
    """Policy and observation tokens of the whole trajectory. Paper: 8192."""
    max_prompt_tokens: int = Field(default=1280, ge=1)
    """Paper: 1280."""
    max_observation_chars: int = Field(default=2048, ge=64)
    """Longer observations are cut in the middle. Paper: 2048."""
    # Deviation: a turn may hold several calls, so that its observations need a limit together.
    max_turn_observation_chars: int | None = Field(default=None, ge=64)
    """Longest text of all observations of one turn together; the rest is left out. None is 20 times
    ``max_observation_chars``: room for the paper's calls. Not below ``max_observation_chars``."""
    # Deviation: a turn may hold several calls; the paper's has one, and only such a turn keeps the format reward.
    parallel_calls: bool = True
    """Run several ``<tool>`` blocks of one turn concurrently; otherwise such a turn is malformed."""
    task_timeout_seconds: float = Field(default=60.0, gt=0)
    """Longest wait for one reply of a task that is not question answering; then the task counts as failed."""

    @property
    def turn_observation_chars(self) -> int:
        """``max_turn_observation_chars`` as it holds."""
        if self.max_turn_observation_chars is None:
            return PAPERS_CALLS * self.max_observation_chars
        return self.max_turn_observation_chars

    @model_validator(mode="after")
    def _one_observation_fits(self) -> "EnvironmentConfig":
        if self.turn_observation_chars < self.max_observation_chars:
            raise ValueError(
                f"max_turn_observation_chars ({self.max_turn_observation_chars}) to be at least max_observation_chars "
                f"({self.max_observation_chars})"
            )
        return self
