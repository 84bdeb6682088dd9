"""The HTTP server of all tests that need one: real, on this machine, with a script of answers, broken connections among them."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Request:
    """What a client sent."""

    method: str
    path: str
    """With the query."""
    headers: dict[str, str]
    """By their names in lower case."""
    body: bytes

    @cached_property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """What the server sends: bytes as they are, anything else as JSON."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    """Silence before the reply."""
    trickle: bool = False
    """Send a blank now and then before the body, until the test releases the server; the length is not announced."""
    missing: int = 0
    """Bytes that are announced and never sent: the server hangs up before them."""
    announced: bool = True
    """Whether the length is announced; otherwise the end of the connection is the end of the body."""


Script = Answer | Callable[[Request], Answer]


@dataclass
class Server:
    """Answers by a script, the last line of it for ever, and keeps what it was sent."""

    script: tuple[Script, ...]
    url: str = ""
    requests: list[Request] = field(default_factory=list)
    num_sent: int = 0
    """Bytes of bodies that clients took."""
    in_flight: int = 0
    most_in_flight: int = 0
    released: threading.Event = field(default_factory=threading.Event)
    """Ends every silence."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    connections: set[socket.socket] = field(default_factory=set)
    """Those that are open."""

    @property
    def bodies(self) -> list[Any]:
        """The requests' JSON."""
        return [request.json for request in self.requests]

    @property
    def paths(self) -> list[str]:
        return [request.path for request in self.requests]

    @property
    def headers(self) -> list[dict[str, str]]:
        return [request.headers for request in self.requests]


class Handler(BaseHTTPRequestHandler):
    """Serves one connection of a :class:`Server`."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    scripted: Server

    def setup(self) -> None:
        super().setup()
        with self.scripted.lock:
            self.scripted.connections.add(self.connection)

    def finish(self) -> None:
        with self.scripted.lock:
            self.scripted.connections.discard(self.connection)
        super().finish()

    def serve(self) -> None:
        server = self.scripted
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers, body)
        with server.lock:
            line = server.script[min(len(server.requests), len(server.script) - 1)]
            server.requests.append(request)
            server.in_flight += 1
            server.most_in_flight = max(server.most_in_flight, server.in_flight)
        try:
            self.answer(line if isinstance(line, Answer) else line(request))
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            with server.lock:
                server.in_flight -= 1

    do_GET = do_POST = do_HEAD = serve

    def answer(self, answer: Answer) -> None:
        server = self.scripted
        server.released.wait(answer.seconds)
        content = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        for name, value in ({"Content-Type": "application/json"} | answer.headers).items():
            self.send_header(name, value)
        announced = answer.announced and not answer.trickle
        if announced:
            self.send_header("Content-Length", str(len(content) + answer.missing))
        self.end_headers()
        while answer.trickle and not server.released.wait(0.02):
            self.wfile.write(b" ")
        for start in range(0, len(content) if self.command != "HEAD" else 0, 1 << 16):
            server.num_sent += self.wfile.write(content[start : start + (1 << 16)])
        self.close_connection = self.close_connection or answer.missing > 0 or not announced

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(*script: Script, at: str = "") -> Iterator[Server]:
    """Serve a script until the context ends.

    Args:
        script: the answer to each request in order, or a function of the request; the last one stays.
        at: what follows the address in the server's ``url``.
    """
    server = Server(script)
    http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"scripted": server}))
    http.daemon_threads = False
    server.url = f"http://127.0.0.1:{http.server_port}{at}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        http.shutdown()
        with server.lock:
            # A client that keeps its connection for later would keep its thread waiting.
            for connection in server.connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RD)
        http.server_close()
        thread.join()


def completion(text: str | None = "Paris", finish_reason: str = "stop", **message: Any) -> dict[str, Any]:
    """A reply of an OpenAI-compatible server; further arguments are fields of its message."""
    return {
        "id": "c1",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [
            {"index": 0, "finish_reason": finish_reason, "message": {"role": "assistant", "content": text, **message}}
        ],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    }
