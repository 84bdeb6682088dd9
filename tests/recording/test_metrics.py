import math

import pytest

from workflow_r1.evaluation import EvaluationResult
from workflow_r1.recording.metrics import (
    combine_later_mini_batches,
    combine_mini_batches,
    evaluation_metrics,
    headline_of,
    merge,
    rollout_metrics,
    sampled_metrics,
    tell_left_out,
)
from workflow_r1.trajectory import (
    AnswerReward,
    OperatorCall,
    Question,
    ScoredTrajectory,
    StopReason,
    TaskReward,
    Trajectory,
    Turn,
)

QUESTION = Question(id="q", text="?", golden_answers=("x",))


def scored(group, total, *, calls=(), answer="x"):
    turns = (
        Turn(index=1, text="<think>ab</think>", token_ids=(1, 2), logprobs=(-1.0, -3.0), well_formed=True, calls=calls),
        Turn(index=2, text="<think>abcd</think>", token_ids=(3,), logprobs=(-2.0,), well_formed=True),
    )
    reward = AnswerReward(total=total, answer=total, format=0.0, exact_match=float(total == 1), f1=0.0)
    return ScoredTrajectory(
        id="t",
        group_id=group,
        question=QUESTION,
        turns=turns,
        answer=answer,
        stop_reason=StopReason.ANSWERED,
        reward=reward,
    )


def test_rollout_metrics():
    call = OperatorCall(operator="Search", input="a", observation="b", valid=True)
    failed = Trajectory(id="f", group_id="g1", question=QUESTION, stop_reason=StopReason.OPERATOR_FAILED)
    trajectories = [scored("g1", 1.0, calls=(call,)), scored("g1", 0.0), scored("g2", 1.0), scored("g2", 1.0), failed]
    metrics = rollout_metrics(trajectories, operators=("Search", "Review"))
    expected = {
        "num_trajectories": 5,
        "num_failed": 1,
        "reward": 0.75,
        "exact_match": 0.75,
        "no_answer_rate": 0.0,
        "turns": 2.0,
        "policy_tokens": 3.0,
        "think_chars": 3.0,
        "think_repetition": None,
        "surprisal": 2.0,
        "surprisal_right": 2.0,
        "operator_entropy": 0.0,
        "workflow_share": 0.75,
        "num_groups": 2,
        "num_groups_without_signal": 1,
        "calls/Search": 0.25,
        "calls/Review": 0.0,
        "stop/answered": 0.8,
        "stop/operator_failed": 0.2,
        "stop/max_turns": 0.0,
    }
    for name, value in expected.items():
        assert metrics[f"rollout/{name}"] == pytest.approx(value), name


def of_task(success: bool | None, total: float = 0.0, **parts: float) -> ScoredTrajectory:
    played = Trajectory(
        id="t", group_id="g", question=Question(id="i", text="i", golden_answers=()), stop_reason=StopReason.DONE,
        turns=(Turn(index=1, text="t", well_formed=True),),
    )  # fmt: skip
    return ScoredTrajectory.of(played, TaskReward(total=total, success=success, parts=parts))


def test_a_task_shows_success_and_its_parts_in_place_of_exact_match():
    failed = Trajectory(
        id="f", group_id="g", question=Question(id="i", text="i", golden_answers=()), stop_reason=StopReason.TASK_FAILED
    )
    trajectories = [of_task(True, 1.0, moves=3), of_task(False, -1.0, moves=5, format=1), of_task(False), failed]
    metrics = rollout_metrics(trajectories, operators=())
    assert metrics["rollout/success"] == pytest.approx(1 / 3)
    assert metrics["rollout/success_if_left_out_wrong"] == pytest.approx(1 / 4)
    # Over the trajectories that have it; a part may have the name of one of an answer's.
    assert (metrics["rollout/part/moves"], metrics["rollout/part/format"]) == (4.0, 1.0)
    assert (metrics["rollout/stop/done"], metrics["rollout/stop/task_failed"]) == (0.75, 0.25)
    assert not {"rollout/exact_match", "rollout/f1", "rollout/no_answer_rate"} & metrics.keys()
    held_out = evaluation_metrics(EvaluationResult(tuple(trajectories)))
    assert held_out["evaluation/success"] == pytest.approx(1 / 3)
    assert held_out["evaluation/success_low"] < 1 / 3 < held_out["evaluation/success_high"]
    assert headline_of(held_out, "evaluation") == "success"
    assert tell_left_out(held_out, "evaluation") == "; 1 left out, 0.250 if wrong"


