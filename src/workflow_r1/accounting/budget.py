"""A run's limits for services, and its spending so far."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import Field, ValidationError

from workflow_r1.errors import BudgetExceededError, ConfigError, DataError
from workflow_r1.services.attempts import attempts_told_to
from workflow_r1.trajectory.records import Record
from workflow_r1.trajectory.storage import write_atomically


class BudgetConfig(Record):
    """Limits for services in all, resumes included. At a limit the run stops cleanly and can continue with a higher one.

    Answers of the store of calls cost nothing.
    """

    calls: int | None = Field(default=None, ge=1)
    """Requests that reach an LLM or a search service, retries and lost ones included; a search in this process is not one."""
    tokens: int | None = Field(default=None, ge=1)
    """Tokens sent and received. Calls that are under way when it is reached may go beyond."""
    money: float | None = Field(default=None, gt=0.0)
    """Money in the currency of ``prices``, which must hold every price that is needed. May be passed like ``tokens``."""
    minutes: float | None = Field(default=None, gt=0.0)
    """Wall time. Training counts its steps without the evaluations, and stops at the end of a step."""


class Spent(Record):
    """Spending so far. Written beside a run, so that a resume continues counting."""

    calls: int = 0
    """Requests that reached an LLM or a search service."""
    tokens: int = 0
    """Tokens sent and received, by the services' own figures."""
    money: float | None = 0.0
    """Money in the configuration's currency; None where a price is unknown."""
    seconds: float = 0.0
    """Wall time, of evaluations by command; training's stands in its checkpoints."""

    @classmethod
    def read(cls, path: Path) -> "Spent":
        """Read the file of a run; without a file, nothing was spent.

        Raises:
            DataError: the file is not such a record.
        """
        if not path.is_file():
            return cls()
        try:
            return cls.model_validate_json(path.read_bytes())
        except ValidationError:
            raise DataError(
                f"expected the amounts that the run has spent so far in {path}, found something else; correct or remove it "
                "(the "
                "budget then counts from 0)"
            ) from None

    def write(self, path: Path) -> None:
        """Write it, in one step."""
        write_atomically(path, self.model_dump_json() + "\n")


Tally = Callable[[str, float], float]
"""Adds an amount to a named quantity, and returns the new total."""


