"""Reads a service's reply up to a reasonable length."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx2

_ENCODINGS = ("", "identity", "gzip", "deflate")
"""Accepted compressions of a reply: they shrink to a thousandth at most, so that a piece of 64 KiB stays small."""


class UnboundedReplyError(Exception):
    """A reply longer than any that a service has reason to send, or in a compression that the request did not allow."""


async def read_bounded(response: "httpx2.Response", max_bytes: int) -> bytes:
    """Read a reply as it comes: one without end, or one that grows as it unpacks, does not fill the memory.

    Args:
        response: opened as a stream.
        max_bytes: longest reply that is read, decompressed.

    Raises:
        UnboundedReplyError: the reply is longer, or compressed in another way than gzip or deflate.
    """
    if response.headers.get("content-encoding", "").strip().lower() not in _ENCODINGS:
        raise UnboundedReplyError("a compression that was not asked for")
    body = bytearray()
    async for part in response.aiter_bytes():
        body += part
        if len(body) > max_bytes:
            raise UnboundedReplyError(f"longer than {max_bytes} bytes")
    return bytes(body)
