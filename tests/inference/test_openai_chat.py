"""The chat model against a real HTTP server on this machine."""

import asyncio
import base64
import gc
import json
import subprocess
import sys
import threading
from contextlib import AbstractContextManager
from typing import Any

import pytest
from scripted_server import Answer, Script, Server, completion
from scripted_server import serving as serving_at

from workflow_r1.errors import (
    ConfigError,
    EndpointRejectedError,
    FilteredError,
    ServiceError,
    ServiceRejectedError,
    ServiceTimeoutError,
    ServiceUnavailableError,
    TooLongError,
)
from workflow_r1.inference import ChatReply, ChatRequest, FailureKind, OpenAIChatConfig, OpenAIChatModel
from workflow_r1.services import attempts
from workflow_r1.trajectory import FinishReason, Message, Usage

QUESTION = (Message(role="user", content="What is the capital of France?"),)
KEY = "sk-secret-0123456789"


def serving(*script: Script) -> AbstractContextManager[Server]:
    return serving_at(*script, at="/v1")


def config(server: Server, **changes: Any) -> OpenAIChatConfig:
    settings = {"model": "m", "base_url": server.url, "timeout_seconds": 5.0, "max_retries": 2, "backoff_seconds": 0.01}
    return OpenAIChatConfig(**(settings | changes))


async def call(chat: OpenAIChatModel, **arguments: Any) -> ChatReply:
    async with chat:
        return await chat(ChatRequest(QUESTION, **arguments))


def ask(chat_config: OpenAIChatConfig, **arguments: Any) -> ChatReply:
    return asyncio.run(call(OpenAIChatModel(chat_config), **arguments))


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def test_reply_and_request() -> None:
    with serving(Answer(completion())) as server:
        reply = ask(config(server, extra_body={"top_k": 3}), temperature=0.5, max_tokens=9, stop=("</answer>",))
    assert reply == ChatReply(
        "Paris",
        FinishReason.STOP,
        Usage(llm_calls=1, prompt_tokens=7, completion_tokens=3, cost=None, paid=None),
    )
    assert server.bodies == [
        {
            "model": "m",
            "messages": [{"role": "user", "content": "What is the capital of France?"}],
            "temperature": 0.5,
            "max_tokens": 9,
            "stop": ["</answer>"],
            "top_k": 3,
        }
    ]
    assert server.paths == ["/v1/chat/completions"]


def test_a_server_without_keys_needs_none_and_a_key_is_sent_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Answer(completion())) as server:
        ask(config(server))
        monkeypatch.setenv("OTHER_KEY", f" {KEY}\n")
        ask(config(server, api_key_env="OTHER_KEY"))
    assert [headers.get("authorization") for headers in server.headers] == [None, f"Bearer {KEY}"]


