"""Notices that the services are down, while trajectories still come in and each of the others would wait for its retries.

A trajectory that called nothing says nothing of the services: a policy that answers at once half of the time would hide
an outage from a count of failures alone.
"""

from collections.abc import Sequence

from workflow_r1.errors import ServiceUnavailableError
from workflow_r1.trajectory import StopReason, Trajectory

MIN_FAILED_IN_A_ROW = 20
"""Number of failed trajectories in a row that count as an outage, or as many as are live at once."""


class OutageWatch:
    """Counts the trajectories in a row that a service failed, in the order in which they finish.

    Args:
        limit: so many failures, without a trajectory in between whose calls were all carried out, are an outage.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._num_in_a_row = 0

    def observe(self, trajectory: Trajectory) -> None:
        """Take a finished trajectory.

        Raises:
            ServiceUnavailableError: with it there are too many in a row.
        """
        if _was_served(trajectory):
            self._num_in_a_row = 0
        if not _was_failed(trajectory):
            return
        self._num_in_a_row += 1
        if self._num_in_a_row >= self._limit:
            raise ServiceUnavailableError(
                f"a service failed {self._num_in_a_row} trajectories in a row, the last with: {trajectory.error}"
            )


def check_served(trajectories: Sequence[Trajectory]) -> None:
    """Refuse a step in which services failed and carried out no trajectory's calls.

    Raises:
        ServiceUnavailableError: services failed; another step would use up the questions and teach the policy to call nothing.
    """
    failed = [trajectory for trajectory in trajectories if _was_failed(trajectory)]
    if failed and not any(_was_served(trajectory) for trajectory in trajectories):
        raise ServiceUnavailableError(
            f"a service failed {len(failed)} of {len(trajectories)} trajectories, and no other called one; the "
            f"first failed with: {failed[0].error}"
        )


def _was_failed(trajectory: Trajectory) -> bool:
    return trajectory.stop_reason in (StopReason.OPERATOR_FAILED, StopReason.SAMPLER_FAILED, StopReason.TASK_FAILED)


def _was_served(trajectory: Trajectory) -> bool:
    return not _was_failed(trajectory) and any(call.valid for turn in trajectory.turns for call in turn.calls)
