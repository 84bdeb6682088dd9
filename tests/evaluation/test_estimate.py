import pytest

from workflow_r1.config.training import TrainingConfig
from workflow_r1.evaluation.estimate import count_trajectories, estimate_bill
from workflow_r1.trajectory import OperatorCall, Question, StopReason, Trajectory, Turn, Usage


def trajectory(num_calls: int, cost: float | None = 0.5) -> Trajectory:
    usage = Usage(llm_calls=1, prompt_tokens=100, completion_tokens=10, cost=cost, paid=cost)
    call = OperatorCall(operator="Custom", input="x", observation="y", valid=True, usage=usage)
    return Trajectory(
        id="t",
        group_id="g",
        question=Question(id="q", text="?", golden_answers=("a",)),
        turns=(Turn(index=1, text="", well_formed=True, calls=(call,) * num_calls),),
        stop_reason=StopReason.ANSWERED,
    )


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        # 6 steps of 4 groups of 8; evaluations before the first step and after the last.
        ({}, (192, 2 * 10)),
        # Also after steps 3 and 6, and 6 is the last anyway.
        ({"evaluate_every": 3}, (192, 3 * 10)),
        ({"evaluate_every": 4}, (192, 3 * 10)),
    ],
)
def test_trajectories_of_a_run(settings: dict[str, int], expected: tuple[int, int]) -> None:
    training = TrainingConfig(steps=6, questions_per_step=4, group_size=8, **settings)
    assert count_trajectories(training, 10) == expected


def test_equal_trajectories_leave_nothing_open() -> None:
    bill = estimate_bill([trajectory(2)] * 4, num_trajectories=100)
    assert (bill.llm_calls.low, bill.llm_calls.estimate, bill.llm_calls.high) == (200.0, 200.0, 200.0)
    assert (bill.prompt_tokens.estimate, bill.completion_tokens.estimate, bill.searches.estimate) == (20000, 2000, 0)
    assert bill.cost is not None
    assert bill.cost.estimate == 100.0


def test_the_interval_is_that_of_a_mean() -> None:
    # Sixteen trajectories of 0 or 4 calls, half and half: mean 2, standard error 2 / sqrt(16) = 0.5.
    bill = estimate_bill([trajectory(0), trajectory(4)] * 8, num_trajectories=1000)
    assert bill.llm_calls.estimate == 2000.0
    assert bill.llm_calls.low == pytest.approx(2000 - 1.96 * 500, abs=60)
    assert bill.llm_calls.high == pytest.approx(2000 + 1.96 * 500, abs=60)
    assert bill == estimate_bill([trajectory(0), trajectory(4)] * 8, num_trajectories=1000)


def test_one_unknown_price_makes_the_bill_unknown() -> None:
    assert estimate_bill([trajectory(1), trajectory(1, cost=None)], num_trajectories=9).cost is None
    with pytest.raises(ValueError, match="at least two"):
        estimate_bill([trajectory(1)], num_trajectories=9)