def test_a_task_without_success_shows_its_reward_alone():
    metrics = rollout_metrics([of_task(None, 2.0), of_task(None, 1.0)], operators=())
    assert metrics["rollout/reward"] == 1.5 and "rollout/success" not in metrics
    held_out = evaluation_metrics(EvaluationResult((of_task(None, 2.0),)))
    assert held_out["evaluation/num_scored"] == 1
    assert headline_of(held_out, "evaluation") == "reward"


def test_an_evaluation_whose_every_question_failed_has_no_figure():
    """An outage is no exact match of 0."""
    question = Question(id="i", text="i", golden_answers=("x",), metadata={"hops": 2})
    failed = Trajectory(id="f", group_id="f", question=question, stop_reason=StopReason.OPERATOR_FAILED)
    metrics = evaluation_metrics(EvaluationResult((failed,))) | sampled_metrics([EvaluationResult((failed,))])
    counts = {key for key in metrics if "num_" in key or key.endswith("_if_left_out_wrong")}
    assert {metrics[key] for key in metrics.keys() - counts} == {None}
    assert {"evaluation/exact_match", "evaluation/exact_match_low", "evaluation/sampled/exact_match"} <= metrics.keys()
    assert (metrics["evaluation/num_failed"], metrics["evaluation/exact_match_if_left_out_wrong"]) == (1, 0.0)
    assert tell_left_out(metrics, "evaluation") == "; 1 left out, 0.000 if wrong"


def test_questions_show_what_they_always_did():
    assert headline_of(rollout_metrics([scored("g", 1.0)], operators=()), "rollout") == "exact_match"
    assert not {key for key in rollout_metrics([scored("g", 1.0)], operators=()) if "success" in key or "part/" in key}


def test_every_step_has_the_same_keys():
    one = rollout_metrics([scored("g", 1.0)], operators=("Search",))
    assert one.keys() == rollout_metrics([], operators=("Search",)).keys()


def test_mini_batches_are_weighted_by_their_units():
    parts = [
        {"ratio_mean": 1.0, "ratio_max": 1.5, "num_units": 1, "turn_2/kl": 4.0, "turn_2/num_units": 1},
        {"ratio_mean": 2.0, "ratio_max": 1.2, "num_units": 3},
    ]
    assert combine_mini_batches(parts) == {
        "ratio_mean": 1.75,
        "ratio_max": 1.5,
        "num_units": 4,
        "turn_2/kl": 4.0,
        "turn_2/num_units": 1,
    }
    assert combine_mini_batches([]) == {}


def test_a_mean_over_tokens_is_weighted_by_tokens_and_a_share_by_what_it_is_of():
    parts = [
        {
            "entropy": 1.0,
            "num_units": 2,
            "num_tokens": 10,
            "gradient_mass_removed": 0.5,
            "weight/gradient_mass_removed": 3.0,
        },
        {
            "entropy": 3.0,
            "num_units": 2,
            "num_tokens": 30,
            "gradient_mass_removed": 0.1,
            "weight/gradient_mass_removed": 1.0,
        },
    ]
    assert combine_mini_batches(parts) == {
        "entropy": 2.5, "num_units": 4, "num_tokens": 40, "gradient_mass_removed": pytest.approx((1.5 + 0.1) / 4),
    }  # fmt: skip
    later = combine_later_mini_batches([{"num_units": 2}, *parts])
    assert later == {"later/gradient_mass_removed": pytest.approx(0.4)}
    nothing = {"num_units": 1, "gradient_mass_removed": 0.0, "weight/gradient_mass_removed": 0.0}
    assert combine_mini_batches([nothing])["gradient_mass_removed"] == 0.0


def test_the_first_mini_batch_does_not_hide_the_later_ones():
    parts = [
        {"ratio_mean": 1.0, "clip_fraction_low": 0.0, "num_units": 5, "entropy": 1.0, "turn_1/ratio_mean": 1.0},
        {"ratio_mean": 0.8, "clip_fraction_low": 0.2, "num_units": 3, "entropy": 1.0, "right_logprob_change": -0.5},
        {"ratio_mean": 0.6, "clip_fraction_low": 0.6, "num_units": 1, "entropy": 1.0},
    ]
    assert combine_later_mini_batches(parts) == pytest.approx(
        {"later/ratio_mean": 0.75, "later/clip_fraction_low": 0.3, "later/right_logprob_change": -0.5}
    )
    assert combine_later_mini_batches(parts[:1]) == combine_later_mini_batches([]) == {}


