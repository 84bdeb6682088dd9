"""The same LLM with other samples, for another seed or repeat of an evaluation."""

from dataclasses import replace

from workflow_r1.inference.chat import ChatModel, ChatReply, ChatRequest, HoldsConnections


class RedrawnChatModel:
    """A ``ChatModel`` whose samples above temperature 0 differ from those of the model behind it.

    Args:
        chat: the model that replies.
        offset: added to ``sample_index``; two offsets further apart than the number of samples of a request share no sample.
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
