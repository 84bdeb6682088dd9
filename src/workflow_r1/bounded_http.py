"""An httpx client that a server can neither fill the memory with nor send elsewhere."""

from collections.abc import AsyncIterator
from typing import Any

import httpx

MAX_REPLY_BYTES = 16 * 2**20
"""Longest reply of a service; one of a chat model is a few kilobytes."""

MAX_COMPRESSED_BYTES = 2**20
"""Longest compressed reply. gzip shrinks to a thousandth at most, so it holds a gigabyte at the very worst."""

_ENCODINGS = ("", "identity", "gzip", "deflate")
"""Of these the ratio is bounded; others are asked for by nobody."""


class BoundedAsyncClient(httpx.AsyncClient):
    """An ``httpx.AsyncClient`` whose replies are bounded, and which follows no redirect.

    The address of a service is the user's own choice. A redirect would let the server choose another, and the client
    would send the prompt, or a request of the server's making, to any address that this machine can reach.

    Args:
        options: as httpx takes them.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "follow_redirects": False})
        self.headers["Accept-Encoding"] = "identity"

    async def send(self, request: httpx.Request, *, stream: bool = False, **options: Any) -> httpx.Response:
        """Send a request; see httpx.

        Raises:
            httpx.RemoteProtocolError: the reply is too long, or compressed in a way that nobody asked for. Raised here,
                or while the reply is streamed.
        """
        response = await super().send(request, stream=True, **{**options, "follow_redirects": False})
        try:
            encoding = response.headers.get("content-encoding", "").strip().lower()
            if encoding not in _ENCODINGS:
                raise httpx.RemoteProtocolError(f"a reply compressed with {encoding[:20]!r}, which was not asked for")
            limit = MAX_REPLY_BYTES if encoding in _ENCODINGS[:2] else MAX_COMPRESSED_BYTES
            response.stream = _BoundedStream(response.stream, limit)
            if not stream:
                await response.aread()
        except BaseException:
            await response.aclose()
            raise
        return response


class _BoundedStream(httpx.AsyncByteStream):
    """The bytes of a reply, up to a limit."""

    def __init__(self, stream: Any, limit: int) -> None:
        self._stream = stream
        self._left = limit

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            self._left -= len(chunk)
            if self._left < 0:
                raise httpx.RemoteProtocolError("a reply longer than any service needs")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()
