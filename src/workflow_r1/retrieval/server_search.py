r"""Search through a retrieval server that speaks Search-R1's protocol: theirs, one of its many relatives, or ours.

POST /retrieve {"queries": ["Who directed Jaws?"], "topk": 5, "return_scores": true}
{"result": [[{"document": {"id": "7", "contents": "\"Jaws\"\nJaws is a film ..."}, "score": 12.5}, ...]]}
"""

import asyncio
from collections import Counter, deque
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field

from workflow_r1.errors import EndpointRejectedError, ServiceRejectedError
from workflow_r1.retrieval.backend import Passage
from workflow_r1.retrieval.passages import read_passages
from workflow_r1.services.attempts import encodable
from workflow_r1.services.failures import FailureKind
from workflow_r1.services.json_service import JSONService, JSONServiceConfig
from workflow_r1.services.keys import read_key


class RetrievalServerConfig(JSONServiceConfig):
    """A retrieval server that speaks Search-R1's protocol."""

    url: str = Field(default="http://127.0.0.1:8000", min_length=1)
    """Address of the server; without a path, ``/retrieve`` is asked."""
    api_key_env: str | None = None
    """Environment variable that holds a key, sent as a bearer token; None sends no key."""
    concurrency: int = Field(default=4, ge=1)
    """Requests in flight at once. Each carries up to ``max_batch`` queries: measured, four are as fast as sixteen."""
    max_batch: int = Field(default=32, ge=1)
    """Most queries in one request. Queries never wait for company: they go together where they came together, or while
    all ``concurrency`` requests were under way."""


@dataclass(slots=True)
class _Waiting:
    """A query that no request carries yet."""

    query: str
    k: int
    found: asyncio.Future[list[Passage]]
    context: Context = field(default_factory=copy_context)


class RetrievalServerSearch:
    """A ``SearchBackend`` over a retrieval server.

    Args:
        config: address and patience.

    Raises:
        ConfigError: the address is not valid, or the key is missing.
    """

    def __init__(self, config: RetrievalServerConfig) -> None:
        self._config = config
        key = None
        if config.api_key_env is not None:
            key = read_key(config.api_key_env, purpose="the retrieval server's key")
        has_path = urlsplit(config.url).path.strip("/") != ""
        self._service = JSONService(
            config.url if has_path else f"{config.url.rstrip('/')}/retrieve",
            config,
            key="search.server.url",
            headers={"Authorization": f"Bearer {key}"} if key else None,
            secrets=(key,) if key else (),
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: deque[_Waiting] = deque()
        self._requests: set[asyncio.Task[None]] = set()

    @property
    def failures(self) -> Counter[FailureKind]:
        """Failed attempts so far, by kind, including those that a retry made good."""
        return self._service.failures

    async def __call__(self, query: str, *, k: int) -> list[Passage]:
        """Return at most ``k`` passages; see :class:`~workflow_r1.retrieval.SearchBackend`.

        Raises:
            ServiceUnavailableError: unreachable, throttled, failing or unreadable on the last attempt.
            ServiceTimeoutError: no reply in time on the last attempt.
            EndpointRejectedError: the server refuses every request: key, address.
            ServiceRejectedError: the server refuses the query.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._waiting, self._requests = loop, deque(), set()
        waiting = _Waiting(encodable(query), k, loop.create_future())
        self._waiting.append(waiting)
        if len(self._waiting) == 1:
            # Wait for the end of this round of the loop: queries which come at once travel together.
            loop.call_soon(self._send)
        return await waiting.found

    async def aclose(self) -> None:
        """Close the connections; a later query opens new ones."""
        await self._service.aclose()

    def _send(self) -> None:
        """Send the waiting queries, as far as the limit of requests allows."""
        while self._waiting and len(self._requests) < self._config.concurrency:
            batch = self._take_batch()
            if batch:
                # Runs in the context of its first query, whose account books the attempts.
                request = asyncio.get_running_loop().create_task(self._ask(batch), context=batch[0].context)
                self._requests.add(request)
                request.add_done_callback(self._finish)

    def _finish(self, request: asyncio.Task[None]) -> None:
        self._requests.discard(request)
        self._send()

    def _take_batch(self) -> list[_Waiting]:
        """Take the queries of the next request: those with one ``k``, in the order in which they came."""
        k = self._waiting[0].k
        batch: list[_Waiting] = []
        others: list[_Waiting] = []
        while self._waiting and len(batch) < self._config.max_batch:
            waiting = self._waiting.popleft()
            if waiting.found.done():
                continue  # the caller was cancelled
            (batch if waiting.k == k else others).append(waiting)
        self._waiting.extendleft(reversed(others))
        return batch

    async def _ask(self, batch: list[_Waiting]) -> None:
        """Ask for a batch and hand out the passages."""
        k = batch[0].k
        request = {"queries": [waiting.query for waiting in batch], "topk": k, "return_scores": True}
        try:
            found = await self._service.ask(request, lambda reply: read_reply(reply, len(batch), k))
        except ServiceRejectedError as error:
            if len(batch) > 1 and not isinstance(error, EndpointRejectedError):
                # One query may be at fault for all: each is asked for by itself.
                await asyncio.gather(*(self._ask([waiting]) for waiting in batch))
                return
            _fail(batch, error)
        except Exception as error:
            _fail(batch, error)
        except BaseException:
            for waiting in batch:
                waiting.found.cancel()
            raise
        else:
            for waiting, passages in zip(batch, found, strict=True):
                if not waiting.found.done():
                    waiting.found.set_result(passages)


def _fail(batch: list[_Waiting], error: Exception) -> None:
    for waiting in batch:
        if not waiting.found.done():
            # One instance each: they are raised in different places.
            waiting.found.set_exception(type(error)(*error.args))


def read_reply(reply: Any, num_queries: int, k: int) -> list[list[Passage]]:
    """Read the passages of each query.

    Passages come as ``{"document": ..., "score": ...}`` or as the document alone; a document is ``contents``, or
    ``title`` with ``text`` or ``content``, or text alone. See :func:`~workflow_r1.retrieval.passages.read_passage`.

    Raises:
        ValueError: the reply holds no results; the message says what is missing.
    """
    result = reply.get("result") if isinstance(reply, dict) else None
    if not isinstance(result, list):
        fields = f"fields {', '.join(map(str, reply))[:120] or 'none'}" if isinstance(reply, dict) else "no object"
        raise ValueError(f"expected an object with a list in the field result, found {fields}")
    if len(result) != num_queries:
        raise ValueError(f"expected passages for each of {num_queries} queries in result, found {len(result)} lists")
    found = []
    for number, passages in enumerate(result, start=1):
        try:
            found.append(read_passages(passages, k))
        except ValueError as error:
            raise ValueError(f"query {number}: {error}") from None
    return found
