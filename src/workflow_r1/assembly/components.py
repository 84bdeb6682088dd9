"""Builders of the live parts that a run configuration names. Nothing here needs torch.

Every builder checks its needs before it builds: a command fails before it has written anything.
"""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache, partial
from typing import Literal

from workflow_r1.accounting import Accounts, Budget
from workflow_r1.assembly.stored_search import is_stored, stored_search
from workflow_r1.config import change_settings
from workflow_r1.config.llm import DEFAULT_ROLE, METHOD_ROLES, OWN_ENDPOINT, LLMConfig, endpoint_chat_config
from workflow_r1.config.run import DataConfig, RunConfig
from workflow_r1.config.search import SearchConfig
from workflow_r1.data import load_questions, report_questions
from workflow_r1.embedded import EmbeddedWorld, SimulatedExpert
from workflow_r1.environment import Environment, EnvironmentConfig
from workflow_r1.errors import ConfigError
from workflow_r1.inference import (
    ChatModel,
    Endpoint,
    OpenAIChatConfig,
    OpenAIChatModel,
    RoutedChatModel,
    StoredChatModel,
)
from workflow_r1.nearest import did_you_mean
from workflow_r1.operators import Operator, OperatorConfig, OperatorServices, find_operators
from workflow_r1.retrieval import (
    BM25Index,
    CallableSearch,
    MCPSearch,
    RetrievalServerConfig,
    RetrievalServerSearch,
    SearchBackend,
    WebSearch,
    WebSearchConfig,
)
from workflow_r1.rollout import ChatPolicy
from workflow_r1.store import CallStore, open_store
from workflow_r1.trajectory import Question

logger = logging.getLogger(__name__)

EMBEDDED_TRAIN_QUESTIONS = 4096
"""Training questions drawn from the embedded world where ``data.limit`` does not say otherwise."""


SIMULATED_EXPERT = "simulated expert"
"""Endpoint of the embedded world's stand-in for an LLM. It costs nothing."""


@lru_cache(maxsize=2)
def embedded_world(seed: int) -> EmbeddedWorld:
    """The embedded world of a seed, made once."""
    return EmbeddedWorld(seed)


# ------------------------------------------------------------------------------------------------------------ questions


def build_train_questions(config: RunConfig) -> list[Question]:
    """Return the questions to train on.

    Raises:
        ConfigError: the source is ``files``, and no file is named.
        DataError: the file is missing, empty or malformed.
    """
    limit = config.data.limit
    if config.data.source == "embedded":
        return embedded_world(config.embedded.seed).questions("train", limit or EMBEDDED_TRAIN_QUESTIONS)
    return _noted(load_files(config.data, "train")[:limit], "data.train")


def build_evaluation_questions(config: RunConfig, num: int | None = None) -> list[Question]:
    """Return held-out questions, the first ``num`` of them (default: as many as ``training.evaluation_questions``).

    Raises:
        ConfigError: the source is ``files``, and no file is named.
        DataError: the file is missing, empty or malformed.
    """
    num = config.training.evaluation_questions if num is None else num
    if num == 0:
        return []
    if config.data.source == "embedded":
        return embedded_world(config.embedded.seed).questions("evaluation", num)
    return _noted(load_files(config.data, "evaluation")[:num], "data.evaluation")


def build_questions(config: RunConfig) -> tuple[list[Question], list[Question]]:
    """Return questions to train on, and held-out questions. See the two functions above for their errors."""
    return build_train_questions(config), build_evaluation_questions(config)


def _noted(questions: list[Question], key: str) -> list[Question]:
    if note := report_questions(questions).emptied_note():
        logger.warning("%s: %s", key, note)
    return questions


def load_files(config: DataConfig, use: Literal["train", "evaluation"]) -> list[Question]:
    """Questions of one of the configured files.

    Raises:
        ConfigError: no file is named.
        DataError: the file is missing, empty or malformed.
    """
    path = config.train if use == "train" else config.evaluation
    if path is None:
        key = f"data.{use}"
        raise ConfigError(f'{key}: expected a file of questions, since data.source = "files"; set {key}')
    return load_questions(path, format=config.format, columns=config.columns)


