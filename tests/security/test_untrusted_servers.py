"""docs/explanation/security.md, "A service that lies": the replies of a server behind an LLM endpoint, and their bounds."""

import asyncio
import gzip
import json
from contextlib import AbstractContextManager
from typing import Any

import pytest
from scripted_server import Answer, Server, completion
from scripted_server import serving as serving_at

from workflow_r1.errors import ServiceError, ServiceRejectedError, ServiceUnavailableError
from workflow_r1.inference import ChatReply, ChatRequest, OpenAIChatConfig, OpenAIChatModel
from workflow_r1.services.json_service import MAX_REPLY_BYTES
from workflow_r1.trajectory import Message


def serving(body: bytes = b"", *, status: int = 200, **headers: str) -> AbstractContextManager[Server]:
    """A server that answers every request in the same way, and announces no length."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return serving_at(Answer(body, status, named, announced=False), at="/v1")


def ask(server: Server, **settings: Any) -> ChatReply:
    chosen = {"model": "m", "base_url": server.url, "timeout_seconds": 20.0, "max_retries": 0} | settings

    async def main() -> ChatReply:
        async with OpenAIChatModel(OpenAIChatConfig(**chosen)) as chat:
            return await chat(ChatRequest((Message(role="user", content="What is the capital of France?"),)))

    return asyncio.run(main())


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_server_cannot_send_the_client_to_another_address(status: int) -> None:
    with (
        serving(json.dumps(completion()).encode()) as internal,
        serving(status=status, Location=f"{internal.url}/latest/meta-data") as server,
        pytest.raises(ServiceError, match=r"redirect to .*not followed; .*set base_url to that address"),
    ):
        ask(server)
    assert len(server.paths) == 1
    assert internal.paths == []


def test_a_reply_without_end_is_not_read_to_its_end() -> None:
    with serving(b" " * (4 * MAX_REPLY_BYTES)) as server, pytest.raises(ServiceUnavailableError, match="longer than"):
        ask(server)
    assert server.num_sent < 3 * MAX_REPLY_BYTES


def test_neither_is_an_error_message_without_end() -> None:
    with (
        serving(b"x" * (4 * MAX_REPLY_BYTES), status=500) as server,
        pytest.raises(ServiceUnavailableError, match="longer than"),
    ):
        ask(server)
    assert server.num_sent < 3 * MAX_REPLY_BYTES


def test_a_compressed_reply_is_bounded_by_what_it_holds() -> None:
    bomb = gzip.compress(b" " * (8 * MAX_REPLY_BYTES))
    assert len(bomb) < MAX_REPLY_BYTES / 50
    with serving(bomb, Content_Encoding="gzip") as server, pytest.raises(ServiceUnavailableError, match="longer than"):
        ask(server)
    with serving(gzip.compress(json.dumps(completion()).encode()), Content_Encoding="gzip") as server:
        assert ask(server).text == "Paris"
    with serving(b"(\xb5/\xfd", Content_Encoding="zstd") as server, pytest.raises(ServiceUnavailableError):
        ask(server)


def test_a_reply_of_a_megabyte_is_read() -> None:
    text = "<think>" * 150_000
    with serving(json.dumps(completion(text)).encode()) as server:
        assert ask(server).text == text


@pytest.mark.parametrize(
    "count", ["many", -1, 1.5, [1], {"a": 1}, 10**30, None, True], ids=lambda count: repr(count)[:12]
)
def test_figures_that_are_none_do_not_stop_the_run(count: object) -> None:
    usage = {"prompt_tokens": count, "completion_tokens": count}
    with serving(json.dumps(completion() | {"usage": usage}).encode()) as server:
        reply = ask(server)
    assert reply.text == "Paris"
    assert reply.usage.prompt_tokens in (0, 1)


def test_a_lone_surrogate_in_a_reply_can_be_stored_and_printed() -> None:
    body = json.dumps(completion()).replace("Paris", "Par\\ud800is").encode()
    with serving(body) as server:
        reply = ask(server)
    assert reply.text == "Par?is"


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 200_000,
        b'{"choices": [{"message": "Paris"}]}',
        b'{"choices": [[{"message": {"content": "Paris"}}]]}',
        b'{"usage": ' + b"1" * 100_000 + b"}",
        b"\xff\xfe\x00",
        b"",
        b"null",
        b'{"choices": {"0": {"message": {"content": "Paris"}}}}',
    ],
    ids=lambda body: body[:24].decode("latin-1"),
)
def test_a_body_that_is_no_completion_is_a_failure_of_the_service(body: bytes) -> None:
    with serving(body) as server, pytest.raises(ServiceError, match="cannot be read"):
        ask(server)


def test_an_error_message_is_one_short_line() -> None:
    message = "boom\nINFO: all is well\r\x1b[2J" + "x" * 10_000
    body = json.dumps({"error": {"message": message}}).encode()
    with serving(body, status=400) as server, pytest.raises(ServiceRejectedError) as caught:
        ask(server)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("charset", ["zlib", "hex", "rot13", "utf-7", "punycode", "undefined", "no-such"])
def test_a_charset_that_is_none_is_a_failure_of_the_service(charset: str) -> None:
    for status in (200, 400):
        with (
            serving(b"{not json \xff", status=status, Content_Type=f"application/json; charset={charset}") as server,
            pytest.raises(ServiceError, match="expected a reply"),
        ):
            ask(server)
