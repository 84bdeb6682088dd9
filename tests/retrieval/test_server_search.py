"""The client of retrieval servers, against real HTTP servers on this machine."""

import asyncio
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from scripted_server import Answer, Request

from workflow_r1.errors import (
    ConfigError,
    EndpointRejectedError,
    ServiceError,
    ServiceRejectedError,
    ServiceTimeoutError,
    ServiceUnavailableError,
)
from workflow_r1.retrieval import Passage, RetrievalServerConfig, RetrievalServerSearch
from workflow_r1.retrieval.server_search import read_reply
from workflow_r1.services import json_service as module

KEY = "secret-0123456789"


def found(query: str) -> dict[str, Any]:
    return {"document": {"id": query, "contents": f'"{query}"\nAbout {query}.'}, "score": 2.5}


def passage(query: str) -> Passage:
    return Passage(query, query, f"About {query}.", 2.5)


@pytest.fixture
def echo() -> Callable[[Request], Answer]:
    """Finds one passage for every query, which repeats it."""
    return lambda request: Answer({"result": [[found(query)] for query in request.json["queries"]]})


def config(url: str, **changes: Any) -> RetrievalServerConfig:
    settings = {"url": url, "timeout_seconds": 5.0, "max_retries": 2, "backoff_seconds": 0.01}
    return RetrievalServerConfig(**(settings | changes))


def search(settings: RetrievalServerConfig, *queries: str, k: int = 5) -> list[Any]:
    """Search for all queries at once; return the findings or the error of each."""

    async def main() -> list[Any]:
        backend = RetrievalServerSearch(settings)
        try:
            return await asyncio.gather(*(backend(query, k=k) for query in queries), return_exceptions=True)
        finally:
            await backend.aclose()

    return asyncio.run(main())


def test_what_is_sent_and_what_comes_back(serve: Callable, echo: Callable) -> None:
    server = serve(echo)
    assert search(config(server.url), "Jaws", k=3) == [[passage("Jaws")]]
    assert server.bodies == [{"queries": ["Jaws"], "topk": 3, "return_scores": True}]
    assert server.paths == ["/retrieve"]
    assert "authorization" not in server.headers[0]


def test_an_address_with_a_path_is_asked_as_it_is(serve: Callable, echo: Callable) -> None:
    server = serve(echo)
    for path in ("/", "/retrieve", "/v2/search"):
        search(config(server.url + path), "Jaws")
    assert server.paths == ["/retrieve", "/retrieve", "/v2/search"]


def test_queries_that_come_at_once_go_together(serve: Callable, echo: Callable) -> None:
    server = serve(echo)
    queries = [f"q{number}" for number in range(10)]
    assert search(config(server.url, max_batch=4), *queries) == [[passage(query)] for query in queries]
    assert sorted(len(request["queries"]) for request in server.bodies) == [2, 4, 4]


def test_queries_gather_while_all_requests_are_under_way(serve: Callable, echo: Callable) -> None:
    def slow(request: Request) -> Answer:
        return replace(echo(request), seconds=0.2)

    server = serve(slow, slow, echo)

    async def main() -> None:
        backend = RetrievalServerSearch(config(server.url, concurrency=2))
        tasks = []
        for number in range(8):
            tasks.append(asyncio.create_task(backend(f"q{number}", k=5)))
            await asyncio.sleep(0.01)
        assert [(await task)[0].id for task in tasks] == [f"q{number}" for number in range(8)]

    asyncio.run(main())
    assert [len(request["queries"]) for request in server.bodies] == [1, 1, 6]
    assert server.most_in_flight == 2


def test_queries_of_another_k_go_by_themselves(serve: Callable, echo: Callable) -> None:
    server = serve(echo)

    async def main() -> None:
        backend = RetrievalServerSearch(config(server.url))
        await asyncio.gather(*(backend(f"q{k}", k=k) for k in (1, 2, 1, 2)))

    asyncio.run(main())
    sent = sorted((request["topk"], request["queries"]) for request in server.bodies)
    assert sent == [(1, ["q1", "q1"]), (2, ["q2", "q2"])]


