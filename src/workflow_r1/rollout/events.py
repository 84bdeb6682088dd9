"""Events of a live rollout: frozen records passed to ``on_event``. They never change the trajectory."""

from collections.abc import Callable
from dataclasses import dataclass

from workflow_r1.rollout.policy import SampledTurn
from workflow_r1.trajectory import Turn


@dataclass(frozen=True, slots=True)
class TurnStarted:
    """The policy begins to write a turn; with the first one, the prompt has been accepted."""

    index: int
    """1, 2, ... within the trajectory."""


@dataclass(frozen=True, slots=True)
class TurnSampled:
    """The policy has written a turn. The environment acts on it now."""

    index: int
    """1, 2, ... within the trajectory."""
    sampled: SampledTurn
    """Turn as the policy wrote it."""
    seconds: float
    """Wall time of the sampling."""


@dataclass(frozen=True, slots=True)
class TurnFinished:
    """A turn is over, with all that its operators returned. A turn whose service failed has this event, too."""

    turn: Turn
    """Turn as it stands in the trajectory."""


RolloutEvent = TurnStarted | TurnSampled | TurnFinished
"""Events in the order ``TurnStarted``, ``TurnSampled``, ``TurnFinished`` for each turn; a failed sampler ends it after
the first.
"""

OnRolloutEvent = Callable[[RolloutEvent], None]
"""Called in the event loop; an error of it ends the rollout."""