# ------------------------------------------------------------------------------------------------- services, environment


def build_operators(config: RunConfig) -> Mapping[str, Operator]:
    """Return the operators by name: the package's own, the plugins', and those of entry points.

    Args:
        config: ``plugins``, ``environment.operators``, and the settings in ``operators``.

    Raises:
        ConfigError: a plugin or a setting cannot be used, or an operator's name is unknown.
    """
    found = find_operators(config.plugins, names={*config.environment.operators, *config.operators})
    operators = {name: each.operator for name, each in found.operators.items()}
    _check_names("operators", config.operators, operators, found.problems)
    operators |= {name: operators[name].configure(values) for name, values in config.operators.items()}
    _check_names("environment.operators", config.environment.operators, operators, found.problems)
    return operators


def check_pool(names: Sequence[str], operators: Mapping[str, Operator]) -> None:
    """Refuse names without an operator, and operators that lack settings.

    Raises:
        ConfigError: names the first, and the nearest right one.
    """
    _check_names("environment.operators", names, operators)
    for name in names:
        if operators[name].settings_type is not None and operators[name].settings is None:
            operators[name].configure({})  # Raises, and names the missing service.


def _check_names(
    key: str, names: Collection[str], operators: Mapping[str, Operator], problems: Sequence[str] = ()
) -> None:
    for name in names:
        if name not in operators:
            hint = did_you_mean(name, operators) or "; plugins may add more"
            left_out = "".join(f"\nleft out: {problem}" for problem in problems)
            raise ConfigError(f"{key}: expected names among {', '.join(operators)}; received {name!r}{hint}{left_out}")


def open_accounts(config: RunConfig, *, timed: bool = False) -> Accounts:
    """Prices, an empty ledger and the budget, for the services of one run.

    Args:
        config: ``prices`` and ``budget``.
        timed: hold ``budget.minutes`` before each call, from now on; training holds it at the end of a step.
    """
    currency = config.prices.currency
    budget = Budget.timed(config.budget, currency=currency) if timed else Budget(config.budget, currency=currency)
    return Accounts(prices=config.prices, budget=budget)


def build_services(
    config: RunConfig,
    *,
    pool: Sequence[str] | None = None,
    operators: Mapping[str, Operator] | None = None,
    accounts: Accounts | None = None,
) -> OperatorServices:
    """Return the services of the pool's operators; a service that none of them needs is left out.

    Args:
        config: ``llm``, ``search`` and ``store``.
        pool: names of the operators; None takes ``environment.operators``.
        operators: operators by name; None builds them.
        accounts: accounts that book and limit the calls; None opens new ones.

    Raises:
        ConfigError: an operator needs a service that is not configured, or not well enough.
        DataError: the corpus or index is missing or malformed.
        StoreError: the store of calls cannot be used.
    """
    pool = config.environment.operators if pool is None else pool
    operators = build_operators(config) if operators is None else operators
    check_pool(pool, operators)
    needs = frozenset[str]().union(*(operators[name].needs for name in pool))
    accounts = accounts or open_accounts(config)
    if config.llm.roles:
        _check_roles(config.llm, known=(*build_operators(config), *operators))
    # Answers of the embedded world and of an index in this process cost nothing and never change: they are not stored.
    llm_is_stored = "llm" in needs and config.llm.kind == "openai"
    search_is_stored = "search" in needs and is_stored(config.search)
    store = open_store(config.store) if llm_is_stored or search_is_stored else None
    search: SearchBackend | None = None
    if "search" in needs:
        build = partial(build_limited_search, config.search, config.embedded.seed, accounts)
        search = build() if store is None or not search_is_stored else stored_search(config.search, store, build)
        search = accounts.meter_search(search, endpoint=_name_search(config.search), is_free=not search_is_stored)
    chats = build_chat_models(
        config.llm,
        config.embedded.seed,
        [
            *(name for name in pool if "llm" in operators[name].needs),
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
        ),
        chats=chats,
    )


