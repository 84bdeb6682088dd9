"""The same LLM with other samples: what another seed or repeat of an evaluation asks."""

from dataclasses import replace

from workflow_r1.inference.chat import ChatModel, ChatReply, ChatRequest, HoldsConnections


class RedrawnChatModel:
    """A ``ChatModel`` whose samples above temperature 0 are others than those of the one behind it.

    Args:
        chat: what replies.
        offset: added to ``sample_index``; two offsets that lie further apart than there are samples of a request share none.
    """

    def __init__(self, chat: ChatModel, offset: int) -> None:
        self._chat = chat
        self._offset = offset

    async def __call__(self, request: ChatRequest) -> ChatReply:
        """Reply as :class:`~workflow_r1.inference.ChatModel` says."""
        if request.temperature > 0:
            request = replace(request, sample_index=request.sample_index + self._offset)
        return await self._chat(request)

    async def aclose(self) -> None:
        """Close the connections of the one behind it."""
        if isinstance(self._chat, HoldsConnections):
            await self._chat.aclose()
