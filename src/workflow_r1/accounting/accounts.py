"""Prices, ledger and budget of one run, put over its services."""

from dataclasses import dataclass, field

from workflow_r1.accounting.budget import Budget
from workflow_r1.accounting.ledger import Ledger
from workflow_r1.accounting.metered import BudgetedChatModel, BudgetedSearch, MeteredChatModel, MeteredSearch
from workflow_r1.accounting.prices import FREE, ModelPrice, PricesConfig
from workflow_r1.inference import ChatModel
from workflow_r1.retrieval import SearchBackend


@dataclass(frozen=True, slots=True)
class Accounts:
    """Accounts that the services of one run share. Their prices are looked up by endpoint, then by model."""

    prices: PricesConfig = field(default_factory=PricesConfig)
    """Prices from the configuration."""
    ledger: Ledger = field(default_factory=Ledger)
    """Ledger in which calls are booked."""
    budget: Budget = field(default_factory=Budget)
    """Budget that the calls must keep."""

    def limit_chat(self, chat: ChatModel, *, endpoint: str, model: str = "", is_free: bool = False) -> ChatModel:
        """Put the budget over an LLM; the store of calls goes over it.

        Args:
            chat: the LLM's own client.
            endpoint: its name.
            model: its model.
            is_free: it runs in this process and costs nothing.

        Raises:
            ConfigError: money is limited and the price is unknown.
        """
        price = self._model_price(endpoint, model, is_free)
        self.budget.require_price(price is not None, name=endpoint, key=f'prices.models."{model or endpoint}"')
        failed_attempts = getattr(chat, "failures", None)
        if failed_attempts is not None:
            self.ledger.watch(endpoint, failed_attempts)
        return BudgetedChatModel(chat, endpoint=endpoint, budget=self.budget, price=price)

    def meter_chat(self, chat: ChatModel, *, endpoint: str, model: str = "", is_free: bool = False) -> MeteredChatModel:
        """Put the meter over an LLM: on top of its store of calls."""
        price = self._model_price(endpoint, model, is_free)
        return MeteredChatModel(chat, endpoint=endpoint, ledger=self.ledger, price=price)

    def limit_search(self, search: SearchBackend, *, endpoint: str) -> SearchBackend:
        """Put the budget over a search service; the store of calls goes over it.

        Raises:
            ConfigError: money is limited and the price is unknown.
        """
        price = self.prices.per_search
        self.budget.require_price(price is not None, name=f"a search by {endpoint}", key="prices.per_search")
        failed_attempts = getattr(search, "failures", None)
        if failed_attempts is not None:
            self.ledger.watch(endpoint, failed_attempts)
        return BudgetedSearch(search, endpoint=endpoint, budget=self.budget, price=price)

    def meter_search(self, search: SearchBackend, *, endpoint: str, is_free: bool = False) -> MeteredSearch:
        """Put the meter over a search: on top of its store of calls.

        Args:
            search: the search behind the meter.
            endpoint: name of the search in the ledger.
            is_free: True where it runs in this process and costs nothing.
        """
        price = 0.0 if is_free else self.prices.per_search
        return MeteredSearch(search, endpoint=endpoint, ledger=self.ledger, price=price)

    def _model_price(self, endpoint: str, model: str, is_free: bool) -> ModelPrice | None:
        # A price of its own lets one try a service that is free in this process as if it were paid.
        return self.prices.find(endpoint, model) or (FREE if is_free else None)
