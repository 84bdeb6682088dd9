"""OpenAI's chat completions, ``POST /v1/chat/completions``: the reading of a request, and the wording of the reply.

The answer is the message's ``content``. Fields that ordinary clients ignore show how it came about:
``reasoning_content`` (the name that DeepSeek's API gave it and chat interfaces show) holds the thoughts, calls and
observations as text. Beside ``choices`` stand the whole trace in ``workflow_r1`` and the ignored fields in
``warnings``; a stream sends them with its last choice.
"""

import time
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel, Field

from workflow_r1.serving.replies import Outcome, event, final_text, no_answer_text, policy_tokens
from workflow_r1.serving.requests import (
    AnswerRequest,
    Fields,
    RequestError,
    Said,
    join_parts,
    parse,
    passed_over,
    read_conversation,
    read_fields,
    read_json_key,
)
from workflow_r1.trajectory import Trajectory


class _Message(BaseModel):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[dict[str, Any]] | None = None


class _StreamOptions(BaseModel):
    include_usage: bool | None = None


class _Body(Fields):
    messages: list[_Message] = Field(min_length=1)
    temperature: float | None = Field(default=None, ge=0.0, le=2.0)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None


def read_chat(body: bytes, *, model: str) -> AnswerRequest:
    """Read the body of a request.

    Args:
        body: as it was sent.
        model: the only model there is.

    Raises:
        RequestError: 400 the body is not such a request, or asks for the impossible; 404 another model.
    """
    fields = read_fields(body)
    parsed = parse(fields, _Body, model=model)
    warnings = passed_over(fields, read=(*_Body.model_fields, "response_format"))
    question, others = read_conversation(
        [
            Said(
                role={"developer": "system", "function": "tool"}.get(message.role, message.role),
                text=_text(message, at),
            )
            for at, message in enumerate(parsed.messages)
        ]
    )
    return AnswerRequest(
        question=question,
        others=others,
        temperature=parsed.temperature,
        seed=parsed.seed,
        max_tokens=parsed.max_completion_tokens or parsed.max_tokens,
        stop=tuple(text for text in ([parsed.stop] if isinstance(parsed.stop, str) else parsed.stop or []) if text),
        json_key=read_json_key(fields.get("response_format"), param="response_format"),
        stream=bool(parsed.stream),
        include_usage=bool(parsed.stream_options and parsed.stream_options.include_usage),
        warnings=warnings,
    )


def _text(message: _Message, at: int) -> str:
    if not isinstance(message.content, list):
        return message.content or ""
    return join_parts(message.content, kinds=("text", "refusal"), param=f"messages.{at}.content")


class ChatReply:
    """The reply to one request."""

    def __init__(self, name: str, *, model: str, request: AnswerRequest) -> None:
        """Begin a reply.

        Args:
            name: name of the trajectory.
            model: name of the served model.
            request: the request of the reply.
        """
        self._head = {"id": f"chatcmpl-{name}", "created": int(time.time()), "model": model}
        self._include_usage = request.include_usage

    def whole(self, outcome: Outcome) -> dict[str, Any]:
        """The reply to a request that does not stream."""
        message = {
            "role": "assistant",
            "content": outcome.answer,
            "refusal": None,
            "reasoning_content": outcome.reasoning,
        }
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish_reason(outcome.trajectory)}
        return {
            **self._head,
            "object": "chat.completion",
            "choices": [choice],
            "usage": policy_tokens(outcome.trajectory),
            **outcome.beside,
        }

    def begin(self) -> Iterator[str]:
        """The role."""
        yield self._delta(role="assistant", content="")

    def reason(self, text: str) -> Iterator[str]:
        """A chunk of reasoning."""
        yield self._delta(reasoning_content=text)

    def end(self, outcome: Outcome) -> Iterator[str]:
        """The answer in one chunk, the end of the message, the usage where it is asked for."""
        if text := no_answer_text(outcome.trajectory):
            yield self._delta(reasoning_content=text)
        yield self._delta(content=outcome.answer)
        last = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": _finish_reason(outcome.trajectory)}
        yield event({**self._chunk(last), **outcome.beside})
        if self._include_usage:
            yield event({**self._chunk(), "usage": policy_tokens(outcome.trajectory)})
        yield "data: [DONE]\n\n"

    def fail(self, error: RequestError) -> Iterator[str]:
        """The error as an event, which clients raise."""
        yield event(error.body())

    def _delta(self, **delta: str) -> str:
        return event(self._chunk({"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}))

    def _chunk(self, *choices: dict[str, Any]) -> dict[str, Any]:
        return {**self._head, "object": "chat.completion.chunk", "choices": list(choices)}


def _finish_reason(trajectory: Trajectory) -> str:
    """``length`` where a budget of the environment ended the trajectory before an answer."""
    return "stop" if final_text(trajectory) is not None else "length"
