"""Admission of requests by every server of ours, over real HTTP, and connections that say nothing."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import httpx2
import pytest

pytest.importorskip("uvicorn")

import uvicorn

from workflow_r1.services.admission import Admission, AdmissionRules
from workflow_r1.services.connections import TimedProtocol, server_options

JSON = {"Content-Type": "application/json"}


class Slow(TimedProtocol):
    head_seconds = 0.3
    unread_seconds = 0.3


async def echo(scope, receive, send) -> None:
    """Send the body back; on ``/long``, after 64 MiB more. A WebSocket's first message is sent back."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        message = await receive()
        await send({"type": "websocket.send", "text": message["text"]})
        return
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    body = b"" if scope["method"] == "GET" else (await receive())["body"]
    for _ in range(1000 if scope["path"] == "/long" else 0):
        await send({"type": "http.response.body", "body": bytes(2**16), "more_body": True})
    await send({"type": "http.response.body", "body": body})


@contextmanager
def running(app, protocol) -> Iterator[tuple[str, int]]:
    listening = socket.create_server(("127.0.0.1", 0))
    options = server_options(max_connections=32, web_sockets=True) | {"http": protocol}
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="critical", lifespan="off", timeout_graceful_shutdown=1, **options)
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield listening.getsockname()[:2]
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


@pytest.fixture
def start() -> Iterator[Callable[..., tuple[str, int]]]:
    """``start(inside=echo, **rules)`` gives host and port."""
    with ExitStack() as stack:

        def begin(inside=echo, **rules: object) -> tuple[str, int]:
            app = Admission(inside, AdmissionRules(**rules), describe=lambda refusal: {"detail": refusal.message})
            return stack.enter_context(running(app, Slow))

        yield begin


def post(place: tuple[str, int], body: bytes = b"{}", path: str = "/", **headers: str) -> httpx2.Response:
    address = f"http://{place[0]}:{place[1]}{path}"
    return httpx2.post(
        address, content=body, headers=JSON | {key.replace("_", "-"): value for key, value in headers.items()}
    )


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1:8080",
        "localhost",
        "LOCALHOST.:80",
        "[::1]:80",
        "10.1.2.3:80",
        "app.localhost",
        "box.lan:1",
    ],
)
def test_addresses_and_known_names_may_be_called(start: Callable, host: str) -> None:
    assert post(start(hosts=("Box.lan",)), Host=host).text == "{}"


@pytest.mark.parametrize(
    "host", ["page.example", "page.example:8080", "127.0.0.1.page.example", "localhost.page.example", ""]
)
def test_a_page_that_rebinds_its_name_is_refused(start: Callable, host: str) -> None:
    place = start()
    reply = post(place, Host=host)
    if host:
        assert (reply.status_code, "--allow-host" in reply.json()["detail"]) == (421, True)
    assert httpx2.get(f"http://{place[0]}:{place[1]}/health", headers={"Host": host}).status_code == reply.status_code


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "text/json"]
)
def test_what_a_page_may_send_elsewhere_unasked_is_refused(start: Callable, kind: str) -> None:
    assert post(start(), Content_Type=kind).status_code == 415
    assert post(start(), Content_Type="Application/JSON; charset=utf-8").status_code == 200


def test_a_key_is_asked_for_but_for_the_health(start: Callable) -> None:
    place = start(api_key="s3cret-key")
    for wrong in ("", "Bearer", "Bearer s3cret", "Basic s3cret-key"):
        reply = post(place, Authorization=wrong)
        assert (reply.status_code, reply.headers["www-authenticate"]) == (401, "Bearer")
        assert "s3cret" not in reply.text
    assert post(place, Authorization="bearer s3cret-key").status_code == 200
    assert post(place, path="/health").status_code == 200


def test_a_key_may_have_any_letters(start: Callable) -> None:
    key = "schl\u00fcssel"
    address = "http://{}:{}/".format(*start(api_key=key))
    for sent, status in ((key, 200), ("schlussel", 401)):
        headers = JSON | {"Authorization": f"Bearer {sent}".encode()}
        assert httpx2.post(address, content=b"{}", headers=headers).status_code == status


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
def test_what_no_page_may_send_unasked_needs_no_type(start: Callable, method: str) -> None:
    place = start()
    assert (
        httpx2.request(method, f"http://{place[0]}:{place[1]}/").status_code == 200
    )  # Ours refuse it themselves (405).