def test_throttled_then_answered() -> None:
    throttled = Answer({"error": {"message": "slow down"}}, status=429)
    with serving(throttled, throttled, Answer(completion())) as server:
        assert ask(config(server)).text == "Paris"
    assert len(server.bodies) == 3


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Every wait between two attempts; none is waited for."""
    seen: list[float] = []
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        seen.append(seconds)
        await sleep(0)

    monkeypatch.setattr(attempts.asyncio, "sleep", note)
    return seen


def test_retry_after_is_honoured(waits: list[float]) -> None:
    throttled = Answer({"error": {"message": "slow down"}}, status=429, headers={"Retry-After": "30"})
    with serving(throttled, Answer(completion())) as server:
        ask(config(server))
    assert len(waits) == 1
    assert 30 <= waits[0] < 31


def test_a_retry_after_of_an_hour_is_not_waited_for() -> None:
    throttled = Answer({"error": {"message": "slow down"}}, status=429, headers={"Retry-After": "3600"})
    with serving(throttled) as server, pytest.raises(ServiceUnavailableError, match="wait 3600 s"):
        ask(config(server))
    assert len(server.bodies) == 1


def test_gives_up_on_a_server_that_keeps_failing() -> None:
    with (
        serving(Answer({"error": {"message": "boom"}}, status=500)) as server,
        pytest.raises(ServiceUnavailableError, match=r"m at http://127.*status 500 \(boom\) after 3 attempts; check"),
    ):
        ask(config(server))
    assert len(server.bodies) == 3


def test_a_server_that_hangs_is_a_timeout() -> None:
    message = r"no complete reply within 0\.2 s after 2 attempts"
    with serving(Answer(completion(), seconds=30)) as server:
        chat = OpenAIChatModel(config(server, timeout_seconds=0.2, max_retries=1))
        with pytest.raises(ServiceTimeoutError, match=message):
            asyncio.run(call(chat))
    # Not what reached the server: on a busy machine the time may be over before the request is sent.
    assert chat.failures == {FailureKind.TIMEOUT: 2}


def test_a_server_that_sends_not_a_byte_is_given_up_sooner() -> None:
    message = r"not a byte for 0\.2 s after 1 attempt; .* idle_timeout_seconds"
    with serving(Answer(completion(), seconds=30)) as server, pytest.raises(ServiceTimeoutError, match=message):
        ask(config(server, idle_timeout_seconds=0.2, max_retries=0))


def test_bytes_now_and_then_keep_an_attempt_alive() -> None:
    with serving(Answer(completion(), trickle=True)) as server:
        threading.Timer(1.5, server.released.set).start()
        assert ask(config(server, idle_timeout_seconds=1.0)).text == "Paris"


@pytest.mark.parametrize(
    ("asked", "received", "same"),
    [
        ("gpt-4o", "gpt-4o-2024-08-06", True),
        ("openai/GPT-4o", "gpt-4o", True),
        ("m", None, True),
        ("smollm2", "SmolLM2-135M", True),
        ("gpt-4o", "gpt-3.5-turbo", False),
        ("gpt-4o-2024-08-06", "gpt-4o-mini", False),
    ],
)
def test_the_reply_of_another_model_is_refused(asked: str, received: str | None, same: bool) -> None:
    with serving(Answer(completion() | {"model": received})) as server:
        if same:
            ask(config(server, model=asked))
            return
        with pytest.raises(ServiceUnavailableError, match=r"a reply of the model .* check_model = false"):
            ask(config(server, model=asked))
        assert len(server.bodies) == 3
        assert ask(config(server, model=asked, check_model=False)).text == "Paris"


def test_another_model_once_is_asked_again() -> None:
    with serving(Answer(completion() | {"model": "other"}), Answer(completion())) as server:
        assert ask(config(server)).text == "Paris"


def test_failures_and_retries_are_counted_by_kind() -> None:
    throttled = Answer({"error": {"message": "slow down"}}, status=429)
    broken = Answer({"error": {"message": "boom"}}, status=500)
    with serving(throttled, Answer(b"{"), Answer(completion()), broken) as server:
        chat = OpenAIChatModel(config(server))
        asyncio.run(call(chat))
        with pytest.raises(ServiceUnavailableError):
            asyncio.run(call(chat))
    assert chat.num_replies == 1
    assert chat.failures == {FailureKind.THROTTLED: 1, FailureKind.INVALID_REPLY: 1, FailureKind.SERVER_ERROR: 3}
    assert chat.retries == {FailureKind.THROTTLED: 1, FailureKind.INVALID_REPLY: 1, FailureKind.SERVER_ERROR: 2}


@pytest.mark.parametrize(
    ("status", "error", "kind", "raised"),
    [
        (401, {}, FailureKind.BAD_KEY, EndpointRejectedError),
        (403, {}, FailureKind.BAD_KEY, EndpointRejectedError),
        (400, {"code": "invalid_api_key"}, FailureKind.BAD_KEY, EndpointRejectedError),
        (404, {}, FailureKind.UNKNOWN_MODEL, EndpointRejectedError),
        (400, {"code": "model_not_found"}, FailureKind.UNKNOWN_MODEL, EndpointRejectedError),
        (402, {}, FailureKind.NO_QUOTA, EndpointRejectedError),
        (429, {"code": "insufficient_quota"}, FailureKind.NO_QUOTA, EndpointRejectedError),
        (413, {}, FailureKind.TOO_LONG, TooLongError),
        (400, {"code": "context_length_exceeded"}, FailureKind.TOO_LONG, TooLongError),
        (400, {"message": "the model's maximum context length is 4096"}, FailureKind.TOO_LONG, TooLongError),
        # The 1,024 tokens that are asked for fill this context alone: no content could be short enough.
        (400, {"message": "the model's maximum context length is 1024"}, FailureKind.REJECTED, ServiceRejectedError),
        (400, {"code": "content_filter"}, FailureKind.CONTENT_FILTER, FilteredError),
        (422, {}, FailureKind.REJECTED, ServiceRejectedError),
    ],
)
def test_refusals_are_told_apart(status: int, error: dict, kind: FailureKind, raised: type[ServiceError]) -> None:
    refusal = Answer({"error": {"message": "no"} | error}, status=status)
    with serving(refusal) as server, pytest.raises(ServiceRejectedError) as caught:
        chat = OpenAIChatModel(config(server))
        asyncio.run(call(chat))
    assert type(caught.value) is raised
    assert chat.failures == {kind: 1}
    assert not chat.retries


def test_a_retry_after_may_be_a_date(waits: list[float]) -> None:
    for date in ("Thu, 01 Jan 1970 00:00:00 GMT", "whenever"):
        throttled = Answer({"error": {"message": "slow down"}}, status=429, headers={"Retry-After": date})
        with serving(throttled, Answer(completion())) as server:
            ask(config(server))
    assert len(waits) == 2
    assert max(waits) < 1
    far = Answer({}, status=429, headers={"Retry-After": "Thu, 01 Jan 2099 00:00:00 GMT"})
    with serving(far) as server, pytest.raises(ServiceUnavailableError, match="the service asks to wait"):
        ask(config(server))


def test_the_seed_is_sent_where_it_is_wanted() -> None:
    with serving(Answer(completion())) as server:
        ask(config(server, send_seed=True), sample_index=2)
        ask(config(server), sample_index=2)
    assert [body.get("seed") for body in server.bodies] == [2, None]


def test_an_error_with_status_200_is_told() -> None:
    answer = Answer({"error": {"message": "upstream is busy"}})
    with serving(answer) as server, pytest.raises(ServiceUnavailableError, match="upstream is busy"):
        ask(config(server))


@pytest.mark.parametrize("usage", [{"prompt_tokens": "7"}, {"prompt_tokens": -1}, {"prompt_tokens": 1.5}, [], "x"])
def test_usage_that_makes_no_sense_is_none(usage: object) -> None:
    with serving(Answer(completion() | {"usage": usage})) as server:
        assert ask(config(server)).usage == Usage(llm_calls=1, cost=None, paid=None)


def test_a_server_that_trickles_is_a_timeout() -> None:
    with serving(Answer(completion(), trickle=True)) as server, pytest.raises(ServiceTimeoutError):
        ask(config(server, timeout_seconds=0.3, max_retries=0))


def test_nobody_listens() -> None:
    with serving(Answer(completion())) as server:
        pass
    with pytest.raises(ServiceUnavailableError, match="no connection"):
        ask(config(server))


@pytest.mark.parametrize(
    ("status", "remedy"),
    [(400, "length of the input"), (401, "variable MY_KEY"), (403, "MY_KEY"), (404, "base_url"), (422, "max_tokens")],
)
def test_a_refusal_is_not_tried_again_and_names_no_secret(
    status: int, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    refusal = Answer({"error": {"message": f"Incorrect API key provided: {KEY}."}}, status=status)
    with serving(refusal) as server, pytest.raises(ServiceRejectedError, match=remedy) as caught:
        ask(config(server, api_key_env="MY_KEY"))
    assert len(server.bodies) == 1
    assert KEY not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_an_account_without_quota_is_a_refusal() -> None:
    refusal = Answer({"error": {"message": "You have no quota", "code": "insufficient_quota"}}, status=429)
    with serving(refusal) as server, pytest.raises(ServiceRejectedError, match="quota"):
        ask(config(server))
    assert len(server.bodies) == 1


@pytest.mark.parametrize(
    "answer",
    [
        Answer(b"{not json"),
        Answer(b"[" * 100_000),
        Answer(b"\xff\xfe"),
        Answer(json.dumps(completion()).encode()[:-20]),
        Answer({"choices": [7]}),
        Answer(b"<html>gateway</html>", headers={"Content-Type": "text/html"}),
        Answer({"choices": []}),
        Answer({"choices": None}),
        Answer({"choices": [{"index": 0}]}),
        Answer({"error": "no"}),
        Answer([1, 2]),
        Answer(completion() | {"choices": [{"index": 0, "finish_reason": "stop", "message": {"content": 5}}]}),
    ],
    ids=lambda answer: str(answer.body)[:30],
)
def test_a_reply_that_cannot_be_read(answer: Answer) -> None:
    with serving(answer) as server:
        with pytest.raises(ServiceUnavailableError, match="cannot be read"):
            ask(config(server, max_retries=1))
        assert len(server.bodies) == 2
    with serving(answer, Answer(completion())) as server:
        assert ask(config(server, max_retries=1)).text == "Paris"


def test_length_null_content_and_missing_usage() -> None:
    cut = completion("Steven Spiel", "length")
    silent = completion(None, "length") | {"usage": None}
    refused = completion(None, refusal="I may not.")
    with serving(Answer(cut), Answer(silent), Answer(refused)) as server:
        replies = [ask(config(server)) for _ in range(3)]
    assert [(reply.text, reply.finish_reason) for reply in replies] == [
        ("Steven Spiel", FinishReason.LENGTH),
        ("", FinishReason.LENGTH),
        ("I may not.", FinishReason.STOP),
    ]
    assert replies[1].usage == Usage(llm_calls=1, cost=None, paid=None)


def test_no_more_requests_at_once_than_allowed() -> None:
    async def main(chat: OpenAIChatModel) -> None:
        async with chat:
            await asyncio.gather(*(chat(ChatRequest(QUESTION)) for _ in range(12)))

    with serving(Answer(completion(), seconds=0.05)) as server:
        asyncio.run(main(OpenAIChatModel(config(server, concurrency=3))))
    assert len(server.bodies) == 12
    assert server.most_in_flight == 3


@pytest.mark.parametrize("close", [True, False])
def test_one_object_serves_several_event_loops(close: bool) -> None:
    trouble: list[dict[str, Any]] = []

    async def main(chat: OpenAIChatModel) -> int:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: trouble.append(context))
        replies = await asyncio.gather(*(chat(ChatRequest(QUESTION)) for _ in range(3)))
        gc.collect()
        if close:
            await chat.aclose()
        return len(replies)

    with serving(Answer(completion(), seconds=0.02)) as server:
        chat = OpenAIChatModel(config(server, concurrency=1))
        assert [asyncio.run(main(chat)) for _ in range(3)] == [3, 3, 3]
        del chat
        gc.collect()
    assert trouble == []
    assert server.most_in_flight == 1


def test_the_package_waits_with_its_heavy_imports() -> None:
    code = "import sys, workflow_r1.operators; print({'openai', 'bm25s', 'torch', 'transformers'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_text_that_is_no_utf8_is_sent_all_the_same() -> None:
    async def main(server: Server) -> None:
        async with OpenAIChatModel(config(server)) as chat:
            await chat(ChatRequest((Message(role="user", content="é \ud800 \x00 שלום"),)))

    with serving(Answer(completion())) as server:
        asyncio.run(main(server))
    assert server.bodies[0]["messages"][0]["content"] == "é ? \x00 שלום"


def test_cancelling_frees_the_slot() -> None:
    async def main(server: Server) -> str:
        async with OpenAIChatModel(config(server, concurrency=1)) as chat:
            await chat(ChatRequest(QUESTION))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await chat(ChatRequest(QUESTION))
            return (await chat(ChatRequest(QUESTION))).text

    with serving(Answer(completion()), Answer(completion(), seconds=30), Answer(completion("second"))) as server:
        assert asyncio.run(main(server)) == "second"


@pytest.mark.parametrize(
    ("changes", "environment", "message"),
    [
        ({}, {}, "expected an API key in the environment variable OPENAI_API_KEY"),
        ({"base_url": "localhost:8000"}, {}, "http://127"),
        ({"base_url": "http://"}, {}, "http://127"),
        ({}, {"OPENAI_API_KEY": "sk-\u201cquoted\u201d"}, "plain ASCII"),
    ],
)
def test_wrong_settings(
    changes: dict[str, Any], environment: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=message):
        OpenAIChatModel(OpenAIChatConfig(model="m", **changes))


def test_no_login_in_messages() -> None:
    with serving(Answer(completion())) as server:
        pass
    url = server.url.replace("http://", "http://user:hunter2@")
    with pytest.raises(ServiceError) as caught:
        ask(config(server, base_url=url, max_retries=0))
    assert "hunter2" not in str(caught.value)


def refusal_of(parameter: str, message: str) -> Answer:
    return Answer({"error": {"message": message, "param": parameter, "code": "unsupported_parameter"}}, status=400)


NO_MAX_TOKENS = refusal_of("max_tokens", "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
NO_TEMPERATURE = refusal_of("temperature", "Unsupported value: 'temperature' does not support 0.0 with this model.")
NO_STOP = refusal_of("stop", "Unsupported parameter: 'stop' is not supported with this model.")


def test_fields_that_a_model_does_not_take_are_learned_from_its_refusal_once() -> None:
    async def main(server: Server) -> list[str]:
        async with OpenAIChatModel(config(server, max_retries=0)) as chat:
            request = ChatRequest(QUESTION, stop=("\nEnd",))
            texts = [(await chat(request)).text for _ in range(2)]
            assert not chat.failures
            return texts

    told = Answer(completion("Paris\nEnd of it\nEnd"))
    with serving(NO_MAX_TOKENS, NO_TEMPERATURE, NO_STOP, told) as server:
        # Where the server takes no stop strings, the reply is cut here.
        assert asyncio.run(main(server)) == ["Paris", "Paris"]
    assert [set(body) & {"max_tokens", "max_completion_tokens", "temperature", "stop"} for body in server.bodies] == [
        {"max_tokens", "temperature", "stop"},
        {"max_completion_tokens", "temperature", "stop"},
        {"max_completion_tokens", "stop"},
        {"max_completion_tokens"},
        {"max_completion_tokens"},
    ]
    assert server.bodies[-1]["max_completion_tokens"] == 1024


def test_requests_that_are_under_way_when_one_is_refused_all_learn_from_it() -> None:
    async def main(server: Server) -> list[str]:
        async with OpenAIChatModel(config(server, max_retries=0)) as chat:
            replies = await asyncio.gather(*(chat(ChatRequest(QUESTION)) for _ in range(4)))
            return [reply.text for reply in replies]

    refused = Answer(NO_MAX_TOKENS.body, status=400, seconds=0.1)
    with serving(refused, refused, refused, refused, Answer(completion())) as server:
        assert asyncio.run(main(server)) == ["Paris"] * 4
    assert len(server.bodies) == 8


def test_a_server_that_refuses_whatever_is_left_out_is_not_asked_for_ever() -> None:
    with serving(NO_TEMPERATURE) as server, pytest.raises(ServiceRejectedError, match="does not support"):
        ask(config(server))
    assert len(server.bodies) == 2


def test_a_field_of_the_users_own_is_not_taken_back() -> None:
    with serving(NO_TEMPERATURE) as server, pytest.raises(ServiceRejectedError):
        ask(config(server, extra_body={"temperature": 1}))
    assert len(server.bodies) == 1


def test_fields_are_left_out_and_renamed_as_configured() -> None:
    with serving(Answer(completion())) as server:
        ask(config(server, length_field="max_completion_tokens", leave_out=("temperature",)), max_tokens=9)
        ask(config(server, extra_body={"temperature": None, "max_tokens": None, "top_k": 3}))
    first, second = server.bodies
    assert first.keys() == {"model", "messages", "max_completion_tokens"}
    assert first["max_completion_tokens"] == 9
    assert second.keys() == {"model", "messages", "top_k"}


def test_a_login_in_the_address_is_sent_and_its_query_stays_behind_the_path() -> None:
    with serving(Answer(completion())) as server:
        ask(config(server, base_url=server.url.replace("http://", "http://me:p%40ss@") + "/?api-version=1"))
    assert server.paths[0] == "/v1/chat/completions?api-version=1"
    assert base64.b64decode(server.headers[0]["authorization"].removeprefix("Basic ")) == b"me:p@ss"


def test_no_cookie_goes_back_to_the_server() -> None:
    async def main(server: Server) -> None:
        async with OpenAIChatModel(config(server)) as chat:
            for _ in range(2):
                await chat(ChatRequest(QUESTION))

    with serving(Answer(completion(), headers={"Set-Cookie": "session=1"})) as server:
        asyncio.run(main(server))
    assert ["cookie" in headers for headers in server.headers] == [False, False]


def test_a_thought_beside_the_content_is_kept_apart() -> None:
    with serving(Answer(completion("Rome", reasoning_content=f"The key is {KEY}"))) as server:
        reply = ask(config(server))
    assert (reply.text, reply.reasoning) == ("Rome", f"The key is {KEY}")


@pytest.mark.parametrize("variable", ["ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy"])
def test_a_server_on_this_machine_is_asked_without_a_proxy(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "socks5://10.255.255.1:1080")
    with serving(Answer(completion())) as server:
        assert ask(config(server)).text == "Paris"
