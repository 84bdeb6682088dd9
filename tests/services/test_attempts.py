import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from workflow_r1.errors import (
    EndpointRejectedError,
    ServiceError,
    ServiceRejectedError,
    ServiceTimeoutError,
    ServiceUnavailableError,
    TooLongError,
)
from workflow_r1.services import attempts
from workflow_r1.services.attempts import (
    AttemptError,
    ask_patiently,
    is_web_address,
    kind_of_status,
    quote,
    retry_after_seconds,
)
from workflow_r1.services.failures import FailureKind


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Every wait between two attempts; none is waited for."""
    seen: list[float] = []

    async def sleep(seconds: float) -> None:
        seen.append(seconds)

    monkeypatch.setattr(attempts.asyncio, "sleep", sleep)
    return seen


def ask(*outcomes: Exception | str, max_retries: int = 3, failures: Counter[FailureKind] | None = None) -> str:
    left = list(outcomes)

    async def attempt() -> str:
        outcome = left.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return asyncio.run(
        ask_patiently(
            attempt,
            place="search at x",
            max_retries=max_retries,
            backoff_seconds=1.0,
            failures=Counter() if failures is None else failures,
        )
    )


def throttled(seconds: float | None) -> AttemptError:
    return AttemptError(FailureKind.THROTTLED, "status 429", retry_after=seconds)


def unreachable() -> AttemptError:
    return AttemptError(FailureKind.UNREACHABLE, "no connection (refused)")


def test_waits_double_up_to_a_bound_and_jitter_shortens_them(waits: list[float]) -> None:
    assert ask(*[unreachable()] * 6, "found", max_retries=6) == "found"
    assert len(waits) == 6
    for wait, longest in zip(waits, [1, 2, 4, 8, 8, 8], strict=True):
        assert 0.5 * longest <= wait <= longest
    assert ask(*[unreachable()] * 5000, "found", max_retries=5000) == "found"
    assert max(waits) <= 8


def test_the_services_own_wait_goes_first_but_not_for_ever(waits: list[float]) -> None:
    assert ask(throttled(3.0), throttled(0.0), "found") == "found"
    # A little later than asked, so that not all clients with the same answer come back at the same moment.
    assert 3.0 < waits[0] < 3.1
    assert 0.0 < waits[1] < 0.2
    with pytest.raises(ServiceUnavailableError, match="after 1 attempt; the service asks to wait 500 s"):
        ask(throttled(500.0), "found")
    assert ask(throttled(attempts.MAX_RETRY_AFTER_SECONDS), "found") == "found"


def test_the_last_failure_is_the_one_that_is_told(waits: list[float]) -> None:
    failures: Counter[FailureKind] = Counter()
    with pytest.raises(
        ServiceTimeoutError, match="search at x: expected a reply, received no reply within 5 s after 3 "
    ):
        ask(
            unreachable(),
            throttled(None),
            AttemptError(FailureKind.TIMEOUT, "no reply within 5 s"),
            "found",
            max_retries=2,
            failures=failures,
        )
    assert failures == {"unreachable": 1, "throttled": 1, "timeout": 1}
    assert len(waits) == 2


@pytest.mark.parametrize(
    ("status", "kind", "raised"),
    [
        (429, "throttled", ServiceUnavailableError),
        (500, "server_error", ServiceUnavailableError),
        (599, "server_error", ServiceUnavailableError),
        (408, "server_error", ServiceUnavailableError),
        (302, "unknown_model", EndpointRejectedError),
        (401, "bad_key", EndpointRejectedError),
        (402, "no_quota", EndpointRejectedError),
        (404, "unknown_model", EndpointRejectedError),
        (413, "too_long", TooLongError),
        (422, "rejected", ServiceRejectedError),
    ],
)
def test_a_refusal_is_not_repeated(waits: list[float], status: int, kind: str, raised: type[ServiceError]) -> None:
    assert kind_of_status(status) == kind
    failures: Counter[FailureKind] = Counter()
    # One that may pass would be tried again.
    max_retries = 0 if raised is ServiceUnavailableError else 3
    with pytest.raises(raised, match=r"received so.*; try this") as told:
        ask(AttemptError(FailureKind(kind), "so", remedy="try this"), max_retries=max_retries, failures=failures)
    assert type(told.value) is raised
    assert waits == []
    assert failures == {kind: 1}


def test_retry_after_is_read_as_seconds_or_as_a_date() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert retry_after_seconds({"retry-after": " 1.5 "}) == 1.5
    assert retry_after_seconds({"retry-after": soon}) == pytest.approx(60, abs=2)
    assert retry_after_seconds({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0.0
    for value in ("", "soon", "-3", "nan", "inf", "Wed, 99 Foo 2015", f"Wed, 21 Oct {10**20} 07:28:00 GMT"):
        assert retry_after_seconds({"retry-after": value}) is None


@pytest.mark.parametrize(
    "url", ["", "localhost:8000", "ftp://x", "http://", "http://[", "http://x:port", "http://x:99999"]
)
def test_what_is_no_web_address(url: str) -> None:
    assert not is_web_address(url)


def test_what_an_error_may_tell() -> None:
    assert is_web_address("https://[::1]:8000/retrieve")
    assert quote("bad  key\nsk-1", ["sk-1"]) == "bad key ***"
    assert len(quote("x" * 1000)) == attempts.MAX_QUOTED_CHARS + 3
