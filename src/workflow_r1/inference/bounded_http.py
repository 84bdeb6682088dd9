"""The HTTP client under the openai client: a server can neither fill the memory nor send the client elsewhere."""

from typing import Any

import openai

from workflow_r1.services.bounded_reply import UnboundedReplyError, read_bounded

MAX_REPLY_BYTES = 16 * 2**20
"""Longest reply of a service, decompressed; one of a chat model is some kilobytes."""


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
            openai.OpenAIError: the reply is longer, or compressed in a way that was not asked for.
        """
        response = await super().send(request, stream=True, **{**options, "follow_redirects": False})
        if stream:
            return response
        try:
            body = await read_bounded(response, MAX_REPLY_BYTES)
        except UnboundedReplyError as error:
            raise openai.OpenAIError(str(error)) from None  # The openai client lets its own errors through as they are.
        finally:
            await response.aclose()
        headers = [(k, v) for k, v in response.headers.multi_items() if k not in ("content-encoding", "content-length")]
        # A charset may name any of Python's codecs, those that decompress or raise included. JSON is UTF-8.
        headers = [(k, v.partition(";")[0] if k == "content-type" else v) for k, v in headers]
        return type(response)(
            response.status_code,
            headers=headers,
            content=body,
            request=request,
            extensions=response.extensions,
        )