def _check_roles(config: LLMConfig, known: Sequence[str]) -> None:
    for role in config.roles:
        if role not in (DEFAULT_ROLE, *METHOD_ROLES, *known):
            hint = did_you_mean(role, (DEFAULT_ROLE, *METHOD_ROLES, *known))
            raise ConfigError(f"llm.roles: expected {DEFAULT_ROLE!r} or an operator's name, received {role!r}{hint}")


def policy_chat_config(config: RunConfig) -> OpenAIChatConfig:
    """Return the settings of a client of the policy's server; its limits are the LLM's.

    Raises:
        ConfigError: no server is configured, or no name of the model there.
    """
    if config.policy.base_url is None or config.policy.model == "embedded":
        raise ConfigError(
            "expected policy.base_url with the model's name there as policy.model, received "
            f"base_url = {config.policy.base_url!r} and model = {config.policy.model!r}"
        )
    return OpenAIChatConfig(
        model=config.policy.model,
        base_url=config.policy.base_url,
        api_key_env=config.policy.api_key_env,
        timeout_seconds=config.llm.timeout_seconds,
        idle_timeout_seconds=config.llm.idle_timeout_seconds,
        check_model=config.llm.check_model,
        max_retries=config.llm.max_retries,
        concurrency=config.sampling.max_sessions,
        extra_body={"chat_template_kwargs": config.policy.template.kwargs} if config.policy.template.kwargs else {},
    )


def build_chat_models(
    config: LLMConfig,
    world_seed: int,
    operators: Sequence[str],
    accounts: Accounts,
    *,
    store: CallStore | None = None,
) -> dict[str, ChatModel]:
    """Return the LLMs of some operators, by role: an operator's name, or ``default`` for all without a role of their own.

    Args:
        config: endpoints and roles.
        world_seed: seed of the embedded world, whose expert may be the LLM.
        operators: names of the operators that need an LLM.
        accounts: accounts that book and limit the calls.
        store: store of the endpoints' replies; None keeps no replies.

    Raises:
        ConfigError: an endpoint lacks a model's name, or a key that it needs.
    """
    roles = {name if name in config.roles else DEFAULT_ROLE for name in operators}
    if config.kind == "embedded":
        expert = SimulatedExpert(embedded_world(world_seed))
        limited = accounts.limit_chat(expert, endpoint=SIMULATED_EXPERT, is_free=True)
        metered = accounts.meter_chat(limited, endpoint=SIMULATED_EXPERT, is_free=True)
        return dict.fromkeys(roles, metered)
    names_of = {role: config.endpoints_of(role) for role in sorted(roles)}
    endpoints = {
        name: Endpoint(
            name,
            build_endpoint(config, name, accounts, store=store),
            weight=1.0 if name == OWN_ENDPOINT else config.endpoints[name].weight,
            cool_down_seconds=config.cool_down_seconds,
        )
        for name in dict.fromkeys(name for names in names_of.values() for name in names)
    }
    return {
        role: endpoints[names[0]].chat if len(names) == 1 else RoutedChatModel([endpoints[name] for name in names])
        for role, names in names_of.items()
    }


def build_endpoint(config: LLMConfig, name: str, accounts: Accounts, *, store: CallStore | None = None) -> ChatModel:
    """The LLM at one endpoint, metered; a replay needs the name of its model and no more.

    Raises:
        ConfigError: the endpoint lacks a model's name, or a key that it needs.
    """
    chat_config = endpoint_chat_config(config, name)
    model = chat_config.model
    chat: ChatModel | None = None
    if store is None or store.mode != "replay":
        chat = accounts.limit_chat(OpenAIChatModel(chat_config), endpoint=name, model=model)
    if store is not None:
        chat = StoredChatModel(
            chat, store, model=model, endpoint=chat_config.address, extra_body=chat_config.extra_body
        )
    assert chat is not None
    return accounts.meter_chat(chat, endpoint=name, model=model)


def build_limited_search(config: SearchConfig, world_seed: int, accounts: Accounts) -> SearchBackend:
    """Return the search of the Search operator, within the budget where a service does it."""
    search = build_search(config, world_seed)
    return accounts.limit_search(search, endpoint=_name_search(config)) if is_stored(config) else search


