"""Paid services: a meter over each, and the budget between the store of calls and the service.

The operators ask the meter: it books every reply, the store's too, and writes the price into the usage. Under it lies
the store of calls, which answers known calls for nothing. Under the store lies the budget, which stops the run before a
call that it does not hold; under the budget lies the service's own client.
"""

import time
from dataclasses import replace

from workflow_r1.accounting.budget import Budget
from workflow_r1.accounting.ledger import Ledger
from workflow_r1.accounting.prices import ModelPrice
from workflow_r1.errors import ServiceError
from workflow_r1.inference import ChatModel, ChatReply, ChatRequest, HoldsConnections
from workflow_r1.retrieval import Passage, RecalledPassages, SearchBackend
from workflow_r1.trajectory import Usage


class MeteredChatModel:
    """A ``ChatModel`` that writes costs into its replies and books them.

    Args:
        inner: the model that replies.
        endpoint: its name in the ledger.
        ledger: the ledger of the run.
        price: the model's price; None where it is unknown.
    """

    def __init__(self, inner: ChatModel, *, endpoint: str, ledger: Ledger, price: ModelPrice | None) -> None:
        self.inner = inner
        self.endpoint = endpoint
        self._ledger = ledger
        self._price = price

    async def __call__(self, request: ChatRequest) -> ChatReply:
        """Return the inner model's reply with ``usage.cost`` and ``usage.paid`` set.

        Raises:
            ServiceError: the service failed after its retries.
            BudgetExceededError: the budget does not hold another call.
        """
        started = time.perf_counter()
        try:
            reply = await self.inner(request)
        except ServiceError as error:
            self._ledger.book_failure(self.endpoint, error)
            raise
        cost = price_of(reply.usage, self._price)
        usage = reply.usage.model_copy(update={"cost": cost, "paid": 0.0 if reply.usage.stored_calls else cost})
        self._ledger.book(self.endpoint, usage, time.perf_counter() - started)
        return replace(reply, usage=usage)

    async def aclose(self) -> None:
        """Close the inner model's connections."""
        await _close(self.inner)


class BudgetedChatModel:
    """A ``ChatModel`` that is not asked beyond the budget.

    Args:
        inner: the model that replies; each call of it is paid.
        endpoint: its name, for messages.
        budget: the limits.
        price: the model's price; None where it is unknown.
    """

    def __init__(self, inner: ChatModel, *, endpoint: str, budget: Budget, price: ModelPrice | None) -> None:
        self.inner = inner
        self.endpoint = endpoint
        self._budget = budget
        self._price = price

    async def __call__(self, request: ChatRequest) -> ChatReply:
        """Return the inner model's reply.

        Raises:
            ServiceError: the service failed after its retries.
            BudgetExceededError: a limit is reached; nothing was asked.
            ConfigError: a limited amount cannot be counted.
        """
        with self._budget.call():
            reply = await self.inner(request)
        self._budget.end_call(tokens=reply.usage.tokens, money=price_of(reply.usage, self._price), name=self.endpoint)
        return reply

    async def aclose(self) -> None:
        """Close the inner model's connections."""
        await _close(self.inner)


class MeteredSearch:
    """A ``SearchBackend`` whose searches are booked.

    Args:
        inner: the search that answers.
        endpoint: its name in the ledger.
        ledger: the ledger of the run.
        price: price of one search; None where it is unknown.
    """

    def __init__(self, inner: SearchBackend, *, endpoint: str, ledger: Ledger, price: float | None) -> None:
        self.inner = inner
        self.endpoint = endpoint
        self._ledger = ledger
        self._price = price

    async def __call__(self, query: str, *, k: int) -> list[Passage]:
        """Return the inner search's passages.

        Raises:
            ServiceError: the search service failed after its retries.
            BudgetExceededError: the budget does not hold another search.
        """
        started = time.perf_counter()
        try:
            found = await self.inner(query, k=k)
        except ServiceError as error:
            self._ledger.book_failure(self.endpoint, error)
            raise
        stored = isinstance(found, RecalledPassages)
        usage = Usage(searches=1, stored_searches=int(stored), cost=self._price, paid=0.0 if stored else self._price)
        self._ledger.book(self.endpoint, usage, time.perf_counter() - started)
        return found

    async def aclose(self) -> None:
        """Close the inner search's connections."""
        await _close(self.inner)


class BudgetedSearch:
    """A ``SearchBackend`` that is not asked beyond the budget.

    Args:
        inner: the search that answers; each call of it is paid.
        endpoint: its name, for messages.
        budget: the limits.
        price: price of one search; None where it is unknown.
    """

    def __init__(self, inner: SearchBackend, *, endpoint: str, budget: Budget, price: float | None) -> None:
        self.inner = inner
        self.endpoint = endpoint
        self._budget = budget
        self._price = price

    async def __call__(self, query: str, *, k: int) -> list[Passage]:
        """Return the inner search's passages.

        Raises:
            ServiceError: the search service failed after its retries.
            BudgetExceededError: a limit is reached; nothing was searched.
        """
        with self._budget.call():
            found = await self.inner(query, k=k)
        self._budget.end_call(tokens=0, money=self._price, name=self.endpoint)
        return found

    async def aclose(self) -> None:
        """Close the inner search's connections."""
        await _close(self.inner)


def price_of(usage: Usage, price: ModelPrice | None) -> float | None:
    """Return the cost of an LLM's reply; None where its price is unknown, or the service gave no token figures."""
    if price is None:
        return None
    if price.is_free:
        return 0.0
    if usage.tokens is None:
        return None
    return price.cost(usage.prompt_tokens, usage.completion_tokens)


async def _close(service: ChatModel | SearchBackend) -> None:
    if isinstance(service, HoldsConnections):
        await service.aclose()
