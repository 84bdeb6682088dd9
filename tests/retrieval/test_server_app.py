"""Our retrieval server over real HTTP, asked by a client that knows only Search-R1's protocol (plain urllib)."""

import asyncio
import http.client
import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

pytest.importorskip("uvicorn")

from workflow_r1.errors import ServiceTimeoutError, ServiceUnavailableError, UserError
from workflow_r1.retrieval import (
    BM25Index,
    Passage,
    RetrievalServerConfig,
    RetrievalServerSearch,
    ScriptedSearch,
    SearchBackend,
)
from workflow_r1.retrieval.server_app import ServerLimits, make_app
from workflow_r1.running.http_server import address_of, listen
from workflow_r1.services.admission import AdmissionRules

PASSAGES = [
    Passage("p0", "Jaws", "A film directed by Steven Spielberg about a shark.", 0.0),
    Passage("p1", "Steven Spielberg", "He was born in Cincinnati.\nHis films are many.", 0.0),
    Passage("p2", '"Heroes" and "Low"', "Two albums.", 0.0),
    Passage("p3", "", "Words without a title.", 0.0),
]
QUERIES = [
    "jaws shark film",
    "where was Spielberg born",
    "heroes albums",
    "words without title",
    "nothing of all this zzz",
]


@contextmanager
def _serving(search: SearchBackend, limits: ServerLimits, rules: AdmissionRules | None = None) -> Iterator[str]:
    import uvicorn

    with listen("127.0.0.1", 0) as listening:
        app = make_app(search, default_k=3, description={"passages": 4}, limits=limits, rules=rules)
        running = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield address_of(listening)
        finally:
            running.should_exit = True
            thread.join()


@pytest.fixture
def start() -> Iterator[Callable[..., str]]:
    """Start servers; each gives its address."""
    with ExitStack() as stack:

        def start(search: SearchBackend | None = None, rules: AdmissionRules | None = None, **limits: Any) -> str:
            search = search or BM25Index.from_passages(PASSAGES)
            return stack.enter_context(_serving(search, ServerLimits(**limits), rules))

        yield start


