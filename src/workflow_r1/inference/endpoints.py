"""Several endpoints behind one ``ChatModel``: a weighted choice, failover to the next, and rest for one that is down.

**The choice is a function of the request.** Each endpoint gets a number from a hash of its name and the request
(messages, parameters, ``sample_index``), stretched by its weight; the lowest goes first, the next lowest after it
(weighted rendezvous hashing). One request therefore goes to one endpoint in every run, which a store of calls needs.
Each endpoint has its share of the requests, and a new endpoint takes over its own share and moves nothing else.

**Failover is not.** Which endpoint replies depends on which was up. A run in which none failed is repeatable; one with
failovers is so only as a replay from the store of its calls, where a reply is looked for at one endpoint after the
other.
"""

import hashlib
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from workflow_r1.errors import (
    EndpointRejectedError,
    ReplayMissError,
    ServiceError,
    ServiceTimeoutError,
    ServiceUnavailableError,
)
from workflow_r1.inference.chat import ChatModel, ChatReply, ChatRequest, HoldsConnections

COOL_DOWN_SECONDS = 30.0
"""Pause of an endpoint that is down, in seconds, before one request tries it again."""

FAILURES_UNTIL_DOWN = 3
"""Requests in a row, each with all its retries, after which an endpoint counts as down. One alone may be bad luck: where
three in ten attempts fail, one request in four hundred loses all five."""


class Endpoint:
    """One endpoint and its health, which all routes through it share.

    Args:
        name: its name in the configuration; part of the hash that chooses.
        chat: the model there.
        weight: its share, relative to the others. 0 takes requests only when all others failed.
        cool_down_seconds: its pause while it is down, in seconds.
        clock: seconds, never going back.
    """

    def __init__(
        self,
        name: str,
        chat: ChatModel,
        *,
        weight: float = 1.0,
        cool_down_seconds: float = COOL_DOWN_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.chat = chat
        self.weight = weight
        self._cool_down_seconds = cool_down_seconds
        self._clock = clock
        self._failures_in_a_row = 0
        self._rests_until: float | None = None

    @property
    def is_down(self) -> bool:
        """True where it failed so often in a row that requests should pass it over."""
        return self._rests_until is not None

    def admit(self) -> bool:
        """Return True where a request should try it now.

        An endpoint that is down gets one request each time its pause is over.
        """
        now = self._clock()
        if self._rests_until is not None:
            if now < self._rests_until:
                return False
            self._rests_until = now + self._cool_down_seconds
        return True

    def note_reply(self) -> None:
        """It answered: it is up."""
        self._failures_in_a_row = 0
        self._rests_until = None

    def note_failure(self, error: ServiceError) -> None:
        """A request lost all its retries here. A refusal of every request counts as down at once."""
        self._failures_in_a_row += 1
        if isinstance(error, EndpointRejectedError) or self._failures_in_a_row >= FAILURES_UNTIL_DOWN:
            self._rests_until = self._clock() + self._cool_down_seconds


class RoutedChatModel:
    """A ``ChatModel`` over several endpoints; see the module.

    A request that an endpoint refuses for the request's own sake (too long, not understood) is not tried elsewhere: the
    error is the same wherever it goes, and hiding it would hide a mistake. A refusal of every request (bad key, unknown
    model, no quota) is the endpoint's own trouble: the next one is asked.

    Args:
        endpoints: at least one; names are distinct.
    """

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        names = [endpoint.name for endpoint in endpoints]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"expected one or more endpoints with distinct names, received {names}")
        self.endpoints = tuple(endpoints)
        self.failovers: Counter[str] = Counter()
        """Number of requests that moved to the next endpoint, by the name of the endpoint that failed."""

    async def __call__(self, request: ChatRequest) -> ChatReply:
        """Return one reply; see :class:`~workflow_r1.inference.ChatModel`.

        Raises:
            ServiceError: every endpoint failed, or one refused the request itself.
            ReplayMissError: in a replay, the store has no reply of any of them.
        """
        failures: list[tuple[Endpoint, ServiceError]] = []
        miss: ReplayMissError | None = None
        for endpoint in _candidates(rank(self.endpoints, _identify(request))):
            if failures:
                self.failovers[failures[-1][0].name] += 1
            try:
                reply = await endpoint.chat(request)
            except (ServiceUnavailableError, ServiceTimeoutError, EndpointRejectedError) as error:
                endpoint.note_failure(error)
                failures.append((endpoint, error))
            except ReplayMissError as error:
                # In a replay, this endpoint may have failed and a later one may have answered.
                miss = miss or error
            except ServiceError:
                endpoint.note_reply()
                raise
            else:
                if not reply.usage.stored_calls:  # A stored reply says nothing of the endpoint's health.
                    endpoint.note_reply()
                return reply
        raise miss or _combine(failures)

    async def aclose(self) -> None:
        """Close the connections of every endpoint; a later request opens new ones."""
        for endpoint in self.endpoints:
            if isinstance(endpoint.chat, HoldsConnections):
                await endpoint.chat.aclose()


def _candidates(ranked: Sequence[Endpoint]) -> Iterator[Endpoint]:
    """Yield the endpoints to try, one after the other; those that rest come last: one may just have come back.

    An endpoint is admitted when its turn comes: one that is down must not spend its trial on a request that an earlier
    one answers.
    """
    resting = []
    for endpoint in ranked:
        if endpoint.admit():
            yield endpoint
        else:
            resting.append(endpoint)
    yield from resting


def rank(endpoints: Sequence[Endpoint], request: str) -> list[Endpoint]:
    """Order the endpoints for a request by weighted rendezvous hashing.

    With u uniform in (0, 1), -ln(u) / weight is exponential with rate ``weight``, and the smallest of several such numbers
    is each one's with a probability in proportion to its weight (Schindelhauer and Schomaker 2005).
    """

    def draw(endpoint: Endpoint) -> tuple[bool, float]:
        digest = hashlib.blake2b(f"{endpoint.name}\0{request}".encode("utf-8", "replace"), digest_size=8).digest()
        exponential = -math.log((int.from_bytes(digest) + 1) / (2**64 + 1))
        return endpoint.weight == 0, exponential / (endpoint.weight or 1.0)

    return sorted(endpoints, key=draw)


def _identify(request: ChatRequest) -> str:
    messages = [(message.role, message.content) for message in request.messages]
    return json.dumps([messages, request.temperature, request.max_tokens, request.sample_index, request.stop])


def _combine(failures: Sequence[tuple[Endpoint, ServiceError]]) -> ServiceError:
    """Return the error to raise when none replied: the last failure's kind, with all messages."""
    if len(failures) == 1:
        return failures[0][1]
    told = "; ".join(f"[{endpoint.name}] {error}" for endpoint, error in failures)
    return type(failures[-1][1])(f"none of {len(failures)} endpoints replied: {told}")
