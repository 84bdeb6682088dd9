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


def test_tokens_of_a_service_that_does_not_count_them_are_unknown_in_every_sum():
    counted, uncounted = Usage(llm_calls=1, prompt_tokens=7, completion_tokens=2), Usage(llm_calls=2)
    assert (Usage().tokens, counted.tokens, uncounted.tokens) == (0, 9, None)
    total = counted + uncounted
    assert (total.tokens, total.unreported_calls) == (None, 2)
    assert Usage.model_validate_json(total.model_dump_json()) == total
    # A record of an earlier version has no such field.
    assert "unreported_calls" not in counted.model_dump_json()
    assert Usage.model_validate_json('{"llm_calls": 2, "cost": null, "paid": null}').tokens is None


def test_figures_without_zeros_keep_what_is_unknown():
    assert Usage().without_zeros() == {}
    assert Usage(llm_calls=1, prompt_tokens=7, cost=0.0, paid=0.0).without_zeros() == {
        "llm_calls": 1,
        "prompt_tokens": 7,
    }
    assert Usage(searches=1).without_zeros() == {"searches": 1, "cost": None, "paid": None}


def test_a_call_whose_price_is_not_told_has_an_unknown_one():
    assert (Usage().cost, Usage().paid) == (0.0, 0.0)
    for made in ({"llm_calls": 1}, {"searches": 1}):
        assert (Usage(**made).cost, Usage(**made).paid) == (None, None)
        assert (Usage(**made, cost=0.0) + Usage(**made)).cost is None


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
