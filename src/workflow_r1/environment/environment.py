"""The environment that a rollout drives: one instance of a task, one trajectory.

Two implementations: :class:`~workflow_r1.environment.questions.QuestionEnvironment`, and that of any other task in
``tasks.environment``.
"""

from dataclasses import dataclass
from typing import Protocol

from workflow_r1.environment.config import EnvironmentConfig
from workflow_r1.trajectory import Ending, Message, OperatorCall, StopReason


@dataclass(frozen=True, slots=True)
class Step:
    """Outcome of one turn."""

    calls: tuple[OperatorCall, ...]
    """The calls that the turn asked for, in order; empty where nothing was run."""
    well_formed: bool
    """The turn follows the grammar to the letter."""
    answer: str | None
    """The answer, where the turn ended the trajectory with one."""
    observation: str
    """Content of the message that answers the turn; empty where the trajectory is over."""
    messages: tuple[Message, ...]
    """The messages to append to the policy's context; empty where the trajectory is over."""
    stop_reason: StopReason | None
    """Reason for the trajectory's end; None while it continues."""
    reward: float | None = None
    """The task's own reward for the turn; None where it gives none by turn."""
    ending: Ending | None = None
    """The task's judgement, where the turn ended its episode."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A turn as it is read before anything acts on it."""

    well_formed: bool
    """The turn follows the grammar to the letter."""
    is_final: bool
    """The turn may end the trajectory: it is acted on even where the budget of tokens is used up, and the policy would
    never read an observation."""


class Environment(Protocol):
    """One trajectory's environment. Single-use: make a new one for the next trajectory."""

    @property
    def config(self) -> EnvironmentConfig:
        """Pool and limits; the rollout keeps the token budgets among them."""
        ...

    async def start(self) -> tuple[Message, ...]:
        """Return the prompt. Called once, before anything else.

        Raises:
            ServiceError: a service failed after its retries; the environment is over.
        """
        ...

    def read(self, text: str) -> Reading:
        """Read a turn without acting on it.

        Args:
            text: everything that the policy wrote in the turn, which may be cut off.
        """
        ...

    async def step(self, text: str) -> Step:
        """Act on one turn of the policy.

        Args:
            text: everything that the policy wrote in the turn.

        Returns:
            What was run and the text for the policy, or the reason for the trajectory's end.

        Raises:
            ServiceError: a service failed after its retries; the environment is over.
            RuntimeError: the environment is over, or another step is still running.
        """
        ...

    async def close(self) -> None:
        """Give back what the environment holds. Called once, on every way out."""
        ...
