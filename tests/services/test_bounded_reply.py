import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator

import pytest

from workflow_r1.services.bounded_reply import UnboundedReplyError, read_bounded

TEXT = b'{"answer": "' + b"long " * 20_000 + b'"}'


def read(body: bytes, encoding: str, *, max_bytes: int = 1 << 20, part: int = 997) -> bytes:
    async def parts() -> AsyncIterator[bytes]:
        for first in range(0, len(body), part):
            yield body[first : first + part]

    return asyncio.run(read_bounded(parts(), encoding=encoding, max_bytes=max_bytes))


def raw_deflate(text: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(text) + compressor.flush()


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (TEXT, ""),
        (TEXT, "identity"),
        (gzip.compress(TEXT), " GZip "),
        (zlib.compress(TEXT), "deflate"),
        (raw_deflate(TEXT), "deflate"),
        (b"", "gzip"),
    ],
)
def test_a_reply_is_read_whole(body: bytes, encoding: str) -> None:
    if not body:
        with pytest.raises(UnboundedReplyError, match="ends too early"):
            read(body, encoding)
    else:
        assert read(body, encoding) == read(body, encoding, part=1 << 20) == TEXT


@pytest.mark.parametrize(
    ("body", "encoding"), [(TEXT, ""), (gzip.compress(TEXT), "gzip"), (zlib.compress(TEXT), "deflate")]
)
def test_a_reply_beyond_its_bound_is_refused(body: bytes, encoding: str) -> None:
    with pytest.raises(UnboundedReplyError, match="longer than 50000 bytes"):
        read(body, encoding, max_bytes=50_000)
    assert read(body, encoding, max_bytes=len(TEXT)) == TEXT


@pytest.mark.parametrize(
    ("body", "encoding", "message"),
    [
        (TEXT, "br", "not asked for"),
        (TEXT, "gzip", "damaged gzip"),
        (gzip.compress(TEXT)[:-20], "gzip", "ends too early"),
    ],
)
def test_a_reply_that_cannot_be_unpacked_is_refused(body: bytes, encoding: str, message: str) -> None:
    with pytest.raises(UnboundedReplyError, match=message):
        read(body, encoding)
