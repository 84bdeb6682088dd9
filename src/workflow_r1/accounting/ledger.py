"""Amounts of service calls, booked to the operator that made them and to the endpoint that answered."""

import math
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import numpy as np

from workflow_r1.trajectory import Usage

POLICY = "(policy)"
"""Name in place of an operator for calls without one: those of the policy's own server."""

Row = dict[str, float | int | None]
"""Flat keys, plain numbers; None where a figure is unknown or does not exist."""


class Charge:
    """Amounts of one operator call so far.

    Its sum does not depend on the order in which concurrent requests end, so that equal runs write equal figures.
    """

    def __init__(self, operator: str) -> None:
        self.operator = operator
        """Operator that pays."""
        self._usages: list[Usage] = []

    def add(self, usage: Usage) -> None:
        """Add one request."""
        self._usages.append(usage)

    @property
    def usage(self) -> Usage:
        """All of it together."""
        return _sum(self._usages)

    def fuller(self, told: Usage) -> Usage:
        """Choose between the metered use of LLMs and the operator's own report, which may include an LLM of its own.

        Searches are those that were metered where the report has none.
        """
        metered = self.usage
        if told.llm_calls <= metered.llm_calls:
            return metered
        return told if told.searches else _sum([told, *(usage for usage in self._usages if usage.searches)])


_charge: ContextVar[Charge | None] = ContextVar("charge", default=None)


@contextmanager
def charged_to(operator: str) -> Iterator[Charge]:
    """Charge all calls of metered services in this context, and in the tasks that start in it, to an operator."""
    charge = Charge(operator)
    token = _charge.set(charge)
    try:
        yield charge
    finally:
        _charge.reset(token)


@dataclass(slots=True)
class Account:
    """Running figures of one operator, one endpoint, or everything."""

    usage: Usage = field(default_factory=Usage)
    """Calls, tokens and money."""
    failures: Counter[str] = field(default_factory=Counter)
    """Calls that failed after all their attempts, by kind."""
    failed_attempts: Counter[str] = field(default_factory=Counter)
    """Attempts that failed, by kind, tried again or not; only of endpoints that report them."""
    seconds: "array[float]" = field(default_factory=lambda: array("d"))
    """Seconds from each call to its reply, retries and waiting included; the store's answers are left out."""

    def add(self, other: "Account") -> None:
        """Add another's figures."""
        self.usage += other.usage
        self.failures.update(other.failures)
        self.failed_attempts.update(other.failed_attempts)
        self.seconds.extend(other.seconds)

    def row(self) -> Row:
        """The figures under their names."""
        usage = self.usage
        p50, p95 = np.percentile(self.seconds, (50, 95)).tolist() if self.seconds else (None, None)
        return {
            "calls": usage.llm_calls,
            "stored_calls": usage.stored_calls,
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "stored_tokens": usage.stored_tokens,
            "searches": usage.searches,
            "stored_searches": usage.stored_searches,
            "cost": usage.cost,
            "paid": usage.paid,
            "unreported_calls": usage.unreported_calls,
            "seconds_p50": p50,
            "seconds_p95": p95,
            **{f"failures/{kind}": number for kind, number in sorted(self.failures.items())},
            **{f"failed_attempts/{kind}": number for kind, number in sorted(self.failed_attempts.items())},
        }


class Ledger:
    """The accounts of a run: by operator, by endpoint, and over all."""

    def __init__(self) -> None:
        self._watched: dict[str, Mapping[str, int]] = {}
        self._watched_before: dict[str, Counter[str]] = {}
        self._clear()

    def _clear(self) -> None:
        self.total = Account()
        """Everything since the start or the last :meth:`take`."""
        self.operators: dict[str, Account] = {}
        """Rows by operator."""
        self.endpoints: dict[str, Account] = {}
        """Rows by endpoint."""

    def watch(self, endpoint: str, failed_attempts: Mapping[str, int]) -> None:
        """Read an endpoint's failed attempts from a counter that its client keeps."""
        self._watched[endpoint] = failed_attempts
        self._watched_before[endpoint] = Counter(failed_attempts)

    def book(self, endpoint: str, usage: Usage, seconds: float) -> None:
        """Book one answered call."""
        charge = _charge.get()
        if charge is not None:
            charge.add(usage)
        for account in self._accounts(endpoint):
            account.usage += usage
            if not usage.stored_calls and not usage.stored_searches:
                account.seconds.append(seconds)

    def book_failure(self, endpoint: str, error: Exception) -> None:
        """Book a call that failed after all its attempts."""
        for account in self._accounts(endpoint):
            account.failures[type(error).__name__] += 1

    def rows(self) -> dict[str, Row]:
        """All accounts: ``total``, ``operator/NAME`` and ``endpoint/NAME``."""
        self._read_watched()
        return {
            "total": self.total.row(),
            **{f"operator/{name}": account.row() for name, account in sorted(self.operators.items())},
            **{f"endpoint/{name}": account.row() for name, account in sorted(self.endpoints.items())},
        }

    def take(self) -> Row:
        """Return all accounts as one flat row, and begin anew."""
        row = {f"{account}/{name}": value for account, of in self.rows().items() for name, value in of.items()}
        self._clear()
        return row

    def hand_over(self) -> dict[str, dict[str, Account]]:
        """Return all accounts, for another process to :meth:`take_in`, and begin anew."""
        self._read_watched()
        accounts = {"total": {"": self.total}, "operator": self.operators, "endpoint": self.endpoints}
        self._clear()
        return accounts

    def take_in(self, accounts: Mapping[str, Mapping[str, Account]]) -> None:
        """Add the accounts that another process handed over."""
        for kind, mine in (("total", {"": self.total}), ("operator", self.operators), ("endpoint", self.endpoints)):
            for name, account in accounts[kind].items():
                mine.setdefault(name, Account()).add(account)

    def _accounts(self, endpoint: str) -> tuple[Account, ...]:
        charge = _charge.get()
        operator = POLICY if charge is None else charge.operator
        return (
            self.total,
            self.operators.setdefault(operator, Account()),
            self.endpoints.setdefault(endpoint, Account()),
        )

    def _read_watched(self) -> None:
        for endpoint, counter in self._watched.items():
            new = Counter(counter) - self._watched_before[endpoint]
            self._watched_before[endpoint] = Counter(counter)
            if new:
                self.total.failed_attempts.update(new)
                self.endpoints.setdefault(endpoint, Account()).failed_attempts.update(new)


def _sum(usages: Sequence[Usage]) -> Usage:
    return sum(usages, start=Usage()).model_copy(
        update={
            "cost": _exact_sum([usage.cost for usage in usages]),
            "paid": _exact_sum([usage.paid for usage in usages]),
        }
    )


def _exact_sum(amounts: list[float | None]) -> float | None:
    """Sum amounts, rounded once; unknown where one of them is."""
    known = [amount for amount in amounts if amount is not None]
    return math.fsum(known) if len(known) == len(amounts) else None
