"""The seam to any LLM: messages in, one reply out."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

from workflow_r1.trajectory import FinishReason, Message, Usage

NO_TEXT = "(no text)"
"""Stands for an empty reply that is shown to an LLM again: many servers refuse an empty message."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """Request to an LLM."""

    messages: tuple[Message, ...]
    """The conversation so far."""
    temperature: float = 0.0
    """0 asks for the most likely reply."""
    max_tokens: int = 1024
    """The longest reply, in the service's tokens."""
    sample_index: int = 0
    """0, 1, ... tells apart independent samples of one request: with all else equal and a temperature above 0, another
    index is another draw. A store of calls needs it in its key."""
    stop: tuple[str, ...] = ()
    """Strings that end the reply (left out of it)."""


class ReplyFlaw(StrEnum):
    """Reason why a reply's text is not an answer to the request. The service worked: it answered with status 200."""

    REFUSED = "refused"
    """The LLM declines; the text is its refusal."""
    FILTERED = "filtered"
    """A content filter withheld the text, or all of it from somewhere on."""
    TOOL_CALLS = "tool_calls"
    """The LLM called tools that nobody offered, and wrote no text."""
    REASONING_ONLY = "reasoning_only"
    """The LLM reasoned, and wrote no text."""
    EMPTY = "empty"
    """The LLM wrote nothing."""


@dataclass(frozen=True, slots=True)
class ChatReply:
    """One reply of an LLM."""

    text: str
    """Content of the reply, without a thought that the server moved out of it."""
    finish_reason: FinishReason
    """``length`` where the reply was cut off at ``max_tokens``."""
    usage: Usage
    """The service's own figures (zeros where it gives none)."""
    reasoning: str = ""
    """The thought, where the server sends it in a field of its own; empty where it sends none."""
    flaw: ReplyFlaw | None = None
    """Flaw of the text; None where the LLM wrote a text of its own."""

    @property
    def whole_text(self) -> str:
        """The text with the thought back at its beginning, as the policy wrote both in its turn.

        A thought that the content repeats is not put back twice, and an empty one there gives way to it.
        A thought that the token budget cut off is left open.
        """
        written = self.reasoning.strip().removeprefix("<think>").removesuffix("</think>")
        if written == self.reasoning.strip():
            written = self.reasoning
        thought = written.strip()
        before, closing, after = self.text.partition("</think>")
        own, opening = before.lstrip().removeprefix("<think>"), before.lstrip().startswith("<think>")
        if not thought or ((closing or opening) and thought in own):
            return self.text
        rest = after if closing and not own.strip() else self.text
        is_cut = self.finish_reason is FinishReason.LENGTH and not self.text.strip()
        return f"<think>{written}{'' if is_cut else '</think>'}{rest}"


class ChatModel(Protocol):
    """An LLM behind an operator, or behind a policy that is only evaluated."""

    async def __call__(self, request: ChatRequest) -> ChatReply:
        """Return one reply.

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
