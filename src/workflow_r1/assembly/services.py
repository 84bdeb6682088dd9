"""The services of a run: prices and limits, and what the operators of a pool may use."""

from collections.abc import Collection, Mapping, Sequence
from functools import partial

from workflow_r1.accounting import Accounts, Budget, BudgetConfig, PricesConfig
from workflow_r1.assembly.chat_models import build_chat_models, check_roles
from workflow_r1.assembly.operators import build_operators, check_pool
from workflow_r1.assembly.search import build_limited_search, name_search
from workflow_r1.assembly.stored_search import is_stored, stored_search
from workflow_r1.config.llm import DEFAULT_ROLE, METHOD_ROLES
from workflow_r1.config.sections import PoolSettings, ServiceSettings
from workflow_r1.operators import Operator, OperatorConfig, OperatorServices
from workflow_r1.operators.operator import Need
from workflow_r1.retrieval import SearchBackend
from workflow_r1.store import open_store


def open_accounts(
    prices: PricesConfig, budget: BudgetConfig, *, timed: bool = False, prices_for: str | None = None
) -> Accounts:
    """Prices, an empty ledger and the budget, for the services of one run.

    Args:
        prices: prices of the services.
        budget: limits of what may be used.
        timed: hold ``budget.minutes`` before each call, from now on; training holds it at the end of a step.
        prices_for: configuration key that needs every price, besides ``budget.money``.
    """
    currency = prices.currency
    limits = (
        Budget.timed(budget, currency=currency) if timed else Budget(budget, currency=currency, prices_for=prices_for)
    )
    return Accounts(prices=prices, budget=limits)


def build_services(
    config: ServiceSettings,
    pool: PoolSettings,
    *,
    names: Sequence[str] | None = None,
    operators: Mapping[str, Operator] | None = None,
    accounts: Accounts | None = None,
    needs: Collection[Need] = (),
) -> OperatorServices:
    """Build the services that some operators may use; a service that none of them needs is left out.

    Args:
        config: the services.
        pool: the configured operators.
        names: names of the operators that will be called; None takes the pool's.
        operators: where they are looked up; None builds those of the pool.
        accounts: accounts that book and limit the calls; None opens new ones.
        needs: services that are used by others than the operators.

    Raises:
        ConfigError: an operator needs a service that is not configured, or not well enough.
        DataError: the corpus or index is missing or malformed.
        StoreError: the store of calls cannot be used.
    """
    names = pool.names if names is None else names
    operators = build_operators(pool) if operators is None else operators
    check_pool(names, operators)
    needs = frozenset(needs).union(*(operators[name].needs for name in names))
    accounts = accounts or open_accounts(config.prices, config.budget)
    if config.llm.roles:
        check_roles(config.llm, known=(*build_operators(pool), *operators))
    # Answers of the embedded world and of an index in this process cost nothing and never change: they are not stored.
    llm_is_stored = "llm" in needs and config.llm.kind == "openai"
    search_is_stored = "search" in needs and is_stored(config.search)
    store = open_store(config.store) if llm_is_stored or search_is_stored else None
    search: SearchBackend | None = None
    if "search" in needs:
        build = partial(build_limited_search, config.search, config.world, accounts)
        search = build() if store is None or not search_is_stored else stored_search(config.search, store, build)
        search = accounts.meter_search(search, endpoint=name_search(config.search), is_free=not search_is_stored)
    chats = build_chat_models(
        config.llm,
        config.world,
        [
            *(name for name in names if "llm" in operators[name].needs),
            *(role for role in METHOD_ROLES if role in config.llm.roles and "llm" in needs),
        ],
        accounts,
        store=store,
    )
    return OperatorServices(
        chat=chats.pop(DEFAULT_ROLE, None),
        search=search,
        config=OperatorConfig(
            temperature=config.llm.temperature,
            max_tokens=config.llm.max_tokens,
            max_attempts=config.llm.max_attempts,
            search_k=config.search.k,
            passage_chars=config.search.passage_chars,
        ),
        chats=chats,
    )
