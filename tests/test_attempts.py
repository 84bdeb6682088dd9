import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from workflow_r1 import attempts
from workflow_r1.attempts import (
    AttemptError,
    ask_patiently,
    is_web_address,
    not_connected,
    quote,
    retry_after_seconds,
    timed_out,
    without_login,
)
from workflow_r1.errors import ServiceRejectedError, ServiceTimeoutError, ServiceUnavailableError


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Every wait between two attempts; none is waited for."""
    seen: list[float] = []

    async def sleep(seconds: float) -> None:
        seen.append(seconds)

    monkeypatch.setattr(attempts.asyncio, "sleep", sleep)
    return seen


def ask(*outcomes: Exception | str, max_retries: int = 3, failures: Counter[str] | None = None) -> str:
    left = list(outcomes)

    async def attempt() -> str:
        outcome = left.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return asyncio.run(
        ask_patiently(attempt, place="search at x", max_retries=max_retries, backoff_seconds=1.0, failures=failures)
    )


def throttled(seconds: float | None) -> AttemptError:
    return AttemptError(ServiceUnavailableError, "status 429", cause="status 429", retry_after=seconds)


def test_waits_double_up_to_a_bound_and_jitter_shortens_them(waits: list[float]) -> None:
    assert ask(*[not_connected("refused")] * 6, "found", max_retries=6) == "found"
    assert len(waits) == 6
    for wait, longest in zip(waits, [1, 2, 4, 8, 8, 8], strict=True):
        assert 0.75 * longest <= wait <= longest


def test_the_services_own_wait_goes_first_but_not_for_ever(waits: list[float]) -> None:
    assert ask(throttled(3.0), throttled(0.0), "found") == "found"
    assert waits == [3.0, 0.0]
    with pytest.raises(ServiceUnavailableError, match="after 1 attempt; the service asks to wait 500 s"):
        ask(throttled(500.0), "found")


def test_the_last_failure_is_the_one_that_is_told(waits: list[float]) -> None:
    failures: Counter[str] = Counter()
    with pytest.raises(
        ServiceTimeoutError, match="search at x: expected a reply, received no reply within 5 s after 3 "
    ):
        ask(not_connected("refused"), throttled(None), timed_out(5.0), "found", max_retries=2, failures=failures)
    assert failures == {"connection": 1, "status 429": 1, "timeout": 1}
    assert len(waits) == 2


def test_a_refusal_is_not_repeated(waits: list[float]) -> None:
    with pytest.raises(ServiceRejectedError, match="bad key"):
        ask(ServiceRejectedError("bad key"), "found")
    assert waits == []


def test_retry_after_is_read_as_seconds_or_as_a_date() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert retry_after_seconds({"retry-after": " 1.5 "}) == 1.5
    assert retry_after_seconds({"retry-after": soon}) == pytest.approx(60, abs=2)
    assert retry_after_seconds({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0.0
    for value in ("", "soon", "-3", "nan", "inf", "Wed, 99 Foo 2015"):
        assert retry_after_seconds({"retry-after": value}) is None


@pytest.mark.parametrize(
    "url", ["", "localhost:8000", "ftp://x", "http://", "http://[", "http://x:port", "http://x:99999"]
)
def test_what_is_no_web_address(url: str) -> None:
    assert not is_web_address(url)


def test_what_an_error_may_tell() -> None:
    assert is_web_address("https://[::1]:8000/retrieve")
    assert without_login("https://me:secret@host:1/path?key=secret#x") == "https://host:1/path"
    assert "secret" not in without_login("http://me:secret@[broken")
    assert quote("bad  key\nsk-1", "sk-1", "") == "bad key ***"
    assert len(quote("x" * 1000)) == attempts.MAX_QUOTED_CHARS + 3
