"""HTTP connections that do not wait for ever. Needs the extra ``serve``.

uvicorn closes a connection that is idle after a request, but waits without end for the first byte of the first one, for
the rest of a request's head that began, and for a client that does not read its reply.
"""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 10.0
"""Longest time from a connection, or from the first byte of a further request, to the end of the request's head."""

UNREAD_SECONDS = 60.0
"""Longest time in which a client reads nothing of a reply that waits for it."""

IDLE_SECONDS = 30
"""Longest time between two requests on one connection."""


class TimedProtocol(H11Protocol):
    """uvicorn's protocol with a limit on every silence of the client."""

    head_seconds = HEAD_SECONDS
    unread_seconds = UNREAD_SECONDS
    _head_timer: asyncio.TimerHandle | None = None
    _unread_timer: asyncio.TimerHandle | None = None
    _is_web_socket = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(self.head_seconds, self.transport.abort)

    def data_received(self, data: bytes) -> None:
        """Read on; between two requests the first byte of the next starts its time."""
        super().data_received(data)
        if self._is_web_socket:
            return
        if self.cycle is not None and not self.cycle.response_complete:
            _stop(self._head_timer)
            self._head_timer = None
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_seconds, self.transport.abort)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Leave the time to the WebSocket's own pings: a session may well be silent between two messages."""
        _stop(self._head_timer)
        self._is_web_socket = True
        super().handle_websocket_upgrade(event)

    def pause_writing(self) -> None:
        """The client has not read what waits for it."""
        super().pause_writing()
        self._unread_timer = self.loop.call_later(self.unread_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        _stop(self._unread_timer)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all waiting."""
        super().connection_lost(exc)
        _stop(self._head_timer)
        _stop(self._unread_timer)


def _stop(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


def server_options(*, max_connections: int, web_sockets: bool = False) -> dict[str, Any]:
    """Options of ``uvicorn.Config`` that every server of ours shares.

    Args:
        max_connections: open at once; a request on one more is refused (503).
        web_sockets: take WebSockets, too; that needs the package websockets.
    """
    return {
        "http": TimedProtocol,
        "ws": "websockets-sansio" if web_sockets else "none",
        "timeout_keep_alive": IDLE_SECONDS,
        "limit_concurrency": max_connections,
        "access_log": False,
        "server_header": False,
    }
