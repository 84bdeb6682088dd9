"""A server of tokens whose calls are booked and limited like those of every other service."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from workflow_r1.accounting import Accounts
from workflow_r1.inference import ChatReply, ChatRequest, HoldsConnections
from workflow_r1.rollout.completions import Completion
from workflow_r1.rollout.served_sampler import TokenServer
from workflow_r1.trajectory import FinishReason, Usage

NOTHING = ChatRequest(messages=())
"""Result for the meter of a call by tokens, which does not look at it."""


class MeteredServer:
    """A ``TokenServer`` within the budget, whose completions state their usage.

    Args:
        inner: the server that samples.
        accounts: accounts that book and limit its calls.
        endpoint: its name in the accounts.
        model: name of the model, for its price.
    """

    def __init__(self, inner: TokenServer, accounts: Accounts, *, endpoint: str, model: str) -> None:
        self.inner = inner
        self._accounts = accounts
        self._endpoint = endpoint
        self._model = model

    async def complete(self, prompt: Sequence[int], **options: Any) -> Completion:
        """Sample a continuation of a context; see :meth:`~workflow_r1.rollout.policy_server.PolicyServer.complete`.

        Raises:
            ServiceError: the server failed, or refuses.
            BudgetExceededError: the budget does not hold another call.
        """
        had: list[Completion] = []

        async def ask(request: ChatRequest) -> ChatReply:
            completion = await self.inner.complete(prompt, **options)
            had.append(completion)
            usage = Usage(llm_calls=1, prompt_tokens=len(prompt), completion_tokens=len(completion.token_ids))
            return ChatReply(text="", finish_reason=FinishReason.STOP, usage=usage)

        # The meter and the budget count calls of chat models: a call by tokens is one whose messages nobody reads.
        limited = self._accounts.limit_chat(ask, endpoint=self._endpoint, model=self._model)
        reply = await self._accounts.meter_chat(limited, endpoint=self._endpoint, model=self._model)(NOTHING)
        return replace(had[-1], usage=reply.usage)

    async def aclose(self) -> None:
        """Close the server's connections."""
        if isinstance(self.inner, HoldsConnections):
            await self.inner.aclose()
