"""Rules that every HTTP server of ours applies to a request before anything else.

A web page can make its visitor's browser send requests to this machine. It can choose the name by which it reaches the
server (DNS rebinding), and it can send forms and plain text without asking. The server therefore takes a request only

1. under an address or a name of this machine, or one that was configured (421): a page that rebinds its own name shows
   that name in ``Host``, and no page can do it with an address;
2. with the key, where one is asked for (401);
3. with a body of the type ``application/json`` (415), which no page may send elsewhere without asking, of bounded
   length (413), that arrives in time (408);
4. while no more than a bounded number of requests are under way (429).

A WebSocket is taken by the first two rules, and never from a web page (403): every page may open one anywhere, and says
so in ``Origin``.

:class:`Admission` is an ASGI application around another one and needs no package.
"""

import asyncio
import hmac
import ipaddress
import json
import socket
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

ASGIMessage = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[ASGIMessage]]
Send = Callable[[ASGIMessage], Awaitable[None]]
ASGIApplication = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

DISCARDED = 16
"""Multiple of the longest body that is read of a longer one before it is refused."""


@dataclass(frozen=True, slots=True)
class AdmissionRules:
    """Rules for the requests that a server takes."""

    hosts: Sequence[str] = ()
    """Names under which clients may reach the server, besides those of this machine, e.g. behind a proxy."""
    api_key: str | None = None
    """Key that clients send as ``Authorization: Bearer KEY``; None asks for no key."""
    max_body_bytes: int = 2**20
    """Longest body."""
    body_seconds: float = 30.0
    """Longest wait for a request's body."""
    max_requests: int = 512
    """Requests under way at once."""
    open_paths: Sequence[str] = ("/health",)
    """Paths that ask for no key."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that is not taken."""

    status: int
    """HTTP status."""
    message: str
    """Expected and received, in words."""
    code: str | None = None
    """Kind of the mistake, for programs."""
    headers: Mapping[str, str] | None = None
    """Further headers of the reply."""


class Admission:
    """An application that passes on admitted requests. The application inside gets whole bodies."""

    def __init__(
        self, app: ASGIApplication, rules: AdmissionRules, *, describe: Callable[[Refusal], Mapping[str, Any]]
    ) -> None:
        """Stand before an application.

        Args:
            app: application that gets the admitted requests.
            rules: rules of admission.
            describe: the body of the reply to a refusal, in the words of the server's own protocol.
        """
        self._app = app
        self._rules = rules
        self._describe = describe
        self._hosts = {"localhost", socket.gethostname().lower(), *(name.lower() for name in rules.hosts)}
        self._num_requests = 0

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Take a request, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope.get("headers", ())]
        if scope["type"] == "websocket":
            if self._check_web_socket(scope, headers) is None:
                await self._app(scope, receive, send)
            else:
                await send({"type": "websocket.close", "code": 1008})  # Before it is accepted: status 403.
            return
        self._num_requests += 1
        try:
            refusal = self._check_head(scope, headers)
            body: bytes | None = None
            if refusal is None and scope["method"] not in ("GET", "HEAD"):
                read = await self._read_body(receive)
                refusal, body = (read, None) if isinstance(read, Refusal) else (None, read)
            if refusal is not None:
                await self._refuse(refusal, send)
            else:
                await self._app(scope, receive if body is None else _replay(body, receive), send)
        finally:
            self._num_requests -= 1

    def _check_web_socket(self, scope: Mapping[str, Any], headers: Sequence[tuple[str, str]]) -> Refusal | None:
        """Check the head of a WebSocket, which any page may open: one that a page opens is not taken."""
        if any(name == "origin" for name, _ in headers):
            return Refusal(403, "expected a program, received the request of a web page")
        return self._check_head({**scope, "method": "GET"}, headers)

    def _check_head(self, scope: Mapping[str, Any], headers: Sequence[tuple[str, str]]) -> Refusal | None:
        rules = self._rules
        hosts = [value for name, value in headers if name == "host"]
        if wrong := next((host for host in hosts if not self._is_own(host)), None):
            return Refusal(
                421,
                f"expected an address of this server or a name that it knows in the header Host, received {wrong[:100]!r}; "
                "--allow-host NAME adds one",
                code="unknown_host",
            )
        if rules.api_key is not None and scope["path"] not in rules.open_paths:
            given = next((value for name, value in headers if name == "authorization"), "")
            scheme, _, key = given.partition(" ")
            if scheme.lower() != "bearer" or not hmac.compare_digest(
                key.strip().encode("latin-1"), rules.api_key.encode()
            ):
                return Refusal(
                    401,
                    "expected the server's key as Authorization: Bearer KEY, received another or none",
                    code="invalid_api_key",
                    headers={"WWW-Authenticate": "Bearer"},
                )
        if scope["path"] not in rules.open_paths and self._num_requests > rules.max_requests:
            return Refusal(
                429,
                f"{rules.max_requests} requests are under way; try again later",
                code="rate_limit_exceeded",
                headers={"Retry-After": "1"},
            )
        if scope["method"] != "POST":
            return (
                None  # Nothing of ours answers to another one with a body, and no page may send it elsewhere unasked.
            )
        kind = next((value for name, value in headers if name == "content-type"), "")
        if kind.partition(";")[0].strip().lower() != "application/json":
            return Refusal(415, f"expected the header Content-Type: application/json, received {kind[:100]!r}")
        return None

    def _is_own(self, host: str) -> bool:
        name = host.strip().lower()
        name = name[1:].partition("]")[0] if name.startswith("[") else name.rpartition(":")[0] or name
        if name.rstrip(".") in self._hosts or name.rstrip(".").endswith(".localhost"):
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    async def _read_body(self, receive: Receive) -> bytes | Refusal:
        """Read the body, and stop keeping it where it is longer, or reading it where it is slower than it may be."""
        limit = self._rules.max_body_bytes
        body, length = bytearray(), 0
        try:
            async with asyncio.timeout(self._rules.body_seconds):
                more = True
                # A client that is still sending does not see a reply: somewhat too long a body is read to its end.
                while more and length <= DISCARDED * limit:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return Refusal(400, "expected a whole body, the client left")
                    part = message.get("body", b"")
                    length += len(part)
                    if length <= limit:
                        body += part
                    more = message.get("more_body", False)
        except TimeoutError:
            return Refusal(408, f"expected the body within {self._rules.body_seconds:g} s")
        if length <= limit:
            return bytes(body)
        headers = {"Connection": "close"} if more else None
        return Refusal(413, f"expected a body of at most {limit} bytes", headers=headers)

    async def _refuse(self, refusal: Refusal, send: Send) -> None:
        body = json.dumps(self._describe(refusal)).encode()
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **(refusal.headers or {})}
        raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": refusal.status, "headers": raw})
        await send({"type": "http.response.body", "body": body})


def _replay(body: bytes, receive: Receive) -> Receive:
    """Give the body once, then all further messages: that the client leaves."""
    told = False

    async def again() -> ASGIMessage:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
