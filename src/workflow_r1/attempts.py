"""How patiently a service is asked: attempts, waits between them, and what an error may tell of it.

Everything here holds for any service behind the operators, an LLM or a search, whatever it is reached by.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar
from urllib.parse import urlsplit

from workflow_r1.errors import ServiceError, ServiceTimeoutError, ServiceUnavailableError

MAX_BACKOFF_SECONDS = 8.0
"""Longest wait between two attempts where the service names none."""

MAX_RETRY_AFTER_SECONDS = 120.0
"""Longest wait that a service's ``Retry-After`` is granted; one that asks for more counts as unavailable."""

RETRIED_STATUS = frozenset({408, 409, 425, 429, *range(500, 600)})
"""HTTP statuses that may pass."""

MAX_QUOTED_CHARS = 300
"""How much of a service's own message is repeated."""

Reply = TypeVar("Reply")


class AttemptError(Exception):
    """One attempt failed in a way that may pass.

    Args:
        kind: what to raise where no further attempt is made.
        received: what came in place of a reply; completes "expected a reply, received".
        cause: by which failures are counted, a few words that are the same for the same kind of failure.
        retry_after: seconds that the service asks to wait.
    """

    def __init__(
        self, kind: type[ServiceError], received: str, *, cause: str, retry_after: float | None = None
    ) -> None:
        super().__init__(received)
        self.kind = kind
        self.received = received
        self.cause = cause
        self.retry_after = retry_after


async def ask_patiently(
    attempt: Callable[[], Awaitable[Reply]],
    *,
    place: str,
    max_retries: int,
    backoff_seconds: float,
    failures: Counter[str] | None = None,
) -> Reply:
    """Make attempts until one succeeds, at most ``max_retries + 1``.

    Between two attempts it waits as long as the service asks, otherwise ``backoff_seconds``, doubled with each retry up to
    ``MAX_BACKOFF_SECONDS``, less up to a quarter at random.

    Args:
        attempt: asks once.
        place: the service, as the error names it.
        max_retries: further attempts after the first.
        backoff_seconds: before the first retry.
        failures: counts every failed attempt by its cause.

    Raises:
        ServiceError: the last attempt's kind; or at once what ``attempt`` raises other than ``AttemptError``.
    """
    number = 0
    while True:
        number += 1
        try:
            return await attempt()
        except AttemptError as error:
            if failures is not None:
                failures[error.cause] += 1
            wait = _wait(number, backoff_seconds) if error.retry_after is None else error.retry_after
            if number > max_retries or wait > MAX_RETRY_AFTER_SECONDS:
                asked = error.retry_after if number <= max_retries else None
                raise _final(error, place, number, asked_to_wait=asked) from None
        await asyncio.sleep(wait)


def _wait(number: int, backoff_seconds: float) -> float:
    longest = min(backoff_seconds * 2 ** min(number - 1, 10), MAX_BACKOFF_SECONDS)
    # Jitter only spreads requests over time: no result depends on it, so it needs no seed.
    return longest * random.uniform(0.75, 1.0)


def _final(error: AttemptError, place: str, num_attempts: int, *, asked_to_wait: float | None) -> ServiceError:
    if asked_to_wait is not None:
        remedy = f"the service asks to wait {asked_to_wait:.0f} s: try again then"
    elif error.kind is ServiceTimeoutError:
        remedy = "check the service's load, raise timeout_seconds, or lower concurrency"
    else:
        remedy = "check that the service runs, and its log; lower concurrency if it is overloaded"
    attempts = "attempt" if num_attempts == 1 else "attempts"
    return error.kind(f"{place}: expected a reply, received {error.received} after {num_attempts} {attempts}; {remedy}")


def timed_out(seconds: float, *, what: str = "no reply") -> AttemptError:
    """Return the failure of an attempt that took too long."""
    return AttemptError(ServiceTimeoutError, f"{what} within {seconds:g} s", cause="timeout")


def not_connected(reason: str) -> AttemptError:
    """Return the failure of an attempt that found no connection, or lost it."""
    return AttemptError(ServiceUnavailableError, f"no connection ({reason})", cause="connection")


def not_readable(reason: str) -> AttemptError:
    """Return the failure of an attempt whose reply makes no sense."""
    return AttemptError(ServiceUnavailableError, f"a reply that cannot be read ({reason})", cause="unreadable reply")


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Seconds that a service asks to wait, which it may give as a number or as a date; None where it gives none."""
    value = headers.get("retry-after", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        try:
            until = parsedate_to_datetime(value)
        except ValueError:
            return None
        until = until if until.tzinfo else until.replace(tzinfo=UTC)
        return max((until - datetime.now(UTC)).total_seconds(), 0.0)
    return seconds if 0 <= seconds < float("inf") else None


def is_web_address(url: str) -> bool:
    """Whether this is an http or https address with a host."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def without_login(url: str) -> str:
    """Leave out ``user:password@`` and a query, which may hold keys."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url.rpartition("@")[2].partition("?")[0]
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def quote(text: str, *secrets: str) -> str:
    """One line of a service's own message: short, and without secrets."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    text = " ".join(text.split())
    return text if len(text) <= MAX_QUOTED_CHARS else text[:MAX_QUOTED_CHARS] + "..."


def encodable(text: str) -> str:
    """Replace lone surrogates, which JSON can spell and UTF-8 cannot hold."""
    return text if text.isascii() else text.encode("utf-8", errors="replace").decode("utf-8")
