"""Number of live trajectories at once: fewer as the calls run out, so that those which began can end."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from workflow_r1.trajectory import Trajectory

CALLS_EACH = 8
"""Calls that a trajectory is expected to take for as long as too few have ended to tell: twice the embedded policy's mean."""

NUM_KNOWN = 8
"""Trajectories that must have ended before their mean predicts the need of another: the first to end are short."""


class Places:
    """Places for live trajectories.

    Each holds back as many calls as a trajectory takes. Without that a budget of fewer calls than sessions would be
    spent on the first call of each, and none would end.

    Args:
        num: places at most.
        num_calls_left: requests that the budget still allows; None where the budget does not limit them.
    """

    def __init__(self, num: int, *, num_calls_left: Callable[[], int | None] = lambda: None) -> None:
        self._num = num
        self._num_calls_left = num_calls_left
        self._num_calls = 0
        self._num_ended = 0
        self._num_live = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def take(self) -> AsyncIterator[None]:
        """Wait for a place, in the order of asking, and hold it."""
        if self._waiting or not self._has_room():
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._leave()  # It was given a place just before.
                elif (
                    turn in self._waiting
                ):  # Where many are cancelled together, a place that became free has passed it over.
                    self._waiting.remove(turn)
                raise
        else:
            self._num_live += 1
        try:
            yield
        finally:
            self._leave()

    def learn(self, trajectory: Trajectory) -> None:
        """Learn from the calls of a trajectory that has ended."""
        usage = trajectory.usage + trajectory.policy_usage
        self._num_calls += usage.llm_calls - usage.stored_calls + usage.searches - usage.stored_searches
        self._num_ended += 1

    def _leave(self) -> None:
        self._num_live -= 1
        while self._waiting and self._has_room():
            turn = self._waiting.popleft()
            if not turn.done():
                self._num_live += 1
                turn.set_result(None)

    def _has_room(self) -> bool:
        if self._num_live == 0:
            return True
        left = self._num_calls_left()
        each = self._num_calls / self._num_ended if self._num_ended >= NUM_KNOWN else CALLS_EACH
        return self._num_live < self._num and (left is None or left >= each * (self._num_live + 1))
