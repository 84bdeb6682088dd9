"""An LLM whose replies are kept in the store of calls."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from workflow_r1.inference.chat import ChatModel, ChatReply, ChatRequest, HoldsConnections, ReplyFlaw
from workflow_r1.store import Call, CallStore
from workflow_r1.store.refusals import keeping_refusals, raise_refusal
from workflow_r1.trajectory import FinishReason, Usage

_NAMED_CHARS = 120
"""Characters of the last message's beginning and of its end that name a call: operators begin with their instructions
and end with the input.
"""


class StoredChatModel:
    """A ``ChatModel`` that asks another one and keeps its replies.

    Two calls are one where endpoint, model, messages, parameters and ``sample_index`` are equal. A reply from the store
    says so in its usage (``stored_calls``, ``stored_tokens``) and has nothing ``paid``; its other figures are those of
    the service when it was asked.

    Args:
        inner: the LLM that is asked; may be None for a replay.
        store: the store of the replies.
        model: the model's name at the endpoint.
        endpoint: address of the endpoint, without a login.
        extra_body: further fields that the endpoint gets with every request.
    """

    def __init__(
        self,
        inner: ChatModel | None,
        store: CallStore,
        *,
        model: str,
        endpoint: str,
        extra_body: Mapping[str, Any] | None = None,
    ) -> None:
        if inner is None and store.mode != "replay":
            raise ValueError(
                f'expected an LLM to ask, received none; only the mode "replay" asks none, not "{store.mode}"'
            )
        self.inner = inner
        self._store = store
        self._model = model
        self._place = f"{model} at {endpoint}"
        self._identity = {
            "endpoint": endpoint if store.by_address else None,
            "model": model,
            "extra_body": dict(extra_body or {}),
        }

    async def __call__(self, request: ChatRequest) -> ChatReply:
        """Return one reply; see :class:`~workflow_r1.inference.ChatModel`.

        Raises:
            ServiceError: the service was asked and failed after its retries.
            ReplayMissError: the reply was to come from the store, which lacks it.
        """
        received: ChatReply | None = None

        async def ask() -> dict[str, Any]:
            nonlocal received
            assert self.inner is not None, "a replay asks nobody"
            received = await self.inner(request)
            usage = received.usage
            return {
                "text": received.text,
                "finish_reason": received.finish_reason,
                "llm_calls": usage.llm_calls,
                "prompt_tokens": usage.prompt_tokens,
                "completion_tokens": usage.completion_tokens,
                **({"unreported_calls": usage.unreported_calls} if usage.unreported_calls else {}),
                **({"reasoning": received.reasoning} if received.reasoning else {}),
                **({"flaw": received.flaw} if received.flaw else {}),
            }

        call = Call(
            service="llm",
            model=self._model,
            request={
                **self._identity,
                "messages": [[message.role, message.content] for message in request.messages],
                "temperature": float(request.temperature),
                "max_tokens": request.max_tokens,
                "sample_index": request.sample_index,
                "stop": list(request.stop),
            },
            name=f"{self._place}, temperature {request.temperature:g}, sample {request.sample_index}, asked "
            f"{_beginning_and_end(request.messages[-1].content if request.messages else '')!r}",
        )
        answer, is_stored = await self._store.answer(call, keeping_refusals(ask))
        raise_refusal(answer)
        counted = ("llm_calls", "prompt_tokens", "completion_tokens", "unreported_calls")
        counts = {name: answer[name] for name in counted if name in answer}
        flaw = answer.get("flaw")
        reply = ChatReply(
            text=answer["text"],
            finish_reason=FinishReason(answer["finish_reason"]),
            usage=Usage(**counts),
            reasoning=answer.get("reasoning", ""),
            flaw=None if flaw is None else ReplyFlaw(flaw),
        )
        if is_stored:
            num_tokens = counts["prompt_tokens"] + counts["completion_tokens"]
            return replace(reply, usage=Usage(**counts, stored_calls=counts["llm_calls"], stored_tokens=num_tokens))
        return reply if received is None else replace(reply, usage=received.usage.model_copy(update=counts))

    async def aclose(self) -> None:
        """Close the connections of the LLM that is asked, where it has any. The store stays open: others may share it."""
        if isinstance(self.inner, HoldsConnections):
            await self.inner.aclose()


def _beginning_and_end(text: str) -> str:
    if len(text) <= 2 * _NAMED_CHARS + 5:
        return text
    return f"{text[:_NAMED_CHARS]} ... {text[-_NAMED_CHARS:]}"
