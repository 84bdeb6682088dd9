"""Texts that are too long or not allowed: whose failure they are, on the policy's side and on the operators'."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from workflow_r1.environment import Environment, EnvironmentConfig, QuestionEnvironment
from workflow_r1.errors import FilteredError, ServiceRejectedError, ServiceUnavailableError, TooLongError
from workflow_r1.evaluation.evaluate import EvaluationResult, evaluate
from workflow_r1.inference import OpenAIChatConfig, OpenAIChatModel, ScriptedChatModel
from workflow_r1.inference.chat import NO_TEXT
from workflow_r1.inference.loopback import LoopbackServer
from workflow_r1.operators import OPERATORS, OperatorServices
from workflow_r1.recording.metrics import evaluation_metrics, rollout_metrics
from workflow_r1.rewards import score_trajectory
from workflow_r1.rollout import ChatPolicy, rollout
from workflow_r1.rollout.doubles import ScriptedPolicy
from workflow_r1.rollout.outage import OutageWatch, check_served
from workflow_r1.trajectory import Question, ScoredTrajectory, StopReason, Trajectory

QUESTION = Question(id="q", text="Who directed Jaws?", golden_answers=("Steven Spielberg",))
CALL = "<think>t</think><tool>AnswerGenerate: who directed Jaws</tool>"
ANSWER = "<think>t</think><answer>Steven Spielberg</answer>"
REPLY = "<reasoning>r</reasoning><answer>Steven Spielberg</answer>"


def environment(chat: Any, question: Question = QUESTION, **config: Any) -> Environment:
    return QuestionEnvironment(
        question, config=EnvironmentConfig(**config), operators=OPERATORS, services=OperatorServices(chat=chat)
    )


def roll_out(policy: Any, chat: Any, **config: Any) -> Trajectory:
    return asyncio.run(
        rollout(
            QUESTION, policy=policy, environment=environment(chat, **config), trajectory_id="t", group_id="g", seed=0
        )
    )


def behind_a_server(*replies: Any) -> ChatPolicy:
    return ChatPolicy(ScriptedChatModel(replies), name="policy")


@pytest.mark.parametrize(
    ("replies", "reason"),
    [
        ([CALL, TooLongError("l")], StopReason.CONTEXT_FULL),
        ([TooLongError("l")], StopReason.CONTEXT_FULL),
        ([CALL, FilteredError("f")], StopReason.CONTENT_REFUSED),
        # The prompt alone: the policy had not written a word.
        ([FilteredError("f")], StopReason.SAMPLER_FAILED),
        ([CALL, ServiceRejectedError("an unknown field")], StopReason.SAMPLER_FAILED),
        ([CALL, ServiceUnavailableError("down")], StopReason.SAMPLER_FAILED),
    ],
)
def test_what_the_policys_own_server_refuses(replies: list[Any], reason: StopReason) -> None:
    trajectory = roll_out(behind_a_server(*replies), ScriptedChatModel([REPLY]))
    assert trajectory.stop_reason is reason
    assert len(trajectory.turns) == len(replies) - 1
    assert str(replies[-1]) in (trajectory.error or "")
    if reason is StopReason.SAMPLER_FAILED:
        assert reason.is_infrastructure
    else:
        reward = score_trajectory(trajectory).reward
        assert (reward.answer, reward.format, reward.exact_match) == (-1.0, -0.5, 0.0)


def test_an_empty_turn_is_the_policys_and_the_next_request_holds_no_empty_message() -> None:
    policy = ScriptedChatModel(["", "  ", ANSWER])
    trajectory = roll_out(ChatPolicy(policy, name="policy"), None)
    assert trajectory.stop_reason is StopReason.ANSWERED
    assert [turn.text for turn in trajectory.turns] == ["", "  ", ANSWER]
    contents = [message.content for message in policy.requests[-1].messages if message.role == "assistant"]
    assert contents == [NO_TEXT, NO_TEXT]
    assert score_trajectory(trajectory).reward.total == 0.5


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        (TooLongError("http://10.0.0.1 takes 9 tokens"), "longer than the service behind it takes. Write a shorter"),
        (FilteredError("http://10.0.0.1 flagged it"), "does not allow what the input says. Write the input in other"),
    ],
)
@pytest.mark.parametrize("operator", ["AnswerGenerate", "MultiAnswerGenerate"])
def test_what_an_operators_service_refuses_is_an_observation(refusal: Exception, told: str, operator: str) -> None:
    policy = ScriptedPolicy([f"<think>t</think><tool>{operator}: x</tool>", ANSWER])
    trajectory = roll_out(policy, ScriptedChatModel(lambda _: refusal))
    assert trajectory.stop_reason is StopReason.ANSWERED
    call = trajectory.turns[0].calls[0]
    assert not call.valid
    assert f"{operator} was not run: " in call.observation and told in call.observation
    assert "10.0.0.1" not in call.observation
    assert score_trajectory(trajectory).reward.total == 1.0


def test_what_the_llms_own_reply_made_too_long_is_not_the_policys_mistake() -> None:
    chat = ScriptedChatModel(["<reasoning>long, and no answer</reasoning>", TooLongError("l")])
    trajectory = roll_out(ScriptedPolicy([CALL, ANSWER]), chat)
    call = trajectory.turns[0].calls[0]
    assert call.valid and "no usable reply" in call.observation


def test_an_unnamed_refusal_of_an_operators_service_is_the_infrastructures() -> None:
    trajectory = roll_out(ScriptedPolicy([CALL, ANSWER]), ScriptedChatModel([ServiceRejectedError("unknown field")]))
    assert trajectory.stop_reason is StopReason.OPERATOR_FAILED


def test_a_run_in_which_every_context_overflows_is_no_outage() -> None:
    trajectory = roll_out(behind_a_server(CALL, TooLongError("l")), ScriptedChatModel([REPLY]))
    watch = OutageWatch(2)
    for _ in range(5):
        watch.observe(trajectory)
    check_served([trajectory] * 5)


def test_metrics_name_rare_reasons_where_they_occur() -> None:
    full = score_trajectory(roll_out(behind_a_server(TooLongError("l")), None))
    answered = score_trajectory(roll_out(ScriptedPolicy([ANSWER]), None))
    assert rollout_metrics([full, answered], operators=())["rollout/stop/context_full"] == 0.5
    without = rollout_metrics([answered], operators=())
    assert "rollout/stop/context_full" not in without and "rollout/stop/content_refused" not in without
    assert not any(name.endswith("if_left_out_wrong") for name in without)


# ------------------------------------------------------------------------------------------------------ over real HTTP


QUESTIONS = [
    Question(id=str(number), text=f"Question {number}: who directed Jaws?", golden_answers=("Steven Spielberg",))
    for number in range(8)
]


def asked_over_http(status: int, error: Mapping[str, Any]) -> EvaluationResult:
    """A policy behind a server that refuses the second turn of every fourth question."""

    async def reply(request: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        messages = request["messages"]
        number = next(n for n in range(8) if f"Question {n}:" in messages[0]["content"])
        if len(messages) > 2 and number % 4 == 0:
            return status, {"error": dict(error)}
        text = ANSWER if len(messages) > 2 else "<think>t</think><tool>AnswerGenerate: x</tool>"
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        return 200, {"model": "policy", "choices": [choice]}

    with LoopbackServer(ScriptedChatModel(), routes={"/v1/chat/completions": reply}) as server:
        config = OpenAIChatConfig(model="policy", base_url=server.url, max_retries=0)
        return asyncio.run(
            evaluate(
                QUESTIONS,
                policy=ChatPolicy(OpenAIChatModel(config), name="policy"),
                make_environment=lambda question: environment(ScriptedChatModel(lambda _: REPLY), question),
            )
        )


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, {"code": "context_length_exceeded", "message": "too many tokens"}),
        (400, {"message": "This model's maximum context length is 4096 tokens"}),
        (400, {"type": "exceed_context_size_error", "message": "the request exceeds the available context size"}),
        (400, {"code": "content_filter", "message": "The response was filtered"}),
    ],
)
def test_every_fourth_question_that_overflows_counts_as_wrong(status: int, error: Mapping[str, Any]) -> None:
    result = asked_over_http(status, error)
    assert all(isinstance(trajectory, ScoredTrajectory) for trajectory in result.trajectories)
    figures = result.figures
    assert (figures.exact_match.rate, figures.num_failed, figures.exact_match_if_left_out_wrong) == (0.75, 0, 0.75)
    assert "evaluation/exact_match_if_left_out_wrong" not in evaluation_metrics(result)


def test_what_is_left_out_is_said_with_the_figure_if_it_were_wrong() -> None:
    result = asked_over_http(500, {"message": "something broke"})
    figures = result.figures
    assert (figures.exact_match.rate, figures.num_failed, figures.exact_match_if_left_out_wrong) == (1.0, 2, 0.75)
    metrics = evaluation_metrics(result)
    assert metrics["evaluation/exact_match_if_left_out_wrong"] == 0.75
    assert metrics["evaluation/num_failed"] == 2
    assert metrics["evaluation/class/all/num_failed"] == 2
    assert metrics["evaluation/class/all/exact_match_if_left_out_wrong"] == 0.75