def _name_search(config: SearchConfig) -> str:
    return f"search: {config.kind}"


def build_search(
    config: SearchConfig, world_seed: int, *, on_progress: Callable[[int], None] | None = None
) -> SearchBackend:
    """Return the search of the Search operator. A missing index is built from its corpus first.

    Args:
        config: kind and settings of the search.
        world_seed: seed of the embedded world.
        on_progress: called with the number of passages read so far while an index is built.

    Raises:
        ConfigError: no search is configured, or something that it needs is missing.
        DataError: the corpus or index is missing or malformed.
        MissingExtraError: an MCP server is configured, and its package is not installed.
    """
    match config.kind:
        case "embedded":
            return embedded_world(world_seed).search
        case "bm25":
            return _open_index(config, on_progress)
        case "server":
            return RetrievalServerSearch(config.server or RetrievalServerConfig())
        case "web":
            return WebSearch(config.web or WebSearchConfig())
        case "callable" if config.callable is not None:
            return CallableSearch(config.callable)
        case "mcp" if config.mcp is not None:
            return MCPSearch(config.mcp)
        case "none":
            raise ConfigError(
                'search.kind: expected a search such as "bm25" or "server", since an operator of the pool searches, '
                'received "none"; configure a search, or take Search out of the pool'
            )
        case kind:
            needed = {"callable": "function", "mcp": "tool and search.mcp.command or search.mcp.url"}[kind]
            raise ConfigError(
                f'search.{kind}: expected this section, since search.kind = "{kind}"; set search.{kind}.{needed}'
            )


def _open_index(config: SearchConfig, on_progress: Callable[[int], None] | None) -> BM25Index:
    if config.index is None:
        raise ConfigError(
            'search.index: expected the index\'s directory, since search.kind = "bm25"; set search.index (it is built '
            "there from search.corpus where absent)"
        )
    if config.index.exists():
        corpus = config.corpus if config.corpus is not None and config.corpus.exists() else None
        return BM25Index.open(config.index, corpus_path=corpus)
    if config.corpus is None:
        raise ConfigError(
            f"search.corpus: expected a corpus to build the index from, since there is no index at {config.index}; set "
            "search.corpus to a JSONL of `id, title, text`, or search.index to an index that exists"
        )
    return BM25Index.build(config.corpus, config.index, on_progress=on_progress)


def build_environment_factory(
    config: RunConfig,
    *,
    services: OperatorServices | None = None,
    environment: EnvironmentConfig | None = None,
    operators: Mapping[str, Operator] | None = None,
    special_tokens: Sequence[str] = (),
) -> Callable[[Question], Environment]:
    """Return a function that makes a fresh environment for each trajectory. All of them share the services.

    Args:
        config: pool, limits and services.
        services: built already; None builds them.
        environment: limits and pool in place of ``config.environment``.
        operators: operators by name; None builds them.
        special_tokens: special tokens of the policy's tokenizer, neutralised in outside text.

    Raises:
        ConfigError: the pool names an operator that does not exist, or a service is not configured.
        DataError: the corpus or index is missing or malformed.
    """
    settings = environment or config.environment
    known = build_operators(config) if operators is None else operators
    check_pool(settings.operators, known)
    shared = services or build_services(config, pool=settings.operators, operators=known)

    def make_environment(question: Question) -> Environment:
        return Environment(question, config=settings, operators=known, services=shared, special_tokens=special_tokens)

    return make_environment


# --------------------------------------------------------------------------------------------------------------- policy


def build_server_policy(config: RunConfig, *, temperature: float, chat: ChatModel | None = None) -> ChatPolicy:
    """The policy behind an OpenAI-compatible server. A policy in this process is the engine's to build.

    Args:
        config: ``policy`` and ``sampling``.
        temperature: in place of the configured one; 0 is greedy.
        chat: the server's model, built already; None builds it.

    Raises:
        ConfigError: no server is configured, or no name of the model there.
    """
    sampling = change_settings(config, {"sampling.temperature": temperature}).sampling
    return ChatPolicy(chat or OpenAIChatModel(policy_chat_config(config)), name=config.policy.model, sampling=sampling)