def test_who_was_cancelled_is_not_asked_for_and_holds_nobody_up(serve: Callable, echo: Callable) -> None:
    server = serve(echo)

    async def main() -> None:
        backend = RetrievalServerSearch(config(server.url))
        given_up, kept = (asyncio.create_task(backend(query, k=5)) for query in ("a", "b"))
        await asyncio.sleep(0)
        given_up.cancel()
        assert await kept == [passage("b")]
        with pytest.raises(asyncio.CancelledError):
            await given_up
        lone = asyncio.create_task(backend("c", k=5))
        await asyncio.sleep(0)
        lone.cancel()
        await asyncio.sleep(0.05)
        assert await backend("d", k=5) == [passage("d")]

    asyncio.run(main())
    assert [request["queries"] for request in server.bodies] == [["b"], ["d"]]


def test_one_refused_query_does_not_fail_the_others(serve: Callable, echo: Callable) -> None:
    server = serve(
        lambda request: Answer({"detail": "too long"}, 422) if "bad" in request.json["queries"] else echo(request)
    )
    good, bad, other = search(config(server.url), "good", "bad", "other")
    assert (good, other) == ([passage("good")], [passage("other")])
    assert isinstance(bad, ServiceRejectedError)
    assert "status 422 (too long)" in str(bad)
    assert len(server.bodies) == 4


def test_one_object_serves_several_event_loops(serve: Callable, echo: Callable) -> None:
    server = serve(echo)
    backend = RetrievalServerSearch(config(server.url))
    for query in ("a", "b"):
        assert asyncio.run(backend(query, k=5)) == [passage(query)]


@pytest.mark.parametrize(
    ("first", "cause"),
    [
        ({"status": 503, "body": {"detail": "warming up"}}, "server_error"),
        ({"status": 429, "headers": {"Retry-After": "0"}}, "throttled"),
        ({"body": b"<html>busy</html>"}, "invalid_reply"),
        ({"body": {"results": []}}, "invalid_reply"),
        ({"body": b"x" * 10, "headers": {"Content-Encoding": "gzip"}}, "invalid_reply"),
        ({"body": {"result": []}, "headers": {"Content-Encoding": "br"}}, "invalid_reply"),
        ({"body": {"result": []}, "missing": 1000}, "reset"),
        ({"body": {"result": []}, "trickle": True}, "timeout"),
        ({"body": {"result": []}, "seconds": 5.0}, "idle"),
    ],
)
def test_what_may_pass_is_tried_again_and_counted(
    serve: Callable, echo: Callable, first: dict[str, Any], cause: str
) -> None:
    server = serve(Answer(**first), echo)

    async def main() -> None:
        backend = RetrievalServerSearch(config(server.url, timeout_seconds=0.5, idle_timeout_seconds=0.3))
        assert await backend("Jaws", k=5) == [passage("Jaws")]
        assert backend.failures == {cause: 1}

    asyncio.run(main())
    assert len(server.bodies) == 2


