"""The same LLM with other samples: what another seed or repeat of an evaluation asks."""

from collections.abc import Sequence

from workflow_r1.inference.chat import ChatModel, ChatReply, HoldsConnections
from workflow_r1.trajectory import Message


class RedrawnChatModel:
    """A ``ChatModel`` whose samples above temperature 0 are others than those of the one behind it.

    Args:
        chat: what replies.
        offset: added to ``sample_index``; two offsets that lie further apart than there are samples of a request share none.
    """

    def __init__(self, chat: ChatModel, offset: int) -> None:
        self._chat = chat
        self._offset = offset

    async def __call__(
        self,
        messages: Sequence[Message],
        *,
        temperature: float = 0.0,
        max_tokens: int = 1024,
        sample_index: int = 0,
        stop: Sequence[str] = (),
    ) -> ChatReply:
        """Reply as :class:`~workflow_r1.inference.ChatModel` says."""
        return await self._chat(
            messages,
            temperature=temperature,
            max_tokens=max_tokens,
            sample_index=sample_index + self._offset if temperature > 0 else sample_index,
            stop=stop,
        )

    async def aclose(self) -> None:
        """Close the connections of the one behind it."""
        if isinstance(self._chat, HoldsConnections):
            await self._chat.aclose()
