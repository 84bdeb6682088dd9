"""What a client may ask of ``POST /v1/chat/completions``, and what is told to it where it asks for something else."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "top_p": (1,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
}
"""Parameters that cannot be honoured, with the values that ask for nothing. Any other value is refused."""


class RequestError(Exception):
    """A request that is not answered, in the terms of OpenAI's API."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        """Say what is wrong.

        Args:
            status: of HTTP.
            message: what was expected, what was received.
            code: what went wrong, for programs.
            param: the field of the request that is to blame.
            retry_after: seconds after which another attempt makes sense.
        """
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param
        self.retry_after = retry_after

    def body(self) -> dict[str, Any]:
        """The error as OpenAI's API words it."""
        kinds = {429: "rate_limit_error", 401: "authentication_error"}
        kind = kinds.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A request that can be answered."""

    question: str
    """What the policy is asked."""
    num_ignored: int
    """Messages of the conversation that the policy does not see."""
    temperature: float | None
    """None takes the server's."""
    seed: int | None
    """None draws one."""
    max_tokens: int | None
    """Policy and observation tokens together; None takes the environment's budget."""
    stop: tuple[str, ...]
    """Strings at which the answer is cut."""
    stream: bool
    """Whether chunks are sent as the turns come."""
    include_usage: bool
    """Whether a stream ends with the usage."""


class _Part(BaseModel):
    type: str
    text: str | None = None


class _Message(BaseModel):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[_Part] | None = None


class _StreamOptions(BaseModel):
    include_usage: bool | None = None


class _Body(BaseModel):
    """The fields that are read. Others are passed over: clients send many that change no answer (``user``, ``store``)."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    model: str
    messages: list[_Message] = Field(min_length=1)
    temperature: float | None = Field(default=None, ge=0.0, le=2.0)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None


def read_request(body: bytes, *, model: str, with_history: bool = False) -> ChatRequest:
    """Read the body of a request.

    Args:
        body: as it was sent.
        model: the only model there is.
        with_history: put the messages before the last user message before the question; otherwise they are left out.

    Raises:
        RequestError: 400 what is no such request, or asks for what cannot be done; 404 another model.
    """
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestError(400, f"expected a body in JSON, received something else ({error})") from None
    if not isinstance(fields, dict):
        raise RequestError(400, "expected a JSON object")
    try:
        parsed = _Body.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        param = ".".join(str(part) for part in first["loc"])
        raise RequestError(400, f"{param}: {first['msg']}", param=param) from None
    if parsed.model != model:
        raise RequestError(
            404, f"expected the model {model}, received {parsed.model[:100]!r}", code="model_not_found", param="model"
        )
    for name, neutral in NEUTRAL.items():
        if fields.get(name) is not None and fields[name] not in neutral:
            wanted = " or ".join(json.dumps(value) for value in neutral)
            raise RequestError(
                400,
                f"{name}: expected {wanted}, or nothing: the policy decides by itself which operators it calls, and gives "
                "one answer in plain text",
                code="unsupported_parameter",
                param=name,
            )
    question, num_ignored = _read_question(parsed.messages, with_history)
    return ChatRequest(
        question=question,
        num_ignored=num_ignored,
        temperature=parsed.temperature,
        seed=parsed.seed,
        max_tokens=parsed.max_completion_tokens or parsed.max_tokens,
        stop=tuple(text for text in ([parsed.stop] if isinstance(parsed.stop, str) else parsed.stop or []) if text),
        stream=bool(parsed.stream),
        include_usage=bool(parsed.stream_options and parsed.stream_options.include_usage),
    )


def _read_question(messages: Sequence[_Message], with_history: bool) -> tuple[str, int]:
    """Return the question, and how many messages are left out of it."""
    last = max((at for at, message in enumerate(messages) if message.role == "user"), default=None)
    if last is None:
        raise RequestError(400, "messages: expected at least one with the role user", param="messages")
    question = _read_text(messages[last], last).strip()
    if not question:
        raise RequestError(
            400, f"messages.{last}.content: expected a question, received an empty text", param="messages"
        )
    if not with_history or last == 0:
        return question, len(messages) - 1
    earlier = "\n".join(f"{message.role}: {_read_text(message, at)}" for at, message in enumerate(messages[:last]))
    return f"{question}\n\nWhat was said before:\n{earlier}", len(messages) - 1 - last


def _read_text(message: _Message, at: int) -> str:
    if not isinstance(message.content, list):
        return message.content or ""
    other = next((part.type for part in message.content if part.type != "text"), None)
    if other is not None:
        raise RequestError(
            400, f"messages.{at}.content: expected parts of type text, received {other[:40]!r}", param="messages"
        )
    return "\n".join(part.text or "" for part in message.content)
