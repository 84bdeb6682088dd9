"""OpenAI's responses, ``POST /v1/responses``: the reading of a request, and the wording of the reply.

A reply has two items of output: the reasoning, as its summary, and the message with the answer. Nothing is kept: a
client sends the whole conversation in ``input``, and ``previous_response_id`` is refused. Beside ``output`` stand the
trace in ``workflow_r1`` and the ignored fields in ``warnings``; a stream sends them in the response of its last event.
"""

import time
from collections.abc import Iterator, Mapping
from typing import Any

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


class _Text(BaseModel):
    format: dict[str, Any] | None = None


class _Body(Fields):
    input: str | list[dict[str, Any]] = Field(min_length=1)
    instructions: str | None = None
    temperature: float | None = Field(default=None, ge=0.0, le=2.0)
    max_output_tokens: int | None = Field(default=None, ge=1)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    text: _Text | None = None
    stream: bool | None = None


_ECHOED: dict[str, Any] = {
    "instructions": None, "metadata": {}, "parallel_tool_calls": True, "temperature": None, "top_p": None,
    "tool_choice": "none", "tools": [], "max_output_tokens": None, "text": {"format": {"type": "text"}}, "user": None,
}  # fmt: skip
"""Fields of its request that a response repeats, and their values where the request lacks them."""


def read_responses(body: bytes, *, model: str) -> AnswerRequest:
    """Read the body of a request.

    Args:
        body: as it was sent.
        model: the only model there is.

    Raises:
        RequestError: 400 the body is not such a request, or asks for the impossible; 404 another model.
    """
    fields = read_fields(body)
    parsed = parse(fields, _Body, model=model)
    read = (*_Body.model_fields, "reasoning", "stream_options")
    warnings = passed_over(fields, read=read)
    said = [Said("system", parsed.instructions)] if parsed.instructions else []
    if isinstance(parsed.input, str):
        said.append(Said("user", parsed.input))
    else:
        said += [message for at, item in enumerate(parsed.input) if (message := _read_item(item, at)) is not None]
    question, others = read_conversation(said)
    return AnswerRequest(
        question=question,
        others=others,
        temperature=parsed.temperature,
        seed=parsed.seed,
        max_tokens=parsed.max_output_tokens,
        json_key=read_json_key(parsed.text.format if parsed.text else None, param="text.format"),
        stream=bool(parsed.stream),
        warnings=warnings,
        echoed={name: usual if fields.get(name) is None else fields[name] for name, usual in _ECHOED.items()},
    )


def _read_item(item: Mapping[str, Any], at: int) -> Said | None:
    param = f"input.{at}"
    kind = item.get("type") or "message"
    if kind == "reasoning":
        return None  # Our own reply, sent back: it says how an earlier answer came about.
    if kind == "function_call":
        return Said("assistant", f"{item.get('name')}({item.get('arguments')})")
    if kind == "function_call_output":
        output = item.get("output")
        if isinstance(output, list) and all(isinstance(part, dict) for part in output):
            output = join_parts(output, kinds=("input_text", "output_text"), param=f"{param}.output")
        return Said("tool", str(output))
    role, content = item.get("role"), item.get("content")
    if kind != "message" or role not in ("system", "developer", "user", "assistant"):
        raise RequestError(400, f"{param}: expected a message, received {str(kind)[:40]!r}", param=param)
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        text = join_parts(content, kinds=("input_text", "output_text", "refusal"), param=f"{param}.content")
    elif isinstance(content, str):
        text = content
    else:
        raise RequestError(400, f"{param}.content: expected a text or a list of parts", param=f"{param}.content")
    return Said("system" if role == "developer" else str(role), text)