def calling(*operators, thoughts=(), right=False):
    calls = [OperatorCall(operator=name, input="a", observation="b", valid=True) for name in operators]
    turns = [
        Turn(index=index, text=f"<think>{thought}</think>", token_ids=(1,), logprobs=(-1.0 - right,), well_formed=True)
        for index, thought in enumerate(thoughts or ("",), start=1)
    ]
    turns[-1] = turns[-1].model_copy(update={"calls": tuple(calls)})
    return scored("g", float(right)).model_copy(update={"turns": tuple(turns)})


def test_the_variety_of_workflows():
    trajectories = [calling("Search", "Review"), calling("Review", "Search"), calling("Search", "Review"), calling()]
    metrics = rollout_metrics(trajectories, operators=("Search", "Review", "Revise"))
    assert metrics["rollout/workflow_share"] == 0.5
    assert metrics["rollout/operator_entropy"] == pytest.approx(math.log(2))
    assert rollout_metrics([calling()], operators=("Search",))["rollout/operator_entropy"] == 0.0


def test_repeated_thoughts():
    """Five words hold two sequences of four; the second thought repeats one of them, within and across turns alike."""
    once, twice = calling(thoughts=("a b c d e",)), calling(thoughts=("a b c d e", "b c d e", "f"))
    assert rollout_metrics([once], operators=())["rollout/think_repetition"] == 0.0
    assert rollout_metrics([twice], operators=())["rollout/think_repetition"] == pytest.approx(1 / 3)
    both = rollout_metrics([once, twice, calling(thoughts=("too short",))], operators=())
    assert both["rollout/think_repetition"] == pytest.approx(1 / 6)


def test_surprisal_of_right_trajectories():
    metrics = rollout_metrics([calling(right=True), calling()], operators=())
    assert (metrics["rollout/surprisal_right"], metrics["rollout/surprisal"]) == (2.0, 1.5)
    assert rollout_metrics([calling()], operators=())["rollout/surprisal_right"] is None


def test_a_key_of_two_stages_is_a_mistake():
    assert merge({"a": 1}, {"b": 2}) == {"a": 1, "b": 2}
    with pytest.raises(ValueError, match=r"\['a'\]"):
        merge({"a": 1}, {"a": 2})


def test_sampled_answers_give_a_rate_and_how_often_a_question_flips():
    """Two questions, three answers each: one always right, one right once of three."""

    def answers(*rewards):
        return EvaluationResult(tuple(scored("g", reward) for reward in rewards))

    metrics = sampled_metrics([answers(1.0, 1.0), answers(1.0, 0.0), answers(1.0, 0.0)])
    assert metrics["evaluation/sampled/exact_match"] == pytest.approx(4 / 6)
    assert metrics["evaluation/sampled/pass_all"] == 0.5
    # Of the three pairs of answers to the second question, two disagree.
    assert metrics["evaluation/sampled/flip_rate"] == pytest.approx((0 + 2 / 3) / 2)
    assert headline_of(metrics, "evaluation/sampled") == "exact_match"


def test_a_question_with_a_failed_answer_is_in_no_rate_of_whole_questions():
    failed = Trajectory(id="f", group_id="g", question=QUESTION, stop_reason=StopReason.OPERATOR_FAILED)
    results = [EvaluationResult((scored("g", 1.0), failed)), EvaluationResult((scored("g", 1.0), scored("g", 1.0)))]
    metrics = sampled_metrics(results)
    assert (metrics["evaluation/sampled/num_failed"], metrics["evaluation/sampled/num_scored"]) == (1, 3)
    assert (metrics["evaluation/sampled/pass_all"], metrics["evaluation/sampled/flip_rate"]) == (1.0, 0.0)


def test_one_sample_says_nothing_of_flips_and_none_says_nothing():
    assert "evaluation/sampled/flip_rate" not in sampled_metrics([EvaluationResult((scored("g", 1.0),))])
    assert sampled_metrics([]) == {}
