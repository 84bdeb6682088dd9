import pytest

from workflow_r1.errors import ServiceUnavailableError
from workflow_r1.rollout.outage import OutageWatch, check_served
from workflow_r1.trajectory import OperatorCall, Question, StopReason, Trajectory, Turn


def ended(reason: StopReason, *, calls: bool = True, valid: bool = True) -> Trajectory:
    call = OperatorCall(operator="Search", input="x", observation="y", valid=valid)
    return Trajectory(
        id="t",
        group_id="g",
        question=Question(id="q", text="?", golden_answers=("x",)),
        turns=(Turn(index=1, text="", well_formed=True, calls=(call,) if calls else ()),),
        stop_reason=reason,
        error="no connection" if reason.is_infrastructure else None,
    )


FAILED, SAMPLER_FAILED = ended(StopReason.OPERATOR_FAILED), ended(StopReason.SAMPLER_FAILED)
SERVED = ended(StopReason.ANSWERED)
UNSERVED = [
    ended(StopReason.ANSWERED, calls=False),
    ended(StopReason.MAX_TURNS, valid=False),
    ended(StopReason.PROMPT_TOO_LONG, calls=False),
]


def test_failures_in_a_row_are_an_outage_whatever_needed_no_service_in_between() -> None:
    watch = OutageWatch(3)
    watch.observe(FAILED)
    for trajectory in UNSERVED:
        watch.observe(trajectory)
    watch.observe(SAMPLER_FAILED)
    with pytest.raises(ServiceUnavailableError, match=r"failed 3 trajectories in a row, the last with: no connection"):
        watch.observe(FAILED)


def test_a_served_trajectory_ends_the_row() -> None:
    watch = OutageWatch(2)
    for _ in range(5):
        watch.observe(FAILED)
        watch.observe(SERVED)


def test_a_step_that_no_service_served() -> None:
    with pytest.raises(ServiceUnavailableError, match=r"failed 1 of 4 trajectories, and no other called one"):
        check_served([FAILED, *UNSERVED])
    check_served([FAILED, FAILED, SERVED])
    check_served(UNSERVED)
    check_served([])
