"""Stand-ins for an LLM, for tests and dry runs. Part of the public API."""

from collections.abc import Callable, Sequence

from workflow_r1.errors import ServiceUnavailableError
from workflow_r1.inference.chat import ChatReply, ChatRequest
from workflow_r1.trajectory import FinishReason, Message, Usage

ScriptedReply = str | ChatReply | Exception
"""Entry of a script: a text, a whole reply, or an error to raise."""


class ScriptedChatModel:
    """A ``ChatModel`` that replies by a script and keeps its requests.

    Args:
        replies: replies in the order of the requests, or a function of the request's messages. A text is a reply that
            ended by itself; its tokens are counted as words. An exception is raised.
    """

    def __init__(self, replies: Sequence[ScriptedReply] | Callable[[tuple[Message, ...]], ScriptedReply] = ()) -> None:
        self._replies = replies
        self.requests: list[ChatRequest] = []
        """Every request so far, in order."""

    async def __call__(self, request: ChatRequest) -> ChatReply:
        """Return the script's reply.

        Raises:
            RuntimeError: the script has fewer replies than there are requests.
        """
        self.requests.append(request)
        if callable(self._replies):
            reply = self._replies(request.messages)
        elif len(self.requests) <= len(self._replies):
            reply = self._replies[len(self.requests) - 1]
        else:
            raise RuntimeError(
                f"expected at most {len(self._replies)} requests, received one more; add a reply to the script"
            )
        if isinstance(reply, Exception):
            raise reply
        if isinstance(reply, ChatReply):
            return reply
        usage = Usage(
            llm_calls=1,
            prompt_tokens=sum(len(message.content.split()) for message in request.messages),
            completion_tokens=len(reply.split()),
        )
        return ChatReply(text=reply, finish_reason=FinishReason.STOP, usage=usage)


class FailingChatModel(ScriptedChatModel):
    """A ``ChatModel`` whose service always fails.

    Args:
        error: exception that each request raises.
    """

    def __init__(self, error: Exception | None = None) -> None:
        failure = error or ServiceUnavailableError("expected a reply, received none: this LLM fails on purpose")
        super().__init__(lambda _: failure)
