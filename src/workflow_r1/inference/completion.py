"""Reads chat completions as servers really send them: the LLM's text, its thought, and the flaw of a reply without a text.

The text is in ``content``: a string, null, or a list of parts. A thought that the server separates from it comes in
``reasoning_content`` (DeepSeek, llama.cpp, SGLang, vLLM before 0.12, litellm), ``reasoning`` (vLLM since, Ollama, Groq,
OpenRouter), ``reasoning_details`` (OpenRouter), ``thinking_blocks`` and ``provider_specific_fields`` (litellm), or as a
part of the content (Mistral).
"""

from collections.abc import Iterator, Mapping
from typing import Any

from workflow_r1.inference.chat import ChatReply, ReplyFlaw
from workflow_r1.services.attempts import AttemptError, encodable
from workflow_r1.services.failures import FailureKind
from workflow_r1.services.refusals import read_refusal_in_reply
from workflow_r1.trajectory import FinishReason, Usage

_CUT_OFF = ("length", "max_tokens", "model_length")
"""Names of the end at ``max_tokens`` or at the context's end: OpenAI's and two that gateways pass through."""

BROKEN_OFF = ("error", "abort", "insufficient_system_resource")
"""Ends that the server's state caused: OpenRouter's, vLLM's and SGLang's, DeepSeek's."""

_REASONING_FIELDS = ("reasoning_content", "reasoning", "thinking")
_NESTED_REASONING = ("reasoning_details", "thinking_blocks", "provider_specific_fields")


def read_completion(completion: Any) -> ChatReply:
    """Take the first choice of a chat completion. A server may send anything.

    Raises:
        ValueError: the reply is not a chat completion; the message says what is missing.
        AttemptError: the reply reports a failure of the server, or a refusal, with status 200.
    """
    if not isinstance(completion, dict):
        raise ValueError("something that is not a chat completion")
    choices = completion.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    choice = first if isinstance(first, dict) else {}
    end = str(choice.get("finish_reason") or "").lower()
    if choice.get("error") or end in BROKEN_OFF:
        why = choice.get("error") or f"finish_reason {end!r}"
        raise AttemptError(FailureKind.SERVER_ERROR, f"a reply that the server broke off ({str(why)[:200]})")
    is_filtered = end.startswith("content_filter")
    message = choice.get("message")
    if not isinstance(message, dict):
        if not is_filtered:
            raise _no_choices(completion)
        message = {}
    text = "".join(_text_parts(message.get("content")))
    reasoning = "\n".join(_reasoning(message))
    refusal = "".join(_refusals(message))
    flaw: ReplyFlaw | None = None
    if is_filtered:
        flaw = ReplyFlaw.FILTERED
    elif not text.strip():
        flaw = (
            ReplyFlaw.REFUSED if refusal
            else ReplyFlaw.TOOL_CALLS if message.get("tool_calls") or message.get("function_call")
            else ReplyFlaw.REASONING_ONLY if reasoning.strip()
            else ReplyFlaw.EMPTY
        )  # fmt: skip
    return ChatReply(
        text=encodable(text if text.strip() else refusal or text),
        finish_reason=FinishReason.LENGTH if end in _CUT_OFF else FinishReason.STOP,
        usage=_read_usage(completion.get("usage")),
        reasoning=encodable(reasoning),
        flaw=flaw,
    )


def _no_choices(completion: Mapping[str, Any]) -> Exception:
    error = completion.get("error")
    if error is None:
        return ValueError("no choices")
    refusal = read_refusal_in_reply(completion)
    if refusal is None:
        return ValueError(f"no choices but an error: {error}")
    return AttemptError(refusal.kind, f"an error with status 200 ({refusal.message[:200]})")


def _text_parts(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for part in content:
            if isinstance(part, dict) and part.get("type") in ("text", "output_text"):
                yield str(part.get("text") or "")
    elif content is not None:
        raise ValueError("its content is not text")


def _reasoning(message: Mapping[str, Any]) -> Iterator[str]:
    """The thought in the first of the fields that has one: some servers send it in two of them."""
    for field in (*_REASONING_FIELDS, *_NESTED_REASONING):
        found = list(_thoughts(message.get(field)))
        if found:
            yield from found
            return
    content = message.get("content")
    if isinstance(content, list):
        for part in content:
            if isinstance(part, dict) and part.get("type") in ("thinking", "reasoning"):
                yield from _thoughts(part)


def _thoughts(value: Any, depth: int = 0) -> Iterator[str]:
    if isinstance(value, str):
        if value:
            yield value
    elif depth < 4 and isinstance(value, list):
        for part in value:
            yield from _thoughts(part, depth + 1)
    elif depth < 4 and isinstance(value, dict):
        for field in (*_REASONING_FIELDS, "text", "summary"):
            if value.get(field):
                yield from _thoughts(value[field], depth + 1)
                return


def _refusals(message: Mapping[str, Any]) -> Iterator[str]:
    refusal = message.get("refusal")
    if isinstance(refusal, str):
        yield refusal
    content = message.get("content")
    if isinstance(content, list):
        for part in content:
            if isinstance(part, dict) and part.get("type") == "refusal":
                yield str(part.get("refusal") or "")


def _read_usage(usage: Any) -> Usage:
    """Read the service's own figures of one reply. A price is the meter's to say.

    What the total holds beyond the prompt was written by the model: xAI, and gateways to Gemini, leave the tokens of a
    thought, which they charge for, out of ``completion_tokens``. A figure that is absent is the rest of the total.
    """
    figures = usage if isinstance(usage, dict) else {}
    prompt, completion, total = (_count(figures.get(f"{name}_tokens")) for name in ("prompt", "completion", "total"))
    if total is not None and (prompt or completion is not None):
        prompt = prompt or max(0, total - (completion or 0))
        completion = max(completion or 0, total - prompt)
    return Usage(
        llm_calls=1,
        prompt_tokens=prompt or 0,
        completion_tokens=completion or 0,
        unreported_calls=int(not prompt or completion is None),
    )


def _count(number: Any) -> int | None:
    """Return a number of tokens; None where the service gives none."""
    return number if isinstance(number, int) and 0 <= number < 2**53 else None
