"""The HTTP client under the openai client: a server can neither fill the memory nor send the client elsewhere."""

from typing import Any

import openai

MAX_REPLY_BYTES = 16 * 2**20
"""Longest reply of a service, decompressed; one of a chat model is some kilobytes."""

_ENCODINGS = ("", "identity", "gzip", "deflate")
"""A reply may be compressed in these ways: they shrink to a thousandth at most, so that a piece of 64 KiB stays small."""


class UnboundedReplyError(openai.OpenAIError):
    """A reply longer than any that a service has reason to send, or compressed as nobody asked for."""


class BoundedHTTPClient(openai.DefaultAsyncHttpxClient):
    """The openai library's own client, with bounded replies and without redirects.

    The address of a service is the user's own choice. A redirect would let the server choose another, and the client would
    send the prompt, or a request of the server's making, to any address that this machine can reach.

    Args:
        options: as ``openai.DefaultAsyncHttpxClient`` takes them.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "follow_redirects": False})
        self.headers["Accept-Encoding"] = "identity"

    async def send(self, request: Any, *, stream: bool = False, **options: Any) -> Any:
        """Send a request. A reply that is not streamed is read here, up to ``MAX_REPLY_BYTES``.

        Raises:
            UnboundedReplyError: the reply is longer, or compressed in another way than gzip.
        """
        response = await super().send(request, stream=True, **{**options, "follow_redirects": False})
        if stream:
            return response
        try:
            encoding = response.headers.get("content-encoding", "").strip().lower()
            if encoding not in _ENCODINGS:
                raise UnboundedReplyError("a compression that was not asked for")
            body = bytearray()
            async for part in response.aiter_bytes():
                body += part
                if len(body) > MAX_REPLY_BYTES:
                    raise UnboundedReplyError(f"longer than {MAX_REPLY_BYTES} bytes")
        finally:
            await response.aclose()
        headers = [(k, v) for k, v in response.headers.multi_items() if k not in ("content-encoding", "content-length")]
        # A charset may name any of Python's codecs, those that decompress or raise included. JSON is UTF-8.
        headers = [(k, v.partition(";")[0] if k == "content-type" else v) for k, v in headers]
        return type(response)(
            response.status_code,
            headers=headers,
            content=bytes(body),
            request=request,
            extensions=response.extensions,
        )