def test_a_body_is_bounded_by_what_is_said_and_by_what_comes(start: Callable) -> None:
    place = start(max_body_bytes=10)
    assert post(place, b"x" * 10).text == "x" * 10
    assert post(place, b"x" * 11).status_code == 413
    assert post(place, b"x" * 160).status_code == 413
    with socket.create_connection(place, timeout=5) as connection:
        connection.sendall(
            b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n" + b"b\r\nxxxxxxxxxxx\r\n" * 20
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 413")


def test_a_body_that_does_not_come(start: Callable) -> None:
    with socket.create_connection(start(body_seconds=0.2), timeout=5) as connection:
        connection.sendall(
            b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 408")


def test_requests_at_once_are_bounded(start: Callable) -> None:
    go, started = threading.Event(), threading.Event()

    async def wait(scope, receive, send) -> None:
        import asyncio

        started.set()
        while not go.is_set():  # noqa: ASYNC110 (it is set by another thread)
            await asyncio.sleep(0.005)
        await echo(scope, receive, send)

    place = start(wait, max_requests=1, open_paths=())
    replies: list[int] = []
    first = threading.Thread(target=lambda: replies.append(post(place).status_code))
    first.start()
    assert started.wait(5)
    reply = post(place)
    assert reply.status_code == 429
    assert reply.headers["retry-after"] == "1"
    go.set()
    first.join()
    assert replies == [200]


def ends_within(connection: socket.socket, seconds: float) -> bool:
    connection.settimeout(seconds)
    try:
        while connection.recv(2**16):
            pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize("said", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: localhost\r\n"])
def test_a_connection_that_says_nothing_more_is_closed(start: Callable, said: bytes) -> None:
    with socket.create_connection(start()) as connection:
        connection.sendall(said)
        assert ends_within(connection, 5)


def test_a_second_head_that_does_not_end_is_closed(start: Callable) -> None:
    with socket.create_connection(start(), timeout=5) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
        connection.sendall(b"GET / HT")
        assert ends_within(connection, 5)


def test_a_request_under_way_has_all_the_time_that_it_needs(start: Callable) -> None:
    async def late(scope, receive, send) -> None:
        import asyncio

        await asyncio.sleep(0.8)
        await echo(scope, receive, send)

    assert post(start(late), json.dumps([1]).encode()).text == "[1]"


def test_a_client_that_reads_nothing_is_let_go(start: Callable) -> None:
    place = start()
    with socket.create_connection(place) as connection:
        connection.sendall(b"GET /long HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(1.0)
        assert ends_within(connection, 5)


def say(place: tuple[str, int], text: str, *, after_seconds: float = 0.0, **headers: str) -> str:
    """Open a WebSocket, wait, send a text, and return the answer."""
    from websockets.sync.client import connect

    given = {key.replace("_", "-"): value for key, value in headers.items()}
    with connect(f"ws://{place[0]}:{place[1]}/ws", additional_headers=given) as connection:
        time.sleep(after_seconds)
        connection.send(text)
        return str(connection.recv())


def test_a_web_socket_is_taken_from_a_program_and_may_be_silent_for_longer_than_a_head(start: Callable) -> None:
    assert say(start(), "hello", after_seconds=3 * Slow.head_seconds) == "hello"


def test_a_web_socket_of_a_page_or_without_the_key_is_refused(start: Callable) -> None:
    from websockets.exceptions import InvalidStatus

    with pytest.raises(InvalidStatus, match="403"):
        say(start(), "hello", Origin="http://page.example")
    place = start(api_key="secret")
    with pytest.raises(InvalidStatus, match="403"):
        say(place, "hello")
    assert say(place, "hello", Authorization="Bearer secret") == "hello"


def test_a_web_socket_of_an_unknown_host_is_refused(start: Callable) -> None:
    host, port = start()
    with socket.create_connection((host, port)) as connection:
        key = "dGhlIHNhbXBsZSBub25jZQ=="
        lines = (
            "GET /ws HTTP/1.1",
            "Host: page.example",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
        )
        connection.sendall("\r\n".join((*lines, "", "")).encode())
        assert b" 403 " in connection.recv(100)