class ResponsesReply:
    """The reply to one request."""

    def __init__(self, name: str, *, model: str, request: AnswerRequest) -> None:
        """Begin a reply.

        Args:
            name: name of the trajectory.
            model: name of the served model.
            request: the request of the reply.
        """
        self._name = name
        self._head = {
            "id": f"resp_{name}",
            "object": "response",
            "created_at": int(time.time()),
            "model": model,
            "error": None,
            "incomplete_details": None,
            "previous_response_id": None,
            "store": False,
            "truncation": "disabled",
            **request.echoed,
        }
        self._num_events = 0
        self._reasoning = ""

    def whole(self, outcome: Outcome) -> dict[str, Any]:
        """The reply to a request that does not stream."""
        answered = final_text(outcome.trajectory) is not None
        tokens = policy_tokens(outcome.trajectory)
        return {
            **self._head,
            "status": "completed" if answered else "incomplete",
            "incomplete_details": None if answered else {"reason": "max_output_tokens"},
            "output": [self._reasoning_item(outcome.reasoning), self._message(outcome.answer)],
            "usage": {
                "input_tokens": tokens["prompt_tokens"],
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": tokens["completion_tokens"],
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": tokens["total_tokens"],
            },
            **outcome.beside,
        }

    def begin(self) -> Iterator[str]:
        """The response without output, and the item that the reasoning goes to."""
        empty = {**self._head, "status": "in_progress", "output": [], "usage": None}
        yield self._event("response.created", response=empty)
        yield self._event("response.in_progress", response=empty)
        item = {**self._reasoning_item(""), "summary": [], "status": "in_progress"}
        yield self._event("response.output_item.added", output_index=0, item=item)
        part = {"type": "summary_text", "text": ""}
        yield self._event("response.reasoning_summary_part.added", **self._in_reasoning, part=part)

    def reason(self, text: str) -> Iterator[str]:
        """More of the summary."""
        self._reasoning += text
        yield self._event("response.reasoning_summary_text.delta", **self._in_reasoning, delta=text)

    def end(self, outcome: Outcome) -> Iterator[str]:
        """The end of the reasoning, the message in one piece, and the whole response."""
        if text := no_answer_text(outcome.trajectory):
            yield from self.reason(text)
        reasoning, answer = self._reasoning, outcome.answer
        yield self._event("response.reasoning_summary_text.done", **self._in_reasoning, text=reasoning)
        part: dict[str, Any] = {"type": "summary_text", "text": reasoning}
        yield self._event("response.reasoning_summary_part.done", **self._in_reasoning, part=part)
        yield self._event("response.output_item.done", output_index=0, item=self._reasoning_item(reasoning))
        message = self._message(answer)
        item = {**message, "content": [], "status": "in_progress"}
        yield self._event("response.output_item.added", output_index=1, item=item)
        empty = {"type": "output_text", "text": "", "annotations": []}
        yield self._event("response.content_part.added", **self._in_message, part=empty)
        yield self._event("response.output_text.delta", **self._in_message, delta=answer, logprobs=[])
        yield self._event("response.output_text.done", **self._in_message, text=answer, logprobs=[])
        yield self._event("response.content_part.done", **self._in_message, part=message["content"][0])
        yield self._event("response.output_item.done", output_index=1, item=message)
        response = self.whole(outcome)
        yield self._event(f"response.{response['status']}", response=response)

    def fail(self, error: RequestError) -> Iterator[str]:
        """The response with its error."""
        told = {"code": error.code or "server_error", "message": str(error)}
        failed = {**self._head, "status": "failed", "error": told, "output": [], "usage": None}
        yield self._event("response.failed", response=failed)

    @property
    def _in_reasoning(self) -> dict[str, Any]:
        return {"item_id": f"rs_{self._name}", "output_index": 0, "summary_index": 0}

    @property
    def _in_message(self) -> dict[str, Any]:
        return {"item_id": f"msg_{self._name}", "output_index": 1, "content_index": 0}

    def _reasoning_item(self, text: str) -> dict[str, Any]:
        return {"id": f"rs_{self._name}", "type": "reasoning", "summary": [{"type": "summary_text", "text": text}]}

    def _message(self, text: str) -> dict[str, Any]:
        return {
            "id": f"msg_{self._name}",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}],
        }

    def _event(self, kind: str, **fields: Any) -> str:
        number, self._num_events = self._num_events, self._num_events + 1
        return event({"type": kind, "sequence_number": number, **fields}, name=kind)
