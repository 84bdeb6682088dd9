"""Patience with a service: attempts, waits between them, and the parts of an error that a message may repeat.

Everything here holds for any service behind the operators, an LLM or a search, over any client.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar
from urllib.parse import urlsplit

from workflow_r1.errors import (
    EndpointRejectedError,
    FilteredError,
    ServiceError,
    ServiceRejectedError,
    ServiceTimeoutError,
    ServiceUnavailableError,
    TooLongError,
)
from workflow_r1.services.failures import FailureKind
from workflow_r1.services.secrets import mask

MAX_BACKOFF_SECONDS = 8.0
"""Longest wait between two attempts where the service names none."""

MAX_RETRY_AFTER_SECONDS = 120.0
"""Longest wait that a service's ``Retry-After`` is granted; one that asks for more counts as unavailable."""

_RETRIED_STATUS = frozenset({408, 409, 425})
"""Statuses that are tried again, besides 429 and every status from 500 on."""

_TIMEOUTS = (FailureKind.IDLE, FailureKind.TIMEOUT)

_CONTENT_ERRORS: dict[FailureKind, type[ServiceError]] = {
    FailureKind.TOO_LONG: TooLongError,
    FailureKind.CONTENT_FILTER: FilteredError,
}

MAX_QUOTED_CHARS = 300
"""Longest part of a service's own message that an error repeats, in characters."""

Reply = TypeVar("Reply")


class AttemptError(Exception):
    """One attempt brought no reply.

    Args:
        kind: kind of the failure.
        received: the thing that came in place of a reply; completes "expected a reply, received".
        retry_after: seconds that the service asks to wait.
        remedy: a remedy that says more than the kind's own.
    """

    def __init__(
        self, kind: FailureKind, received: str, *, retry_after: float | None = None, remedy: str | None = None
    ) -> None:
        super().__init__(received)
        self.kind = kind
        self.received = received
        self.retry_after = retry_after
        self.remedy = remedy


attempt_clock: ContextVar[asyncio.Timeout | None] = ContextVar("attempt_clock", default=None)
"""Time limit of the attempt under way. It stands still while the attempt waits for its turn to open a connection."""

_on_attempt: ContextVar[Callable[[], None] | None] = ContextVar("on_attempt", default=None)


@contextmanager
def attempts_told_to(tell: Callable[[], None]) -> Iterator[None]:
    """Call ``tell`` before every attempt in this context, and in the tasks that start in it: an error of ``tell`` stops
    the attempt.

    An attempt begins when its request has its place among those in flight: a waiting request is not reported.
    """
    token = _on_attempt.set(tell)
    try:
        yield
    finally:
        _on_attempt.reset(token)


def tell_of_attempt() -> None:
    """Report to the counter that a request is about to be sent."""
    tell = _on_attempt.get()
    if tell is not None:
        tell()


async def ask_patiently(
    attempt: Callable[[], Awaitable[Reply]],
    *,
    place: str,
    max_retries: int,
    backoff_seconds: float,
    failures: Counter[FailureKind],
    retries: Counter[FailureKind] | None = None,
) -> Reply:
    """Make attempts until one succeeds, at most ``max_retries + 1``.

    Between two attempts it waits ``backoff_seconds``, doubled with each retry up to ``MAX_BACKOFF_SECONDS``, less up to
    a half at random; where the service asks for a wait, as long as that, and a little longer at random.

    Args:
        attempt: asks once.
        place: the service, as the error names it.
        max_retries: further attempts after the first.
        backoff_seconds: before the first retry.
        failures: counts every failed attempt by its kind.
        retries: counts those of them that were tried again.

    Raises:
        ServiceUnavailableError: the last attempt failed.
        ServiceTimeoutError: the last attempt took too long.
        EndpointRejectedError: the service refuses every request.
        TooLongError: the request is too long.
        FilteredError: a content filter stopped the request.
        ServiceRejectedError: the service refuses the request for another reason.
    """
    number = 0
    while True:
        number += 1
        tell_of_attempt()
        try:
            return await attempt()
        except AttemptError as error:
            failures[error.kind] += 1
            final = number > max_retries or not error.kind.may_pass
            too_long = error.retry_after is not None and error.retry_after > MAX_RETRY_AFTER_SECONDS
            if final or too_long:
                raise _explain(error, place, number, asked_to_wait=None if final else error.retry_after) from None
            if retries is not None:
                retries[error.kind] += 1
            wait = _wait(number, backoff_seconds, error.retry_after)
        await asyncio.sleep(wait)


def _wait(number: int, backoff_seconds: float, retry_after: float | None) -> float:
    longest = min(backoff_seconds * 2 ** min(number - 1, 10), MAX_BACKOFF_SECONDS)
    # Jitter only spreads requests over time: no result depends on it, so it needs no seed.
    if retry_after is not None:
        return retry_after + 0.1 * longest * random.random()
    return longest * random.uniform(0.5, 1.0)


def _explain(error: AttemptError, place: str, num_attempts: int, *, asked_to_wait: float | None) -> ServiceError:
    if asked_to_wait is not None:
        remedy = f"the service asks to wait {asked_to_wait:.0f} s: try again then"
    elif error.remedy is not None:
        remedy = error.remedy
    elif error.kind in _TIMEOUTS:
        remedy = "check the service's load, raise its timeouts, or lower concurrency"
    else:
        remedy = "check that the service runs, and its log; lower concurrency if it is overloaded"
    attempts = f" after {num_attempts} attempt{'s' * (num_attempts > 1)}" if error.kind.may_pass else ""
    return _error_of_kind(error.kind)(f"{place}: expected a reply, received {error.received}{attempts}; {remedy}")


def _error_of_kind(kind: FailureKind) -> type[ServiceError]:
    if kind in _TIMEOUTS:
        return ServiceTimeoutError
    if kind.may_pass:
        return ServiceUnavailableError
    if kind in _CONTENT_ERRORS:
        return _CONTENT_ERRORS[kind]
    return ServiceRejectedError if kind.is_request else EndpointRejectedError


def kind_of_status(status: int) -> FailureKind:
    """Judge an HTTP status that is not a success."""
    if status == 429:
        return FailureKind.THROTTLED
    if status in _RETRIED_STATUS or status >= 500:
        return FailureKind.SERVER_ERROR
    kinds = {
        401: FailureKind.BAD_KEY,
        402: FailureKind.NO_QUOTA,
        403: FailureKind.BAD_KEY,
        404: FailureKind.UNKNOWN_MODEL,
        405: FailureKind.UNKNOWN_MODEL,
        413: FailureKind.TOO_LONG,
    }
    return kinds.get(status, FailureKind.UNKNOWN_MODEL if status < 400 else FailureKind.REJECTED)


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Seconds that a service asks to wait, given as a number or as a date; None where it gives none."""
    value = headers.get("retry-after", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        try:
            until = parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return None
        until = until if until.tzinfo else until.replace(tzinfo=UTC)
        return max((until - datetime.now(UTC)).total_seconds(), 0.0)
    return seconds if 0 <= seconds < float("inf") else None


def is_web_address(url: str) -> bool:
    """Return True for an http or https address with a host."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def quote(text: str, secrets: Iterable[str] = ()) -> str:
    """One line of a service's own message: short, and without secrets."""
    text = " ".join(mask(text, secrets).split())
    return text if len(text) <= MAX_QUOTED_CHARS else text[:MAX_QUOTED_CHARS] + "..."


def encodable(text: str) -> str:
    """Replace lone surrogates, which JSON can spell and UTF-8 cannot hold."""
    return text if text.isascii() else text.encode("utf-8", errors="replace").decode("utf-8")
