"""Asks the services before a long run: a wrong address is reported at once and not after every retry."""

import asyncio
from typing import TYPE_CHECKING

from workflow_r1.errors import ServiceError, ServiceRejectedError, ServiceUnavailableError

if TYPE_CHECKING:
    from workflow_r1.config.llm import LLMConfig
    from workflow_r1.config.run import PolicyConfig
    from workflow_r1.config.sections import ServiceSettings
    from workflow_r1.inference import ChatModel, OpenAIChatConfig
    from workflow_r1.operators import OperatorServices
    from workflow_r1.rollout.policy_server import PolicyServerConfig

FIRST_ANSWER_SECONDS = 30.0
"""Longest wait for the first, tiny reply: a server may just be loading its model."""


def check_services(config: "ServiceSettings", services: "OperatorServices") -> None:
    """Send one tiny request to each LLM endpoint that will be used.

    An endpoint that cannot be reached does not stop the run where its role has another one. A refusal (key, model)
    does: it would not pass.

    Args:
        config: how the LLM is reached, unless it is replayed.
        services: services of the operators that will be called.

    Raises:
        ServiceError: an endpoint refuses, or no endpoint of a role can be reached; the message names the key to set.
    """
    from workflow_r1.config.llm import DEFAULT_ROLE, endpoint_chat_config

    if config.llm.kind != "openai" or config.store.mode == "replay":
        return

    async def ask() -> None:
        roles = [*([] if services.chat is None else [DEFAULT_ROLE]), *services.chats]
        endpoints = [config.llm.endpoints_of(role) for role in roles]
        unavailable: dict[str, ServiceError] = {}
        for name in dict.fromkeys(name for names in endpoints for name in names):
            try:
                await _ask(endpoint_chat_config(config.llm, name), section_of(name))
            except ServiceRejectedError:
                raise
            except ServiceError as error:
                unavailable[name] = error
        for names in endpoints:
            if all(name in unavailable for name in names):
                raise unavailable[names[0]]

    asyncio.run(ask())


def check_served_policy(policy: "PolicyConfig", llm: "LLMConfig") -> None:
    """Send one tiny request to the policy's server, where it has one.

    Args:
        policy: the server.
        llm: its timeouts and retries are the policy's.

    Raises:
        ServiceError: the server refuses or cannot be reached; names the key to set.
    """
    from workflow_r1.assembly.policy import policy_chat_config
    from workflow_r1.running.policies import policy_server_config, tokenizer_of_server

    if tokenizer_of_server(policy) is not None:
        asyncio.run(ask_for_a_token(policy_server_config(policy, llm, concurrency=1)))
    elif policy.base_url is not None:
        asyncio.run(_ask(policy_chat_config(policy, llm, concurrency=1), "policy"))


def section_of(endpoint: str) -> str:
    """The section of the configuration that describes an endpoint."""
    from workflow_r1.config.llm import OWN_ENDPOINT

    return "llm" if endpoint == OWN_ENDPOINT else f"llm.endpoints.{endpoint}"


async def ask_once(chat: "ChatModel", section: str) -> None:
    """Ask for one token.

    Raises:
        ServiceError: the endpoint cannot be reached or refuses; names the keys of ``section`` to set.
    """
    from workflow_r1.inference import ChatRequest
    from workflow_r1.trajectory import Message

    try:
        await chat(ChatRequest((Message(role="user", content="Say yes."),), max_tokens=1))
    except ServiceError as error:
        raise type(error)(f"{error}. Start the server, or set {section}.base_url and {section}.model") from None


async def ask_for_a_token(settings: "PolicyServerConfig") -> None:
    """Ask the policy's server to continue one token by one.

    Raises:
        ServiceError: it cannot be reached, refuses, or does not answer in tokens.
    """
    from workflow_r1.rollout.policy_server import PolicyServer

    update = {"max_retries": 0, "timeout_seconds": min(settings.timeout_seconds, FIRST_ANSWER_SECONDS)}
    server = PolicyServer(settings.model_copy(update=update))
    try:
        await server.complete([1], max_tokens=1, temperature=0.0, top_p=1.0, seed=0, stop_token_ids=(), stop=())
    except ServiceError as error:
        raise type(error)(
            f'{error}. Start the server, or set policy.base_url and policy.model; policy.exchange = "chat" asks it in '
            "messages"
        ) from None
    finally:
        await server.aclose()


async def _ask(chat_config: "OpenAIChatConfig", section: str) -> None:
    """Ask an endpoint that is there as patiently as any call does: throttled, overloaded or cut off it is tried again."""
    from workflow_r1.inference import OpenAIChatModel
    from workflow_r1.services.failures import FailureKind

    first = {"max_retries": 0, "timeout_seconds": min(chat_config.timeout_seconds, FIRST_ANSWER_SECONDS)}
    async with OpenAIChatModel(chat_config.model_copy(update=first)) as chat:
        try:
            await ask_once(chat, section)
        except ServiceUnavailableError:
            if chat.failures[FailureKind.UNREACHABLE] or not chat_config.max_retries:
                raise
        else:
            return
    await asyncio.sleep(chat_config.backoff_seconds)
    again = {"max_retries": chat_config.max_retries - 1, "timeout_seconds": first["timeout_seconds"]}
    async with OpenAIChatModel(chat_config.model_copy(update=again)) as chat:
        await ask_once(chat, section)
