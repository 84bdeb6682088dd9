"""A chat model behind a real HTTP server on this machine, which fails on demand. For tests and measurements.

It speaks OpenAI's chat completions over plain asyncio, since no web framework would break a connection in the middle of
a reply. The seed, the request's body and the number of earlier requests with that body decide whether and how a request
fails: the order in which different requests arrive changes nothing.
"""

import asyncio
import contextlib
import hashlib
import json
import socket
import struct
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from functools import partial
from typing import Any, Self

from workflow_r1.errors import ServiceError
from workflow_r1.inference.chat import ChatModel, ChatReply, ChatRequest
from workflow_r1.services.failures import FailureKind
from workflow_r1.trajectory import Message

RETRY_AFTER_SECONDS = 0.05
"""Wait that a throttled request is asked to make, in seconds, where the reply names one."""

DRIP_SECONDS = 0.1
"""Between two bytes of a reply that drips."""


class Fault(StrEnum):
    """A way in which the server fails a request."""

    THROTTLED = "throttled"
    """Status 429."""
    THROTTLED_WITH_WAIT = "throttled_with_wait"
    """Status 429 with ``Retry-After``."""
    ERROR_500 = "error_500"
    """Status 500."""
    ERROR_503 = "error_503"
    """Status 503."""
    RESET = "reset"
    """The connection is reset in the middle of the reply."""
    CLOSED = "closed"
    """The connection is closed in the middle of the reply."""
    HANG = "hang"
    """Nothing is sent, and the connection stays open."""
    DRIP = "drip"
    """Now and then a byte is sent, and the reply never ends."""
    INVALID_JSON = "invalid_json"
    """The reply is not JSON."""
    CUT_SHORT = "cut_short"
    """The reply is JSON that ends too early, in a message that is complete."""
    EMPTY_CHOICES = "empty_choices"
    """The reply has no choices."""
    WRONG_MODEL = "wrong_model"
    """The reply is another model's."""

    @property
    def failure(self) -> FailureKind:
        """Kind of failure that the client should count."""
        return _FAILURES[self]


_FAILURES = {
    Fault.THROTTLED: FailureKind.THROTTLED,
    Fault.THROTTLED_WITH_WAIT: FailureKind.THROTTLED,
    Fault.ERROR_500: FailureKind.SERVER_ERROR,
    Fault.ERROR_503: FailureKind.SERVER_ERROR,
    Fault.RESET: FailureKind.RESET,
    Fault.CLOSED: FailureKind.RESET,
    Fault.HANG: FailureKind.IDLE,
    Fault.DRIP: FailureKind.TIMEOUT,
    Fault.INVALID_JSON: FailureKind.INVALID_REPLY,
    Fault.CUT_SHORT: FailureKind.INVALID_REPLY,
    Fault.EMPTY_CHOICES: FailureKind.INVALID_REPLY,
    Fault.WRONG_MODEL: FailureKind.WRONG_MODEL,
}


Route = Callable[[Mapping[str, Any]], Awaitable[tuple[int, dict[str, Any]]]]
"""Maps a request's JSON (empty for a GET) to status and reply."""


