"""The server that fails on demand, and the failure that the client counts for each of its faults."""

import asyncio
import json
import urllib.request

import pytest

from workflow_r1.errors import ServiceError, ServiceTimeoutError, ServiceUnavailableError
from workflow_r1.inference import ChatRequest, OpenAIChatConfig, OpenAIChatModel, ScriptedChatModel
from workflow_r1.inference.loopback import Fault, LoopbackServer
from workflow_r1.trajectory import Message


def ask(server: LoopbackServer, text: str = "q", *, max_retries: int = 0) -> tuple[OpenAIChatModel, str]:
    chat = OpenAIChatModel(
        OpenAIChatConfig(
            model="m",
            base_url=server.url,
            max_retries=max_retries,
            backoff_seconds=0.01,
            idle_timeout_seconds=0.5,
            timeout_seconds=1.0,
        )
    )

    async def main() -> str:
        async with chat:
            try:
                return (await chat(ChatRequest((Message(role="user", content=text),)))).text
            except ServiceError as error:
                return type(error).__name__

    return chat, asyncio.run(main())


@pytest.mark.parametrize("fault", Fault)
def test_the_client_counts_every_fault_by_its_kind(fault: Fault) -> None:
    with LoopbackServer(ScriptedChatModel(lambda _: "reply" * 50), fault_rate=1.0, faults=[fault]) as server:
        chat, result = ask(server)
        assert chat.failures == {fault.failure: 1} == server.failures
        assert not chat.retries
        timeouts = (Fault.HANG, Fault.DRIP)
        assert result == (ServiceTimeoutError if fault in timeouts else ServiceUnavailableError).__name__
        chat, _ = ask(server, max_retries=1)
        assert chat.failures == {fault.failure: 2}
        assert chat.retries == {fault.failure: 1}


def test_faults_depend_on_the_request_and_not_on_the_order() -> None:
    def run(texts: list[str]) -> dict[str, int]:
        with LoopbackServer(ScriptedChatModel(lambda _: "r"), fault_rate=0.5, faults=[Fault.ERROR_500]) as server:
            return {text: sum(ask(server, text, max_retries=20)[0].failures.values()) for text in texts}

    one = run(list("abcde"))
    assert run(list("edcba")) == one
    assert len(set(one.values())) > 1


def test_it_serves_any_client_and_starts_again_at_the_same_address() -> None:
    server = LoopbackServer(ScriptedChatModel(lambda messages: messages[-1].content.upper()))
    for _ in range(2):
        with server:
            body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hello"}]}).encode()
            request = urllib.request.Request(f"{server.url}/chat/completions", body)
            with urllib.request.urlopen(request) as response:
                reply = json.load(response)
            assert reply["choices"][0]["message"]["content"] == "HELLO"
            assert reply["usage"] == {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        assert ask(server)[1] == ServiceUnavailableError.__name__
    assert server.num_replies == 2


def test_a_failing_chat_model_behind_it_is_a_server_error() -> None:
    with LoopbackServer(ScriptedChatModel(lambda _: ServiceUnavailableError("down"))) as server:
        assert ask(server)[0].failures == {"server_error": 1}