class Budget:
    """Checks limits before each call and counts its amounts.

    Everything that reaches a service counts, so that ``calls`` is never passed: every attempt at a call, even a lost
    one, but not a call that was given up while it waited for its place. Tokens and money count when they are known.

    Args:
        config: the limits.
        spent: amounts before now.
        currency: name of the currency, for messages.
        clock: seconds that only rise, to hold ``minutes`` before each call; None leaves ``minutes`` to the caller.
        prices_for: configuration key that needs every price, besides ``budget.money``.
    """

    def __init__(
        self,
        config: BudgetConfig | None = None,
        *,
        spent: Spent | None = None,
        currency: str = "",
        clock: Callable[[], float] | None = None,
        prices_for: str | None = None,
    ) -> None:
        self.config = config or BudgetConfig()
        self._prices_for = prices_for if self.config.money is None else "budget.money"
        self.currency = currency
        self._clock = clock
        self.restart(spent or Spent())

    @classmethod
    def timed(cls, config: BudgetConfig, *, currency: str = "") -> "Budget":
        """A budget that holds ``minutes`` from now on."""
        return cls(config, currency=currency, clock=time.monotonic)

    def restart(self, spent: Spent, *, tally: Tally | None = None) -> None:
        """Continue from the amounts spent before.

        Args:
            spent: amounts spent before.
            tally: common count of several processes; one of them gives the amounts spent before, the others nothing.

        Raises:
            ConfigError: money is limited, and how much was spent is unknown.
        """
        if self.config.money is not None and spent.money is None:
            raise ConfigError(
                "budget.money: expected to know the amount spent before, but calls were made whose price was unknown; limit "
                "budget.calls or budget.tokens instead, or write the amount into the run's spent.json"
            )
        self._add = tally or _own_tally()
        self._add("calls", spent.calls)
        self._add("tokens", spent.tokens)
        self._add("money", spent.money or 0.0)
        self._add("unpriced", int(spent.money is None))
        self._seconds = spent.seconds
        self._started = self._clock() if self._clock is not None else 0.0

    @property
    def spent(self) -> Spent:
        """Amounts spent so far."""
        money = None if self._add("unpriced", 0) else self._add("money", 0)
        return Spent(
            calls=int(self._add("calls", 0)),
            tokens=int(self._add("tokens", 0)),
            money=money,
            seconds=self._total_seconds,
        )

    @property
    def _total_seconds(self) -> float:
        return self._seconds + (self._clock() - self._started if self._clock is not None else 0.0)

    def require_price(self, is_known: bool, *, name: str, key: str) -> None:
        """Refuse a service whose price is needed and unknown.

        Raises:
            ConfigError: names the key to set.
        """
        if self._prices_for is not None and not is_known:
            otherwise = "limit budget.calls" if self._prices_for == "budget.money" else "take another kind of cost"
            raise ConfigError(
                f"{self._prices_for}: expected the price of every service, but that of {name} is unknown; set {key} (0 where "
                f"it costs nothing), or {otherwise} instead"
            )

    @property
    def num_calls_left(self) -> int | None:
        """Requests that ``calls`` still allows; None where the budget does not limit them."""
        limit = self.config.calls
        return None if limit is None else max(0, limit - int(self._add("calls", 0)))

    @contextmanager
    def call(self) -> Iterator[None]:
        """Hold the limits over one call of a service, and count its attempts.

        A service that reports no attempts counts as asked once, unless the call is cancelled.

        Raises:
            BudgetExceededError: a limit is reached; nothing was asked, or nothing more.
        """
        self.begin_call()
        num_attempts = 0

        def count() -> None:
            nonlocal num_attempts
            num_attempts += 1
            if num_attempts > 1:
                self.begin_call()

        try:
            with attempts_told_to(count):
                yield
        except asyncio.CancelledError:
            if not num_attempts:
                self._add("calls", -1)
            raise

    def begin_call(self) -> None:
        """Count a request that is about to be made.

        Raises:
            BudgetExceededError: a limit is reached; the request must not be made.
        """
        limits = self.config
        used = (
            ("tokens", limits.tokens, "tokens"),
            # Where money is limited, it is known: end_call sees to that.
            ("money", limits.money, self.currency),
            ("minutes", None if self._clock is None else limits.minutes, "minutes"),
        )
        for name, limit, unit in used:
            if limit is not None:
                amount = self._total_seconds / 60 if name == "minutes" else self._add(name, 0)
                if amount >= limit:
                    raise self._used_up(name, amount, limit, unit)
        # Counted first and taken back: of two processes that ask for the last call at once, one has it.
        calls = int(self._add("calls", 1)) - 1
        if limits.calls is not None and calls >= limits.calls:
            self._add("calls", -1)
            raise self._used_up("calls", calls, limits.calls, "calls")

    def minutes_used_up(self, seconds: float) -> BudgetExceededError | None:
        """Return the limit that a run which counts its own time has reached with ``minutes``; None where it has not."""
        limit = self.config.minutes
        if limit is None or seconds < 60 * limit:
            return None
        return self._used_up("minutes", seconds / 60, limit, "minutes")

    def _used_up(self, name: str, amount: float, limit: float, unit: str) -> BudgetExceededError:
        return BudgetExceededError(
            f"the budget is used up: {_show(amount)} of {_show(limit)} {unit} (budget.{name}); spent in all: "
            f"{self.describe()}. Raise budget.{name} to continue",
            key=f"budget.{name}",
            limit=limit,
        )

    def end_call(self, *, tokens: int | None, money: float | None, name: str) -> None:
        """Count the amounts of a call; None where they are unknown.

        Raises:
            ConfigError: a limited amount cannot be counted.
        """
        for key, amount in (("tokens", tokens), ("money", money)):
            if amount is None and getattr(self.config, key) is not None:
                raise ConfigError(
                    f"budget.{key}: expected token figures with every reply, but {name} gives none, so that the limit "
                    "cannot be held; limit budget.calls instead"
                )
        self._add("tokens", tokens or 0)
        if money is None:
            self._add("unpriced", 1)
        else:
            self._add("money", money)

    def describe(self) -> str:
        """Return the amounts spent, in words."""
        spent = self.spent
        money = "an unknown amount of money" if spent.money is None else f"{spent.money:.4g} {self.currency}".rstrip()
        return f"{spent.calls:,} calls, {spent.tokens:,} tokens, {money}"


def _own_tally() -> Tally:
    totals: dict[str, float] = {}

    def add(name: str, amount: float) -> float:
        totals[name] = totals.get(name, 0) + amount
        return totals[name]

    return add


def _show(amount: float) -> str:
    return f"{amount:,}" if isinstance(amount, int) else f"{amount:.4g}"