class LoopbackServer:
    """Serves a chat model at ``http://127.0.0.1``, in a thread with an event loop of its own: ``with LoopbackServer(...)``.

    It can be stopped and started again at the same address.

    Args:
        chat: the model that replies. The request's ``seed`` is its ``sample_index``.
        fault_rate: part of the requests that fail.
        faults: kinds of failure, each as often as the others.
        seed: seed of the faults.
        latency_seconds: wait before each reply.
        routes: further answers by path; see ``rollout.doubles.LoopbackPolicy``.
    """

    def __init__(
        self,
        chat: ChatModel,
        *,
        fault_rate: float = 0.0,
        faults: Sequence[Fault] = tuple(Fault),
        seed: int = 0,
        latency_seconds: float = 0.0,
        port: int = 0,
        routes: Mapping[str, Route] | None = None,
    ) -> None:
        self.chat = chat
        self._routes = routes or {}
        self.fault_rate = fault_rate
        self.faults = tuple(faults)
        self.seed = seed
        self.latency_seconds = latency_seconds
        self.port = port
        """Port that it listens on; 0 takes a free one at the start."""
        self.num_replies = 0
        """Replies sent whole."""
        self.injected: Counter[Fault] = Counter()
        """Requests failed on purpose, by fault."""
        self._occurrences: Counter[bytes] = Counter()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None

    @property
    def url(self) -> str:
        """The ``base_url`` for a client."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def failures(self) -> Counter[FailureKind]:
        """``injected`` by the kind as which the client should count them."""
        counted: Counter[FailureKind] = Counter()
        for fault, number in self.injected.items():
            counted[fault.failure] += number
        return counted

    def start(self) -> None:
        """Listen; returns as soon as requests are answered."""
        listening = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(listening)), daemon=True)
        self._thread.start()
        if not listening.wait(10):
            raise RuntimeError(f"expected to listen on port {self.port} of 127.0.0.1, but could not; is it in use?")

    def stop(self) -> None:
        """Close the port and every connection."""
        if self._thread is not None and self._loop is not None and self._stopping is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()
            self._thread = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    async def _run(self, listening: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        connections: set[asyncio.Task[None]] = set()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            connections.add(task)
            try:
                await self._serve(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                pass  # The client went away, or the server stops.
            finally:
                connections.discard(task)
                writer.close()

        server = await asyncio.start_server(connected, "127.0.0.1", self.port, limit=2**24, backlog=512)
        self.port = server.sockets[0].getsockname()[1]
        listening.set()
        await self._stopping.wait()
        server.close()
        for task in list(connections):
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        while True:
            path, body = await _read_request(reader)
            answer = self._routes.get(path, self._reply)
            fault = self._draw(body)
            if fault is None:
                await asyncio.sleep(self.latency_seconds)
                status, reply = await answer(json.loads(body or b"{}"))
                _send(writer, status, reply)
                await writer.drain()
                self.num_replies += 1
            else:
                self.injected[fault] += 1
                await self._fail(fault, partial(answer, json.loads(body or b"{}")), reader, writer)

    def _draw(self, body: bytes) -> Fault | None:
        occurrence = self._occurrences[body]
        self._occurrences[body] += 1
        if not self.fault_rate:
            return None
        digest = hashlib.blake2b(b"%d %d " % (self.seed, occurrence) + body, digest_size=16).digest()
        if int.from_bytes(digest[:8]) / 2**64 >= self.fault_rate:
            return None
        return self.faults[int.from_bytes(digest[8:]) % len(self.faults)]

    async def _reply(self, request: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        try:
            reply = await self.chat(
                ChatRequest(
                    messages=tuple(Message(role=each["role"], content=each["content"]) for each in request["messages"]),
                    temperature=request.get("temperature", 1.0),
                    max_tokens=request.get("max_tokens", 1024),
                    sample_index=request.get("seed", 0),
                    stop=tuple(request.get("stop", ())),
                )
            )
        except ServiceError as error:
            return 502, {"error": {"message": str(error)}}
        return 200, _completion(request["model"], reply)

    async def _fail(
        self,
        fault: Fault,
        answer: Callable[[], Awaitable[tuple[int, dict[str, Any]]]],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        match fault:
            case Fault.THROTTLED:
                _send(writer, 429, {"error": {"message": "slow down"}})
            case Fault.THROTTLED_WITH_WAIT:
                _send(writer, 429, {"error": {"message": "slow down"}}, {"Retry-After": str(RETRY_AFTER_SECONDS)})
            case Fault.ERROR_500 | Fault.ERROR_503:
                _send(writer, int(fault.value[-3:]), {"error": {"message": "something broke"}})
            case Fault.HANG:
                await reader.read(1)
                raise ConnectionResetError
            case Fault.DRIP:
                writer.write(_head(200, 10**6))
                while not reader.at_eof():
                    writer.write(b" ")
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(reader.read(1), DRIP_SECONDS)
                raise ConnectionResetError
            case Fault.RESET | Fault.CLOSED:
                _, reply = await answer()
                content = json.dumps(reply).encode()
                writer.write(_head(200, len(content)) + content[: len(content) // 2])
                await writer.drain()
                if fault is Fault.RESET:
                    # With no time to linger, closing sends a reset in place of the orderly end.
                    writer.get_extra_info("socket").setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                    )
                raise ConnectionResetError
            case Fault.INVALID_JSON:
                _send(writer, 200, b"<html>Bad gateway</html>")
            case Fault.CUT_SHORT:
                _, reply = await answer()
                content = json.dumps(reply).encode()
                _send(writer, 200, content[: len(content) // 2])
            case Fault.EMPTY_CHOICES:
                _, reply = await answer()
                _send(writer, 200, {**reply, "choices": []})
            case Fault.WRONG_MODEL:
                _, reply = await answer()
                _send(writer, 200, {**reply, "model": "another"})
        await writer.drain()


async def _read_request(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    """Return a request's path and body."""
    head = await reader.readuntil(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.splitlines() if line.lower().startswith(b"content-length:")]
    return head.split(b" ", 2)[1].decode(), await reader.readexactly(int(lengths[0]) if lengths else 0)


def _head(status: int, length: int, headers: Mapping[str, str] | None = None) -> bytes:
    lines = {"Content-Type": "application/json", "Content-Length": str(length), **(headers or {})}
    told = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} .\r\n{told}\r\n".encode()


def _send(
    writer: asyncio.StreamWriter,
    status: int,
    content: bytes | Mapping[str, Any],
    headers: Mapping[str, str] | None = None,
) -> None:
    encoded = content if isinstance(content, bytes) else json.dumps(content).encode()
    writer.write(_head(status, len(encoded), headers) + encoded)


def _completion(model: str, reply: ChatReply) -> dict[str, Any]:
    usage = reply.usage
    return {
        "id": "loopback",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [
            {
                "index": 0,
                "finish_reason": reply.finish_reason.value,
                "message": {"role": "assistant", "content": reply.text},
            }
        ],
        "usage": {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        },
    }
