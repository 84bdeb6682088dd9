"""The seam to any LLM: messages in, one reply out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from workflow_r1.trajectory import FinishReason, Message, Usage

NO_TEXT = "(no text)"
"""Stands for an empty reply that is shown to an LLM again: many servers refuse an empty message."""


@dataclass(frozen=True, slots=True)
class ChatReply:
    """One reply of an LLM."""

    text: str
    """Content of the reply."""
    finish_reason: FinishReason
    """``length`` where the reply was cut off at ``max_tokens``."""
    usage: Usage
    """The service's own figures (zeros where it gives none)."""


class ChatModel(Protocol):
    """An LLM behind an operator, or behind a policy that is only evaluated."""

    async def __call__(
        self,
        messages: Sequence[Message],
        *,
        temperature: float = 0.0,
        max_tokens: int = 1024,
        sample_index: int = 0,
        stop: Sequence[str] = (),
    ) -> ChatReply:
        """Return one reply.

        Args:
            messages: the conversation so far.
            temperature: 0 asks for the most likely reply.
            max_tokens: the longest reply, in the service's tokens.
            sample_index: 0, 1, ... tells apart independent samples of one request: with equal arguments and a
                temperature above 0, another index is another draw. A store of calls needs it in its key.
            stop: strings that end the reply (left out of it).

        Raises:
            ServiceError: the service failed after its retries.
        """
        ...


@runtime_checkable
class HoldsConnections(Protocol):
    """A service that can be closed, twice as well as once."""

    async def aclose(self) -> None:
        """Close the connections; a later request opens new ones."""
        ...