def post(address: str, body: Any) -> tuple[int, Any]:
    """Do what a client of a Search-R1 retrieval server does."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(f"{address}/retrieve", data=data, headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_what_a_search_r1_client_sends_and_reads(start: Callable) -> None:
    status, reply = post(start(), {"queries": ["jaws", "Cincinnati"], "topk": 2, "return_scores": True})
    assert status == 200
    # The client of that project takes the title off the first line and the text off the others.
    shown = []
    for passages in reply["result"]:
        for passage in passages:
            content = passage["document"]["contents"]
            title, text = content.split("\n")[0], "\n".join(content.split("\n")[1:])
            shown.append(f"(Title: {title}) {text}")
            assert isinstance(passage["score"], float)
    assert shown == [
        '(Title: "Jaws") A film directed by Steven Spielberg about a shark.',
        '(Title: "Steven Spielberg") He was born in Cincinnati.\nHis films are many.',
    ]


def test_without_scores_a_document_stands_alone(start: Callable) -> None:
    address = start()
    documents = [[{"id": "p0", "contents": '"Jaws"\nA film directed by Steven Spielberg about a shark.'}]]
    for request in ({"return_scores": False}, {}, {"return_scores": None, "topk": None, "more": 1}, {"topk": 0}):
        assert post(address, {"queries": ["jaws"], **request}) == (200, {"result": documents})


def test_our_own_client_finds_through_the_server_what_it_finds_in_process(start: Callable) -> None:
    index = BM25Index.from_passages(PASSAGES)

    async def main(backend: SearchBackend) -> list[list[Passage]]:
        return await asyncio.gather(*(backend(query, k=3) for query in QUERIES))

    found = asyncio.run(main(RetrievalServerSearch(RetrievalServerConfig(url=start(index)))))
    assert found == asyncio.run(main(index))
    assert [len(passages) for passages in found] == [2, 2, 1, 1, 0]


def test_health(start: Callable) -> None:
    with urllib.request.urlopen(f"{start()}/health", timeout=10) as reply:
        assert json.load(reply) == {"status": "ok", "passages": 4}


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        (b"", 400, "expected a body in JSON"),
        (b"{queries: 1}", 400, "expected a body in JSON"),
        (b"\xff", 400, "expected a body in JSON"),
        (b"[" * 50_000, 400, "expected a body in JSON"),
        (["a"], 422, "expected an object, found a list"),
        ({}, 422, "queries: expected a list of strings, found no such field (fields: none)"),
        ({"query": "a"}, 422, "(fields: query)"),
        ({"queries": "a"}, 422, "queries: expected a list of strings, found a string"),
        ({"queries": ["a", 7]}, 422, "queries: expected a list of strings, found a number"),
        ({"queries": ["a"] * 257}, 422, "queries: expected at most 256, found 257"),
        ({"queries": ["a"], "topk": 101}, 422, "topk: expected a whole number from 1 to 100, found 101"),
        ({"queries": ["a"], "topk": -1}, 422, "found -1"),
        ({"queries": ["a"], "topk": 1.5}, 422, "found 1.5"),
        ({"queries": ["a"], "topk": "5"}, 422, "found a string"),
        ({"queries": ["a"], "topk": True}, 422, "found True"),
        ({"queries": ["a"], "return_scores": 1}, 422, "return_scores: expected true or false, found a number"),
        ({"queries": ["a" * 10_001]}, 413, "queries: expected at most 10000 characters each, found 10001"),
        ({"queries": ["a" * 2**20]}, 413, "expected a body of at most 1048576 bytes"),
    ],
)
def test_bad_requests_are_explained(start: Callable, body: Any, status: int, detail: str) -> None:
    found, reply = post(start(), body)
    assert found == status
    assert detail in reply["detail"]
    assert list(reply) == ["detail"]


def test_nothing_to_do_and_strange_text(start: Callable) -> None:
    address = start()
    assert post(address, {"queries": []}) == (200, {"result": []})
    assert post(address, b'{"queries": ["\\ud800", "", "\\u0000 jaws"], "topk": 1}')[1]["result"][:2] == [[], []]


def test_other_paths_and_methods(start: Callable) -> None:
    for path, status in (("/retrieve", 405), ("/", 404), ("/search", 404)):
        with pytest.raises(urllib.error.HTTPError) as raised:
            urllib.request.urlopen(start() + path, timeout=10)
        with raised.value as error:
            assert error.code == status
            assert "expected POST /retrieve or GET /health" in json.load(error)["detail"]


@pytest.mark.parametrize(
    ("error", "status"), [(ServiceUnavailableError("search at x: down"), 502), (ServiceTimeoutError("too slow"), 504)]
)
def test_a_failing_search_behind_the_server(start: Callable, error: Exception, status: int) -> None:
    assert post(start(ScriptedSearch(error=error)), {"queries": ["a", "b"]}) == (
        status,
        {"detail": f"the search behind this server failed: {error}"},
    )


def test_a_body_that_does_not_come(start: Callable) -> None:
    rules = AdmissionRules(body_seconds=0.1)
    connection = http.client.HTTPConnection(start(rules=rules).removeprefix("http://"), timeout=10)
    connection.putrequest("POST", "/retrieve")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", "100")
    connection.endheaders(b"{")
    reply = connection.getresponse()
    assert (reply.status, json.load(reply)) == (408, {"detail": "expected the body within 0.1 s"})
    connection.close()


def test_searches_at_once_are_bounded_and_others_are_answered_meanwhile(start: Callable) -> None:
    running, most = [0], [0]

    async def slow(query: str, *, k: int) -> list[Passage]:
        running[0] += 1
        most[0] = max(most[0], running[0])
        await asyncio.to_thread(released.wait, 10)
        running[0] -= 1
        return []

    released = threading.Event()
    address = start(slow, concurrency=2)
    asking = threading.Thread(target=post, args=(address, {"queries": ["a"] * 12}))
    asking.start()
    try:
        while running[0] < 2:
            time.sleep(0.005)
        with urllib.request.urlopen(f"{address}/health", timeout=10):
            assert running[0] == 2
    finally:
        released.set()
    asking.join()
    assert most[0] == 2


def test_replies_do_not_wait_for_acknowledgements() -> None:
    with (
        listen("127.0.0.1", 0) as listening,
        socket.create_connection(listening.getsockname()),
        listening.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_ports_and_hosts(no_network: list[str]) -> None:
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        assert address_of(first) == f"http://127.0.0.1:{port}"
        with pytest.raises(UserError, match=f"expected port {port} of 127.0.0.1 to be free"):
            listen("127.0.0.1", port)
    with listen("127.0.0.1", port), pytest.raises(UserError, match="expected --host to be an address of this machine"):
        listen("127.0.0.1.2", 0)
    no_network.clear()
    with listen("0.0.0.0", 0) as everywhere:
        assert address_of(everywhere).startswith("http://127.0.0.1:")
    if socket.has_ipv6:
        with listen("::1", 0) as sixth:
            assert address_of(sixth).startswith("http://[::1]:")


def test_what_a_web_page_could_send_and_requests_without_the_key_are_refused(start: Callable) -> None:
    address = start(rules=AdmissionRules(api_key="s3cret"))
    assert post(address, {"queries": ["a"]})[0] == 401
    headers = {"Authorization": "Bearer s3cret"}
    for more, status in (({"Content-Type": "text/plain"}, 415), ({"Host": "page.example"}, 421)):
        request = urllib.request.Request(
            f"{address}/retrieve", data=b"{}", headers={"Content-Type": "application/json"} | headers | more
        )
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=10)
        with caught.value as error:
            assert error.code == status
            assert set(json.load(error)) == {"detail"}
