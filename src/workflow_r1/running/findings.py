"""Findings of checks, and the running of several checks at the same time."""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from workflow_r1.errors import ServiceError, ServiceRejectedError, UserError

LIMIT_SECONDS = 120.0
"""Time for all checks together, which run at the same time; the report names those that are not done by then."""


class Status(StrEnum):
    """Severity of a finding."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """Finding of one check."""

    subject: str
    """Subject of the check, e.g. a section of the configuration."""
    status: Status
    """Severity."""
    found: str
    """The finding itself."""
    remedy: str = ""
    """Remedy of the problem."""
    is_service: bool = False
    """The problem is a service that is down, not the user's to mend in a file."""


Check = Callable[[], Iterable[Finding]]
"""One check, ready to run."""


def ok(subject: str, found: str) -> Finding:
    """Nothing to do."""
    return Finding(subject, Status.OK, found)


def warning(subject: str, found: str, remedy: str = "") -> Finding:
    """A warning: the run may succeed in spite of it."""
    return Finding(subject, Status.WARNING, found, remedy)


def problem(subject: str, error: Exception | str, remedy: str = "") -> Finding:
    """Return a finding that a run cannot go well. A service that is down has another status than the user's mistake."""
    down = isinstance(error, ServiceError) and not isinstance(error, ServiceRejectedError)
    return Finding(subject, Status.PROBLEM, str(error), remedy, is_service=down)


def run_checks(checks: Mapping[str, Check], limit_seconds: float = LIMIT_SECONDS) -> list[Finding]:
    """Run all checks at the same time, each in a thread; the report waits for none of them beyond the limit.

    Args:
        checks: checks by subject.
        limit_seconds: time for all of them together.
    """
    results: dict[str, queue.SimpleQueue[list[Finding]]] = {subject: queue.SimpleQueue() for subject in checks}
    for subject, check in checks.items():
        threading.Thread(
            target=lambda subject=subject, check=check: results[subject].put(_examine(subject, check)), daemon=True
        ).start()
    deadline = time.monotonic() + limit_seconds
    findings = []
    for subject, result in results.items():
        try:
            findings += result.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            findings.append(warning(subject, f"not finished within {limit_seconds:g} s", "see what it waits for"))
    return findings


def _examine(subject: str, check: Check) -> list[Finding]:
    """Run one check; an error of it is its finding."""
    findings: list[Finding] = []
    try:
        findings += check()
    except (UserError, ServiceError) as error:
        findings.append(problem(subject, error))
    except Exception as error:
        findings.append(
            problem(subject, f"{type(error).__name__}: {error}", "this check itself failed: please report it")
        )
    return findings
