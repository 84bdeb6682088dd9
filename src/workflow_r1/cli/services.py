"""Ask the services once before a long run, so that a wrong address is told at once and not after every retry."""

import asyncio
from typing import TYPE_CHECKING

from workflow_r1.errors import ServiceError

if TYPE_CHECKING:
    from workflow_r1.config import RunConfig
    from workflow_r1.operators import OperatorServices

FIRST_ANSWER_SECONDS = 30.0
"""Longest wait for the first, tiny reply: a server may just be loading its model."""


def check_services(config: "RunConfig", services: "OperatorServices", *, policy: bool = False) -> None:
    """Send one tiny request to each LLM server that the configuration names and that will be used.

    Args:
        config: ``llm``; with ``policy`` also ``policy``.
        services: what the operators that will be called use.
        policy: whether the policy's server will be used.

    Raises:
        ServiceError: a server cannot be reached or refuses the request; names the key to set.
    """
    from workflow_r1.config.components import llm_chat_config, policy_chat_config
    from workflow_r1.inference import OpenAIChatModel
    from workflow_r1.trajectory import Message

    servers = []
    if config.llm.kind == "openai" and services.chat is not None:
        servers.append(("llm", llm_chat_config(config.llm)))
    if policy and config.policy.base_url is not None:
        servers.append(("policy", policy_chat_config(config)))

    async def ask() -> None:
        for section, chat_config in servers:
            update = {"max_retries": 0, "timeout_seconds": min(chat_config.timeout_seconds, FIRST_ANSWER_SECONDS)}
            chat = OpenAIChatModel(chat_config.model_copy(update=update))
            try:
                await chat([Message(role="user", content="Say yes.")], max_tokens=1)
            except ServiceError as error:
                raise type(error)(f"{error}. Start the server, or set {section}.base_url and {section}.model") from None

    asyncio.run(ask())
