"""The LLMs behind the operators, by role."""

from collections.abc import Sequence

from workflow_r1.accounting import Accounts
from workflow_r1.assembly.world import embedded_world
from workflow_r1.config.llm import DEFAULT_ROLE, METHOD_ROLES, OWN_ENDPOINT, LLMConfig, endpoint_chat_config
from workflow_r1.embedded import EmbeddedConfig, SimulatedExpert
from workflow_r1.errors import ConfigError
from workflow_r1.inference import ChatModel, Endpoint, OpenAIChatModel, RoutedChatModel, StoredChatModel
from workflow_r1.nearest import did_you_mean
from workflow_r1.store import CallStore

SIMULATED_EXPERT = "simulated expert"
"""Endpoint of the embedded world's stand-in for an LLM. It costs nothing."""


def build_chat_models(
    config: LLMConfig,
    world: EmbeddedConfig,
    operators: Sequence[str],
    accounts: Accounts,
    *,
    store: CallStore | None = None,
) -> dict[str, ChatModel]:
    """Return the LLMs of some operators, by role: an operator's name, or ``default`` for all without a role of their own.

    Args:
        config: endpoints and roles.
        world: the embedded world, whose expert may be the LLM.
        operators: names of the operators that need an LLM.
        accounts: accounts that book and limit the calls.
        store: store of the endpoints' replies; None keeps no replies.

    Raises:
        ConfigError: an endpoint lacks a model's name, or a key that it needs.
    """
    roles = {name if name in config.roles else DEFAULT_ROLE for name in operators}
    if config.kind == "embedded":
        expert = SimulatedExpert(embedded_world(world))
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


def check_roles(config: LLMConfig, known: Sequence[str]) -> None:
    """Refuse a role that neither an operator nor a method has.

    Raises:
        ConfigError: names the first such role, and the nearest right one.
    """
    for role in config.roles:
        if role not in (DEFAULT_ROLE, *METHOD_ROLES, *known):
            hint = did_you_mean(role, (DEFAULT_ROLE, *METHOD_ROLES, *known))
            raise ConfigError(f"llm.roles: expected {DEFAULT_ROLE!r} or an operator's name, received {role!r}{hint}")