@pytest.mark.parametrize(
    ("reply", "kind", "message"),
    [
        (
            {"status": 500, "body": {"detail": "no index"}},
            ServiceUnavailableError,
            "status 500 (no index) after 3 attempts",
        ),
        ({"body": b"<html>"}, ServiceUnavailableError, "expected JSON, found '<html>'"),
        ({"body": b"[" * 100_000}, ServiceUnavailableError, "expected JSON"),
        ({"body": {"results": []}}, ServiceUnavailableError, "a list in the field result, found fields results"),
        ({"body": {"result": []}}, ServiceUnavailableError, "passages for each of 1 queries in result, found 0 lists"),
        (
            {"body": {"result": [[{"name": 1}]]}},
            ServiceUnavailableError,
            "query 1: passage 1: expected a field contents",
        ),
        ({"seconds": 5.0}, ServiceTimeoutError, "not a byte for 0.2 s after 3 attempts; check the service's load"),
        ({"trickle": True}, ServiceTimeoutError, "no complete reply within 0.4 s after 3 attempts"),
        (
            {"status": 404, "body": {"detail": "Not Found"}},
            EndpointRejectedError,
            "status 404 (Not Found); check search.server",
        ),
        (
            {"status": 307, "headers": {"Location": "http://u:p@x/y"}},
            EndpointRejectedError,
            "redirects to http://x/y: set",
        ),
        ({"status": 401, "body": b"no"}, EndpointRejectedError, "status 401 (no)"),
        ({"status": 429, "headers": {"Retry-After": "900"}}, ServiceUnavailableError, "asks to wait 900 s"),
    ],
)
def test_what_does_not_pass(serve: Callable, reply: dict[str, Any], kind: type[ServiceError], message: str) -> None:
    server = serve(Answer(**reply))
    settings = config(server.url, timeout_seconds=0.4, idle_timeout_seconds=0.2)
    (error,) = search(settings, "Jaws")
    assert type(error) is kind
    assert message in str(error)
    assert str(error).startswith(f"search at {server.url}/retrieve: expected a reply, received")
    if kind is not ServiceTimeoutError:  # A server on a busy machine may not even have read the request.
        assert len(server.bodies) == (1 if issubclass(kind, ServiceRejectedError) or "900" in message else 3)


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    first, second = search(config(f"http://127.0.0.1:{port}"), "a", "b")
    assert isinstance(first, ServiceUnavailableError)
    assert "no connection" in str(first)
    assert "check that the service runs" in str(first)
    assert type(second) is type(first)
    assert second is not first


def test_long_replies(serve: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "word " * 200_000
    server = serve(Answer({"result": [[{"document": {"contents": f"T\n{text}"}}] * 3]}))
    ((first, *_),) = search(config(server.url), "Jaws")
    assert first.text == text.strip()
    monkeypatch.setattr(module, "MAX_REPLY_BYTES", 2**20)
    (error,) = search(config(server.url), "Jaws")
    assert "longer than 1048576 bytes" in str(error)


def test_the_key_is_sent_and_never_told(serve: Callable, echo: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", f" {KEY}\n")
    server = serve(echo, Answer({"detail": f"wrong key {KEY}"}, 403), Answer(f"garbage {KEY}".encode()))
    settings = config(server.url, api_key_env="MY_KEY", max_retries=0)
    search(settings, "Jaws")
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    for _ in range(2):
        (error,) = search(settings, "Jaws")
        assert isinstance(error, ServiceError)
        assert "***" in str(error)
        assert KEY not in str(error)
        assert error.__cause__ is None
    monkeypatch.delenv("MY_KEY")
    with pytest.raises(ConfigError, match="the retrieval server's key in the environment variable MY_KEY, found none"):
        RetrievalServerSearch(settings)


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://x", "http://"])
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(ConfigError, match=r"search.server.url: expected an address such as"):
        RetrievalServerSearch(config(url))
    with pytest.raises(ConfigError, match="expected no login") as raised:
        RetrievalServerSearch(config("http://me:secret@host"))
    assert "secret" not in str(raised.value)


def test_text_that_utf8_cannot_hold(serve: Callable, echo: Callable) -> None:
    server = serve(echo)
    search(config(server.url), "a\ud800\x00\u202e")
    assert server.bodies[0]["queries"] == ["a?\x00\u202e"]


@pytest.mark.parametrize("reply", [None, 7, [], "x", {}, {"result": {}}, {"result": [None]}, {"result": [[None]]}])
def test_nonsense_is_named(reply: Any) -> None:
    with pytest.raises(ValueError, match="expected"):
        read_reply(reply, 1, 5)


def test_documents_without_scores_and_more_than_were_asked_for() -> None:
    documents = [{"contents": f'"T{number}"\ntext'} for number in range(4)]
    ((first, second),) = read_reply({"result": [documents]}, 1, 2)
    assert (first.title, second.title) == ("T0", "T1")
    assert first.score > second.score


def test_many_queries_are_quick(serve: Callable, echo: Callable) -> None:
    server = serve(echo)
    started = time.perf_counter()
    assert len(search(config(server.url), *map(str, range(2000)))) == 2000
    assert len(server.bodies) == 63
    assert time.perf_counter() - started < 10
