import pytest
from pydantic import ValidationError

from workflow_r1.trajectory import (
    AnswerReward,
    OperatorCall,
    Question,
    ScoredTrajectory,
    StopReason,
    Trajectory,
    Turn,
    Usage,
)


def make_trajectory(**changes):
    fields = {
        "id": "t",
        "group_id": "g",
        "question": Question(id="q", text="?", golden_answers=("a",)),
        "stop_reason": StopReason.ANSWERED,
    }
    return Trajectory(**(fields | changes))


def test_records_are_frozen_and_refuse_unknown_fields():
    trajectory = make_trajectory()
    with pytest.raises(ValidationError, match="frozen"):
        trajectory.answer = "x"
    with pytest.raises(ValidationError, match="reward"):
        make_trajectory(reward=None)


def test_a_scored_trajectory_needs_its_reward():
    with pytest.raises(ValidationError, match="reward"):
        ScoredTrajectory(**dict(make_trajectory()))
    reward = AnswerReward(total=1.0, answer=1.0, format=0.0, exact_match=1.0, f1=1.0)
    assert ScoredTrajectory(**dict(make_trajectory()), reward=reward).reward.total == 1.0


def test_infrastructure_stop_reasons():
    assert {reason for reason in StopReason if reason.is_infrastructure} == {
        StopReason.PROMPT_TOO_LONG,
        StopReason.OPERATOR_FAILED,
        StopReason.SAMPLER_FAILED,
        StopReason.TASK_FAILED,
    }


def test_totals_over_turns():
    def call(n):
        return OperatorCall(
            operator="A", input="", observation="", valid=True,
            usage=Usage(llm_calls=n, prompt_tokens=10 * n, completion_tokens=100 * n),
        )  # fmt: skip

    turns = (
        Turn(index=1, text="", token_ids=(1, 2, 3), well_formed=True, calls=(call(1), call(2)), context_token_ids=(9,)),
        Turn(index=2, text="", token_ids=(4,), well_formed=True, calls=(call(4),)),
    )
    trajectory = make_trajectory(turns=turns)
    assert trajectory.num_policy_tokens == 4
    assert trajectory.usage == Usage(llm_calls=7, prompt_tokens=70, completion_tokens=700)
    assert make_trajectory().usage == Usage()
