"""Replies of servers with status 200, and their reading."""

from typing import Any

import pytest

from workflow_r1.inference import ChatReply, ReplyFlaw
from workflow_r1.inference.completion import read_completion
from workflow_r1.services.attempts import AttemptError
from workflow_r1.services.failures import FailureKind
from workflow_r1.trajectory import FinishReason, Usage


def read(message: dict[str, Any] | None, finish_reason: str | None = "stop", **choice: Any) -> ChatReply:
    found = {"index": 0, "finish_reason": finish_reason, **({} if message is None else {"message": message}), **choice}
    return read_completion({"choices": [found]})


@pytest.mark.parametrize(
    ("message", "finish_reason", "text", "flaw"),
    [
        ({"content": "Rome"}, "stop", "Rome", None),
        ({"content": None, "refusal": "I may not."}, "stop", "I may not.", ReplyFlaw.REFUSED),
        ({"content": "", "refusal": "I may not."}, "stop", "I may not.", ReplyFlaw.REFUSED),
        ({"content": [{"type": "refusal", "refusal": "I may not."}]}, "stop", "I may not.", ReplyFlaw.REFUSED),
        ({"content": None}, "content_filter", "", ReplyFlaw.FILTERED),
        ({"content": "Rome is"}, "content_filter", "Rome is", ReplyFlaw.FILTERED),
        ({}, "content_filter: RECITATION", "", ReplyFlaw.FILTERED),
        (None, "content_filter", "", ReplyFlaw.FILTERED),
        ({"content": None, "tool_calls": [{"id": "1", "function": {"name": "f"}}]}, "tool_calls", "", ReplyFlaw.TOOL_CALLS),
        ({"content": "", "function_call": {"name": "f"}}, "function_call", "", ReplyFlaw.TOOL_CALLS),
        ({"content": "Rome", "tool_calls": [{"id": "1"}]}, "tool_calls", "Rome", None),
        ({"content": None, "reasoning_content": "Italy, so"}, "stop", "", ReplyFlaw.REASONING_ONLY),
        ({"content": " \n", "reasoning": "Italy, so"}, "stop", " \n", ReplyFlaw.REASONING_ONLY),
        ({"content": None}, "stop", "", ReplyFlaw.EMPTY),
        ({"content": ""}, "stop", "", ReplyFlaw.EMPTY),
        ({"content": []}, "stop", "", ReplyFlaw.EMPTY),
        ({}, None, "", ReplyFlaw.EMPTY),
    ],
)  # fmt: skip
def test_why_there_is_no_text(
    message: dict[str, Any] | None, finish_reason: str | None, text: str, flaw: ReplyFlaw | None
) -> None:
    reply = read(message, finish_reason)
    assert (reply.text, reply.flaw) == (text, flaw)


@pytest.mark.parametrize(
    "fields",
    [
        {"reasoning_content": "Italy, so"},
        {"reasoning": "Italy, so"},
        {"reasoning": "Italy, so", "reasoning_content": "Italy, so"},
        {"reasoning": "Italy, so", "reasoning_details": [{"type": "reasoning.text", "text": "Italy, so"}]},
        {"reasoning": None, "reasoning_details": [{"type": "reasoning.summary", "summary": "Italy, so"}]},
        {"thinking_blocks": [{"type": "thinking", "thinking": "Italy, so", "signature": "xyz"}]},
        {"provider_specific_fields": {"reasoning_content": "Italy, so", "citations": None}},
        {"thinking": "Italy, so"},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Italy, so"}]}, {"type": "text", "text": "Rome"}]},
    ],
)  # fmt: skip
def test_the_thought_in_whatever_field_the_server_puts_it(fields: dict[str, Any]) -> None:
    reply = read({"role": "assistant", "content": "Rome"} | fields)
    assert (reply.text, reply.reasoning, reply.flaw) == ("Rome", "Italy, so", None)
    assert reply.whole_text == "<think>Italy, so</think>Rome"


@pytest.mark.parametrize(
    "value", [None, "", [], {}, 5, [None], [{"type": "reasoning.encrypted", "data": "xyz"}], {"text": 5}]
)
def test_no_thought(value: object) -> None:
    reply = read({"content": "Rome", "reasoning": value, "reasoning_details": value, "provider_specific_fields": value})
    assert reply.reasoning == ""
    assert reply.whole_text == "Rome"


