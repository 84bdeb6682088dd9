import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


@dataclass
class Answer:
    """Reply of the server: bytes as they are, anything else as JSON."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    """Silence before the reply."""
    trickle: bool = False
    """Send a byte now and then and never end."""
    cut: bool = False
    """Promise more than is sent, and hang up."""


@dataclass
class Server:
    """Answers by a script, the last one for ever, or by a function of the request; keeps what it was sent."""

    answers: list[Answer | Callable[[dict], Answer]]
    url: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0
    released: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)


def make_handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with server.lock:
                answer = server.answers[min(len(server.requests), len(server.answers) - 1)]
                server.requests.append(request)
                server.paths.append(self.path)
                server.headers.append({name.lower(): value for name, value in self.headers.items()})
                server.in_flight += 1
                server.most_in_flight = max(server.most_in_flight, server.in_flight)
            try:
                self.answer(answer if isinstance(answer, Answer) else answer(request))
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True
            finally:
                with server.lock:
                    server.in_flight -= 1

        def answer(self, answer: Answer) -> None:
            server.released.wait(answer.seconds)
            content = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            self.send_response(answer.status)
            for name, value in ({"Content-Type": "application/json"} | answer.headers).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content) + (1000 if answer.cut or answer.trickle else 0)))
            self.end_headers()
            while answer.trickle and not server.released.wait(0.02):
                self.wfile.write(b" ")
                self.wfile.flush()
            self.wfile.write(content)
            self.close_connection = self.close_connection or answer.cut

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler


@contextmanager
def _serving(*answers: Answer | Callable[[dict], Answer]) -> Iterator[Server]:
    server = Server(list(answers))
    http = ThreadingHTTPServer(("127.0.0.1", 0), make_handler(server))
    http.daemon_threads = False
    server.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        http.shutdown()
        http.server_close()
        thread.join()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Start real HTTP servers on this machine, each with a script of answers."""
    with ExitStack() as stack:
        yield lambda *answers: stack.enter_context(_serving(*answers))


@pytest.fixture
def answer() -> type[Answer]:
    """Return the reply of such a server."""
    return Answer
