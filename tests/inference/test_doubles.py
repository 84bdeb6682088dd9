"""The doubles are public API: users rely on their records and their failures."""

import asyncio

import pytest

from workflow_r1.errors import ServiceTimeoutError, ServiceUnavailableError
from workflow_r1.inference import ChatModel, ChatReply, ChatRequest, FailingChatModel, ScriptedChatModel
from workflow_r1.trajectory import FinishReason, Message, Usage

HELLO = (Message(role="user", content="two words"),)


def test_replies_in_order_and_keeps_the_requests() -> None:
    whole = ChatReply("cut", FinishReason.LENGTH, Usage())
    chat = ScriptedChatModel(["a b c", whole])

    async def main() -> list[ChatReply]:
        return [await chat(ChatRequest(HELLO, 0.5, 3, 2, ("x",))), await chat(ChatRequest(HELLO))]

    first, second = asyncio.run(main())
    assert first == ChatReply("a b c", FinishReason.STOP, Usage(llm_calls=1, prompt_tokens=2, completion_tokens=3))
    assert second is whole
    assert chat.requests == [ChatRequest(HELLO, 0.5, 3, 2, ("x",)), ChatRequest(HELLO, 0.0, 1024, 0, ())]


def test_replies_by_a_function_of_the_messages() -> None:
    chat: ChatModel = ScriptedChatModel(lambda messages: messages[-1].content.upper())
    assert asyncio.run(chat(ChatRequest(HELLO))).text == "TWO WORDS"


def test_a_script_that_is_used_up_says_so() -> None:
    with pytest.raises(RuntimeError, match="expected at most 0 requests"):
        asyncio.run(ScriptedChatModel()(HELLO))


def test_failures() -> None:
    with pytest.raises(ServiceUnavailableError, match="on purpose"):
        asyncio.run(FailingChatModel()(ChatRequest(HELLO)))
    with pytest.raises(ServiceTimeoutError):
        asyncio.run(FailingChatModel(ServiceTimeoutError("late"))(ChatRequest(HELLO)))
    with pytest.raises(ServiceTimeoutError):
        asyncio.run(ScriptedChatModel([ServiceTimeoutError("late")])(HELLO))