@pytest.mark.parametrize(
    ("text", "reasoning", "finish_reason", "whole"),
    [
        ("<answer>Rome</answer>", "Italy", "stop", "<think>Italy</think><answer>Rome</answer>"),
        ("\n\n<answer>Rome</answer>", "\nItaly\n", "stop", "<think>\nItaly\n</think>\n\n<answer>Rome</answer>"),
        # A gateway that leaves the thought in the content and repeats it beside it.
        ("<think>Italy</think><answer>Rome</answer>", "Italy", "stop", "<think>Italy</think><answer>Rome</answer>"),
        # A second thought is a second thought, as it would be in this process.
        ("<think>b</think><answer>Rome</answer>", "Italy", "stop", "<think>Italy</think><think>b</think><answer>Rome</answer>"),
        # Cut off in the thought, it was not closed; ended by itself, it was.
        ("", "Italy, so the", "length", "<think>Italy, so the"),
        ("", "Italy", "stop", "<think>Italy</think>"),
        ("<answer>Ro", "Italy", "length", "<think>Italy</think><answer>Ro"),
        ("<answer>Rome</answer>", " \n", "stop", "<answer>Rome</answer>"),
        # A thought of words that the answer has, too, is no repetition.
        ("<answer>Rome</answer>", "Rome", "stop", "<think>Rome</think><answer>Rome</answer>"),
        # The content repeats the thought, or holds it alone.
        ("<think>\nwhy\n</think><answer>Rome</answer>", "why", "stop", "<think>\nwhy\n</think><answer>Rome</answer>"),
        ("why</think><answer>Rome</answer>", "why", "stop", "why</think><answer>Rome</answer>"),
        ("<think>why", "why", "length", "<think>why"),
        # An empty thought in the content is the template's.
        ("<think>\n\n</think>\n<answer>Rome</answer>", "why", "stop", "<think>why</think>\n<answer>Rome</answer>"),
        ("</think><answer>Rome</answer>", "why", "stop", "<think>why</think><answer>Rome</answer>"),
        # Two thoughts are what the model wrote.
        ("<think>b</think><answer>Rome</answer>", "a", "stop", "<think>a</think><think>b</think><answer>Rome</answer>"),
        ("\n", "why", "length", "<think>why\n"),
        # Tags that a server left around the thought are not written twice.
        ("<answer>Rome</answer>", "<think>\nwhy\n</think>", "stop", "<think>\nwhy\n</think><answer>Rome</answer>"),
    ],
)  # fmt: skip
def test_the_thought_is_put_back_as_the_model_wrote_it(
    text: str, reasoning: str, finish_reason: str, whole: str
) -> None:
    assert read({"content": text, "reasoning_content": reasoning}, finish_reason).whole_text == whole


def test_ends() -> None:
    for cut in ("length", "max_tokens", "MODEL_LENGTH"):
        assert read({"content": "Ro"}, cut).finish_reason is FinishReason.LENGTH
    for whole in ("stop", "eos_token", "stop_sequence", None):
        assert read({"content": "Rome"}, whole).finish_reason is FinishReason.STOP


@pytest.mark.parametrize(
    "choice",
    [
        {"finish_reason": "error", "message": {"content": "Ro"}},
        {"finish_reason": "abort", "message": {"content": ""}},
        {"finish_reason": "insufficient_system_resource", "message": {"content": "Ro"}},
        {"finish_reason": None, "message": {"content": ""}, "error": {"code": 502, "message": "Provider disconnected"}},
    ],
)
def test_a_reply_that_the_servers_state_broke_off_may_be_tried_again(choice: dict[str, Any]) -> None:
    with pytest.raises(AttemptError, match="broke off") as caught:
        read_completion({"choices": [choice]})
    assert caught.value.kind is FailureKind.SERVER_ERROR


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": 429, "message": "Rate limited upstream"}, FailureKind.THROTTLED),
        ({"code": 502, "message": "Provider returned error"}, FailureKind.SERVER_ERROR),
        ({"code": 400, "message": "maximum context length is 4096 tokens"}, FailureKind.TOO_LONG),
        ({"code": "context_length_exceeded", "message": "no"}, FailureKind.TOO_LONG),
        ({"code": "content_filter", "message": "no"}, FailureKind.CONTENT_FILTER),
    ],
)
def test_an_error_with_status_200_is_judged_like_any_other(error: dict[str, Any], kind: FailureKind) -> None:
    with pytest.raises(AttemptError) as caught:
        read_completion({"error": error})
    assert caught.value.kind is kind


@pytest.mark.parametrize(
    "completion",
    [None, [], "x", {}, {"choices": None}, {"choices": []}, {"choices": [5]}, {"choices": [{"message": "Rome"}]},
     {"choices": [{"message": {"content": 5}}]}, {"choices": [{"message": {"content": {"text": "Rome"}}}]}, {"error": "busy"}],
)  # fmt: skip
def test_what_is_no_chat_completion(completion: object) -> None:
    with pytest.raises(ValueError):
        read_completion(completion)


def test_usage_is_the_services_own() -> None:
    completion = {"choices": [{"message": {"content": "Rome"}}], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}
    usage = Usage(llm_calls=1, prompt_tokens=7, completion_tokens=3, cost=None, paid=None)
    assert read_completion(completion).usage == usage


@pytest.mark.parametrize(
    ("told", "counted"),
    [
        ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}, (10, 5, 0)),
        ({"prompt_tokens": 10, "completion_tokens": 5}, (10, 5, 0)),
        # xAI and Gemini: 100 tokens of a thought are charged for and stand in the total alone.
        ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 115}, (10, 105, 0)),
        ({"prompt_tokens": 10, "total_tokens": 15}, (10, 5, 0)),
        ({"completion_tokens": 5, "total_tokens": 15}, (10, 5, 0)),
        ({"prompt_tokens": 10, "completion_tokens": 0, "total_tokens": 10}, (10, 0, 0)),
        # One figure without the other leaves the sum unknown.
        ({"completion_tokens": 5}, (0, 5, 1)),
        ({"prompt_tokens": 0, "completion_tokens": 5, "total_tokens": 5}, (0, 5, 1)),
        ({"prompt_tokens": 10}, (10, 0, 1)),
        ({"total_tokens": 15}, (0, 0, 1)),
        ({"prompt_tokens": "10", "completion_tokens": -5}, (0, 0, 1)),
        ({}, (0, 0, 1)),
        (None, (0, 0, 1)),
    ],
)
def test_token_figures_of_the_service(told: dict[str, Any] | None, counted: tuple[int, int, int]) -> None:
    usage = read_completion({"choices": [{"message": {"content": "Rome"}}], "usage": told}).usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.unreported_calls) == counted
    assert usage.tokens == (None if counted[2] else counted[0] + counted[1])
    assert (usage.llm_calls, usage.cost, usage.paid) == (1, None, None)
