"""Any chat model as the policy: for rollouts and evaluation against a server. It gives text, no tokens.

The server renders the conversation, by a template of its own: it may leave out the thoughts of earlier turns, which the
policy was trained to see. A server that continues tokens is better asked through ``served_sampler``.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from workflow_r1.inference.chat import NO_TEXT, ChatModel, ChatReply, ChatRequest
from workflow_r1.prompts import CLOSING_TAGS, action_end, restore_opening
from workflow_r1.rollout.policy import SampledTurn
from workflow_r1.rollout.sampling import SamplingConfig
from workflow_r1.trajectory import FinishReason, Message

_ACTIONS = ("tool", "answer")


class ChatPolicy:
    """A policy behind a chat model."""

    def __init__(self, chat: ChatModel, *, name: str, sampling: SamplingConfig | None = None) -> None:
        """Set up the policy.

        Args:
            chat: the model; it bounds its own concurrency.
            name: name in records and reports.
            sampling: temperature, longest turn and end of turn are used; a server's own ``top_p`` stays.
        """
        self._chat = chat
        self._name = name
        self._sampling = sampling or SamplingConfig()

    @property
    def name(self) -> str:
        """Name for records and reports."""
        return self._name

    def at_temperature(self, temperature: float) -> "ChatPolicy":
        """Return the same policy at another temperature."""
        sampling = self._sampling.model_copy(update={"temperature": temperature})
        return ChatPolicy(self._chat, name=self._name, sampling=sampling)

    @asynccontextmanager
    async def session(self, *, seed: int) -> AsyncIterator["ChatSession"]:
        """Open a session.

        Args:
            seed: tells apart the samples of one conversation. How far it makes them repeatable is up to the server.
        """
        yield ChatSession(self._chat, self._sampling, seed)


class ChatSession:
    """One conversation."""

    def __init__(self, chat: ChatModel, sampling: SamplingConfig, seed: int) -> None:
        self._chat = chat
        self._sampling = sampling
        self._sample_index = seed % 2**31  # Servers take seeds of 32 bits.
        self._messages: list[Message] = []

    def extend(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Append messages to the conversation; there are no tokens to return."""
        self._messages.extend(messages)
        return ()

    async def sample(self, *, max_tokens: int) -> SampledTurn:
        """Ask for the policy's next turn.

        Raises:
            ContentRejectedError: the conversation is too long for the model, or the server does not allow its content.
            ServiceError: the server failed after its retries.
        """
        reply = await self._ask(max_tokens, stop=CLOSING_TAGS if self._sampling.turn_end == "action" else ())
        text, usage = _turn_text(reply), reply.usage
        if self._sampling.turn_end == "action" and reply.finish_reason is FinishReason.STOP:
            if "</think>" not in text or (reply.reasoning and not reply.text.strip()):
                # The turn may have ended by itself, or the server met a closing tag that the thought names: nobody says. So it
                # is asked for the whole turn, which is cut here.
                reply = await self._ask(max_tokens)
                text, usage = _turn_text(reply), usage + reply.usage
                text = text[: action_end(text)]
            else:
                text = restore_closing_tag(text)
        self._messages.append(Message(role="assistant", content=text if text.strip() else NO_TEXT))
        return SampledTurn(text=text, token_ids=(), logprobs=(), finish_reason=reply.finish_reason, usage=usage)

    async def _ask(self, max_tokens: int, *, stop: tuple[str, ...] = ()) -> ChatReply:
        return await self._chat(
            ChatRequest(
                messages=tuple(self._messages),
                temperature=self._sampling.temperature,
                max_tokens=min(max_tokens, self._sampling.max_turn_tokens),
                sample_index=self._sample_index if self._sampling.temperature > 0 else 0,
                stop=stop,
            )
        )


def _turn_text(reply: ChatReply) -> str:
    """The turn as the policy wrote it: with a thought that the server moved, and the opening that its template wrote."""
    return restore_opening(reply.whole_text)


def restore_closing_tag(text: str) -> str:
    """Close the action that a stop string cut off: servers leave the stop string out of the reply."""
    thought = text.find("</think>")
    position, tag = max((text.rfind(f"<{tag}>"), tag) for tag in _ACTIONS)
    if position < max(thought, 0) or f"</{tag}>" in text[position:]:
        return text
    return f"{text}</{tag}>"
