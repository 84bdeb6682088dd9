"""Sockets of asyncio for the HTTP library, which brings none that are as cheap.

The library asks for a stream that is read, written and encrypted. Its own goes through anyio, which costs a fifth of a call;
this one is an asyncio protocol and nothing else.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

import httpcore2

from workflow_r1.services.attempts import attempt_clock
from workflow_r1.services.proxies import Proxy

_ENOUGH_BYTES = 1 << 18
"""Bytes that may wait to be read before the other side has to wait."""


_OPENING = 64
"""Connections of one service that are being opened at once. Servers keep few that they have not accepted yet, and a process
that opens thousands at a time is too busy to notice within the time to connect that they are open.
"""


_GRACE_SECONDS = 0.1
"""Further time to connect, once the time is over: a process that was busy until then (another thread held it, or the machine
did) finds only now that the connection has long been open.
"""


class SocketStream(httpcore2.AsyncNetworkStream, asyncio.Protocol):
    """A connection, encrypted or not."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parts: deque[bytes] = deque()
        self._num_bytes = 0
        self._ended = False
        self._error: Exception | None = None
        self._readable: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._is_full = False

    # --------------------------------------------------------------------------------------------- called by the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Keep what came."""
        self._parts.append(data)
        self._num_bytes += len(data)
        if self._num_bytes > _ENOUGH_BYTES and self._transport is not None:
            self._transport.pause_reading()
        _wake(self._readable)

    def eof_received(self) -> None:
        """Note that nothing follows; the transport closes."""
        self._ended = True
        _wake(self._readable)

    def pause_writing(self) -> None:
        """Note that the other side does not take what was written yet."""
        self._is_full = True

    def resume_writing(self) -> None:
        """Let a waiting writer continue."""
        self._is_full = False
        _wake(self._writable)

    def connection_lost(self, error: Exception | None) -> None:
        """Note the end."""
        self._ended, self._error = True, error
        _wake(self._readable)
        _wake(self._writable)

    # ------------------------------------------------------------------------------------------ called by the library

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Return some bytes as they come; none at the end.

        Raises:
            httpcore2.ReadTimeout: not a byte in time.
            httpcore2.ReadError: the connection broke.
        """
        if not self._parts and not self._ended:
            self._readable = self._loop.create_future()
            try:
                async with asyncio.timeout(timeout):
                    await self._readable
            except TimeoutError as error:
                # A loop that was busy until the time was over finds the bytes and the end of the time together.
                if not self._parts and not self._ended:
                    raise httpcore2.ReadTimeout(str(error)) from error
            finally:
                self._readable = None
        if not self._parts:
            if self._error is not None:
                raise httpcore2.ReadError(str(self._error)) from self._error
            return b""
        part = self._parts.popleft()
        if len(part) > max_bytes:
            self._parts.appendleft(part[max_bytes:])
            part = part[:max_bytes]
        self._num_bytes -= len(part)
        if self._num_bytes <= _ENOUGH_BYTES and self._transport is not None:
            self._transport.resume_reading()
        return part

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send bytes.

        Raises:
            httpcore2.WriteTimeout: the other side does not take them in time.
            httpcore2.WriteError: the connection broke.
        """
        if not buffer:
            return
        if self._transport is None or self._error is not None or self._transport.is_closing():
            raise httpcore2.WriteError(str(self._error or "the connection is closed"))
        self._transport.write(buffer)
        if not self._is_full:
            return
        self._writable = self._loop.create_future()
        try:
            async with asyncio.timeout(timeout):
                await self._writable
        except TimeoutError as error:
            if self._is_full:
                raise httpcore2.WriteTimeout(str(error)) from error
        finally:
            self._writable = None
        if self._error is not None:
            raise httpcore2.WriteError(str(self._error)) from self._error

    async def aclose(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()
            # One turn of the loop, in which the socket is closed; a farewell that the other side does not answer waits no longer.
            turn = self._loop.create_future()
            self._loop.call_soon(_wake, turn)
            await turn
            self._transport.abort()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.AsyncNetworkStream:
        """Encrypt the connection from here on.

        Raises:
            httpcore2.ConnectTimeout: the handshake takes too long.
            httpcore2.ConnectError: the handshake fails, or the certificate is not valid.
        """
        assert self._transport is not None
        try:
            async with asyncio.timeout(timeout):
                self._transport = await self._loop.start_tls(
                    self._transport, self, ssl_context, server_hostname=server_hostname
                )
        except BaseException as error:
            await self.aclose()
            if isinstance(error, TimeoutError):
                raise httpcore2.ConnectTimeout(str(error)) from error
            if isinstance(error, OSError):  # As are errors of ssl.
                raise httpcore2.ConnectError(str(error)) from error
            raise
        if self._transport is None:  # The other side hung up at once.
            raise httpcore2.ConnectError("the connection ended within the handshake")
        return self

    def get_extra_info(self, info: str) -> Any:
        """Return what the library asks about a connection."""
        if info == "is_readable":  # An idle connection is, where it ended or says something unasked.
            return self._ended or bool(self._parts)
        return None if self._transport is None else self._transport.get_extra_info(info)


class SocketBackend(httpcore2.AsyncNetworkBackend):
    """Opens connections, a bounded number at a time. Belongs to the event loop in which it was made."""

    def __init__(self) -> None:
        self._opening = asyncio.Semaphore(_OPENING)

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect, to the first of the host's addresses that answers.

        Raises:
            httpcore2.ConnectTimeout: no address answers in time.
            httpcore2.ConnectError: no address answers.
        """
        async with self._turn():
            connecting = asyncio.ensure_future(
                asyncio.get_running_loop().create_connection(SocketStream, host, port, happy_eyeballs_delay=0.25)
            )
            try:
                await asyncio.wait({connecting}, timeout=timeout)
                if not connecting.done():
                    await asyncio.wait({connecting}, timeout=_GRACE_SECONDS)
                if not connecting.done():
                    raise httpcore2.ConnectTimeout(f"no address of {host} answered in time")
                _, stream = connecting.result()
            except OSError as error:
                raise httpcore2.ConnectError(str(error)) from error
            finally:
                connecting.cancel()
        return stream

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Wait for a place among the connections that are being opened. The wait is ours, and no silence of the service."""
        clock = attempt_clock.get()
        due = None if clock is None else clock.when()
        if clock is None or due is None:
            await self._opening.acquire()
        else:
            now = asyncio.get_running_loop().time
            began = now()
            clock.reschedule(None)
            await self._opening.acquire()
            clock.reschedule(due + now() - began)
        try:
            yield
        finally:
            self._opening.release()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


def open_pool(
    backend: SocketBackend, context: ssl.SSLContext | None, proxy: Proxy | None, *, keep_alive_seconds: float
) -> httpcore2.AsyncConnectionPool:
    """Return a pool of one connection, which is opened by its first request.

    Args:
        backend: opens the connection; the pools of a service share one.
        context: the certificates that an encrypted connection is checked with; None for a connection that is not encrypted.
        proxy: the proxy to go through.
        keep_alive_seconds: longest time that the connection is kept while it is idle.
    """
    options: dict[str, Any] = {
        "ssl_context": context,
        "max_connections": 1,
        "keepalive_expiry": keep_alive_seconds,
        "network_backend": backend,
    }
    if proxy is None:
        return httpcore2.AsyncConnectionPool(**options)
    parts = urlsplit(proxy.url)
    if parts.username or parts.password:
        options["proxy_auth"] = (unquote(parts.username or "").encode(), unquote(parts.password or "").encode())
    address = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    kind = httpcore2.AsyncSOCKSProxy if parts.scheme.startswith("socks") else httpcore2.AsyncHTTPProxy
    return kind(proxy_url=address, **options)


def _wake(future: asyncio.Future[None] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)
