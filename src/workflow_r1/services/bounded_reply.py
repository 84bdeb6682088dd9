"""Reads a service's reply up to a reasonable length."""

import zlib
from collections.abc import AsyncIterable

_WINDOWS = {"gzip": 31, "deflate": 15}
"""Accepted compressions of a reply, and zlib's name for each."""

_PIECE_BYTES = 1 << 16


class UnboundedReplyError(Exception):
    """A reply longer than any that a service has reason to send, or in a compression that cannot be read."""


async def read_bounded(parts: AsyncIterable[bytes], *, encoding: str, max_bytes: int) -> bytes:
    """Read a reply as it comes: one without end, or one that grows as it unpacks, does not fill the memory.

    Args:
        parts: bytes of the reply.
        encoding: its compression, as its header ``Content-Encoding`` names it; empty for none.
        max_bytes: longest reply that is read, decompressed.

    Raises:
        UnboundedReplyError: the reply is longer, compressed in another way than gzip or deflate, or damaged.
    """
    encoding = encoding.strip().lower()
    if encoding not in ("", "identity", *_WINDOWS):
        raise UnboundedReplyError("a compression that was not asked for")
    window = _WINDOWS.get(encoding)
    decompressor = None if window is None else zlib.decompressobj(window)
    body = bytearray()
    async for part in parts:
        if decompressor is None:
            body += part
        elif not decompressor.eof:
            if not body and encoding == "deflate" and part[:1] and part[0] & 15 != 8:
                decompressor = zlib.decompressobj(-15)  # Some servers leave the header of zlib out.
            try:
                while part and len(body) <= max_bytes:
                    body += decompressor.decompress(part, _PIECE_BYTES)
                    part = decompressor.unconsumed_tail
            except zlib.error as error:
                raise UnboundedReplyError(f"damaged {encoding}: {error}") from None
        if len(body) > max_bytes:
            raise UnboundedReplyError(f"longer than {max_bytes} bytes")
    if decompressor is not None and not decompressor.eof:
        raise UnboundedReplyError(f"{encoding} that ends too early")
    return bytes(body)
