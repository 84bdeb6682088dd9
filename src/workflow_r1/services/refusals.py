"""Meaning of a status that is not a success: the cause decides whose failure it is, not the status alone.

Servers agree on few codes. A request that is too long is a 400 at OpenAI, vLLM, llama.cpp and SGLang, a 422 at TGI, a
413 at Groq, a 500 behind some gateways; most say it in words only. The words here are those of OpenAI, Azure, vLLM,
llama.cpp, SGLang, TGI, Ollama, LM Studio, Mistral, Anthropic, Gemini, xAI, Bedrock, DashScope, DeepSeek, OpenRouter and
litellm (November 2026).
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from workflow_r1.services.attempts import kind_of_status
from workflow_r1.services.failures import FailureKind

_KIND_OF_CODE = {
    "insufficient_quota": FailureKind.NO_QUOTA,
    "invalid_api_key": FailureKind.BAD_KEY,
    "model_not_found": FailureKind.UNKNOWN_MODEL,
    "context_length_exceeded": FailureKind.TOO_LONG,
    "exceed_context_size_error": FailureKind.TOO_LONG,
    "string_above_max_length": FailureKind.TOO_LONG,
    "content_filter": FailureKind.CONTENT_FILTER,
    "content_policy_violation": FailureKind.CONTENT_FILTER,
    "responsibleaipolicyviolation": FailureKind.CONTENT_FILTER,
    "data_inspection_failed": FailureKind.CONTENT_FILTER,
}
"""A server's own code, in small letters, where it tells more exactly than its status."""

_TOO_LONG_ANYWHERE = re.compile(
    r"maximum context length|ContextWindowExceeded|exceeds? (?:the )?(?:available |model's )?context|"
    r"longer than the (?:maximum )?(?:model|context)|prompt (?:is )?too long",
    re.IGNORECASE,
)
"""Believed of any status, 500 included."""

_TOO_LONG = re.compile(
    r"context.?(?:length|size|window|limit)|"
    r"(?:prompts?|inputs?|requests?|messages?|strings?)\W+(?:\w+ )?too (?:long|large)|"
    r"longer than the max|reduce the length of|too many (?:input )?tokens|max_new_tokens\W+must be|"
    r"must have less than \d+ tokens|input (?:token count|length)\b.{0,40}exceed|range of input length|"
    r"maximum (?:prompt|input|model|sequence) length|exceeds? the maximum (?:number of tokens|allowed length)|"
    # Any other words for it: what was sent, then that it is more than fits. `max_tokens` is not what was sent.
    r"\b(?:prompts?|inputs?|quer(?:y|ies)|messages?|requests?|conversation|(?<!output )(?<!completion )tokens?)\b"
    r"(?:(?!max_tokens|max_completion|quota|rate.limit|credit|balance|time|took)[^\n]){0,80}?"
    r"(?:exceed|too (?:long|large)\b|(?:longer|larger|greater|more) than|超长|过长)"
    r"(?![^\n]{0,30}(?:quota|rate|credit|balance|time))|"
    r"exceed\w* (?:the )?max_(?:model|seq|sequence)_len|default_max_tokens \(-",
    re.IGNORECASE,
)

_FILTERED = re.compile(
    r"content.?(?:filter|policy|management|exists risk)|violat\w+ (?:\w+ ){0,3}(?:usage )?polic|usage guidelines|"
    r"inappropriate content|(?:input|prompt|request) was (?:flagged|blocked|rejected because it was considered high risk)|"
    r"requires moderation|safety.?(?:system|check|filter)|prohibited_content|guardrail|responsible ai|敏感|"
    r"(?:sensitive|unsafe|harmful) (?:words|information|content)|"
    r"\b(?:content|input|output|prompt|message)s? (?:\w+ ){0,2}(?:blocked|flagged)",
    re.IGNORECASE,
)

_FILTERED_403 = re.compile(r"requires moderation|input was flagged|content violates|safety.?check", re.IGNORECASE)
"""Words of a content filter. A 403 usually speaks of the key; gateways with a moderation also use it for their filter."""

_CONTEXT_TOKENS = re.compile(r"context length is (?:only )?(\d+)", re.IGNORECASE)

_UNSUPPORTED = re.compile(
    r"unsupported|not (?:be )?support|n't support|deprecated|not allowed|not permitted|unrecogni[sz]ed|unknown|extra input",
    re.IGNORECASE,
)
_NAME = re.compile(r"\b(max_tokens|temperature)\b|[`'\"](stop|seed)[`'\"]")


@dataclass(frozen=True, slots=True)
class Refusal:
    """A service's reply with a status that is not a success."""

    kind: FailureKind
    """Its cause."""
    message: str
    """The service's own words; empty where it gave none."""
    parameter: str = ""
    """Field of the request that the service does not take at all, or not with this value."""


def read_refusal(status: int, body: bytes, *, max_tokens: int = 0) -> Refusal:
    """Judge a refusal by its status, the service's own codes, and its words. Never raises; linear in ``body``.

    Args:
        status: a status that is not a success.
        body: JSON in any of the usual forms, or text.
        max_tokens: the request's limit of tokens. Where that alone fills the model's context, no content is too long:
            the configuration is wrong.
    """
    error = _parse(body)
    if error is None:
        return _judge(status, body[:2000].decode("utf-8", errors="replace"), [], max_tokens)
    refusal = _judge(status, *_read_error(error), max_tokens)
    named = next((level["param"] for level in _levels(error) if isinstance(level.get("param"), str)), "")
    return replace(refusal, parameter=named) if refusal.parameter and named else refusal


def _judge(status: int, message: str, codes: list[str], max_tokens: int = 0) -> Refusal:
    text = " ".join((message, *codes))[:4000]
    kind = kind_of_status(status)
    found = next((_KIND_OF_CODE[code.lower()] for code in codes if code.lower() in _KIND_OF_CODE), None)
    if found is not None and (kind is FailureKind.REJECTED or found is FailureKind.NO_QUOTA or found.is_content):
        kind = found
    elif (kind is FailureKind.REJECTED and _FILTERED.search(text)) or (status == 403 and _FILTERED_403.search(text)):
        kind = FailureKind.CONTENT_FILTER
    elif (
        (kind is FailureKind.REJECTED and _TOO_LONG.search(text))
        or (kind is FailureKind.SERVER_ERROR and _TOO_LONG_ANYWHERE.search(text))
        or (kind is FailureKind.THROTTLED and "request too large" in text.lower())
    ):
        kind = FailureKind.TOO_LONG
    if kind is FailureKind.TOO_LONG:
        context = _CONTEXT_TOKENS.search(text)
        if context is not None and max_tokens >= int(context[1][:12]):
            kind = FailureKind.REJECTED
    parameter = _NAME.search(text) if kind is FailureKind.REJECTED and _UNSUPPORTED.search(text) else None
    return Refusal(kind, message, str(parameter[1] or parameter[2]) if parameter else "")


def read_refusal_in_reply(reply: Any) -> Refusal | None:
    """Judge an error that comes with status 200, as gateways send it; None where it does not say its cause."""
    message, codes = _read_error(reply)
    numbers = [int(code) for code in codes if code.isdecimal() and len(code) == 3 and 400 <= int(code) < 600]
    refusal = _judge(numbers[0] if numbers else 400, message, codes)
    return refusal if numbers or refusal.kind is not FailureKind.REJECTED else None


def _read_error(value: Any) -> tuple[str, list[str]]:
    """Return the service's words in the usual fields of a JSON error, and its codes."""
    message = ""
    codes: list[str] = []
    for level in _levels(value):
        codes += [str(level[key]) for key in ("code", "type", "error_type", "status") if level.get(key)]
        told = next((level[key] for key in ("detail", "message", "error") if isinstance(level.get(key), str)), "")
        message = told or message
    if not message:
        whole = value.get("detail") or value.get("error") or value if isinstance(value, dict) else value
        if isinstance(
            whole, list
        ):  # FastAPI's: each names the field, and repeats the request, whose words are no cause.
            whole = [
                {k: v for k, v in each.items() if k != "input"} if isinstance(each, dict) else each for each in whole
            ]
        message = whole if isinstance(whole, str) else json.dumps(whole)
    return message, codes


def _levels(value: Any) -> Iterator[dict[str, Any]]:
    """Return the objects of an error that are nested in the usual fields, outermost first."""
    for _ in range(5):
        if isinstance(value, list) and value:  # Gemini's endpoint puts its error into a list.
            value = value[0]
        if not isinstance(value, dict):
            return
        yield value
        value = value.get("error") or value.get("innererror") or _passed_on(value.get("metadata"))


def _passed_on(metadata: Any) -> Any:
    """The provider's own error, which OpenRouter passes on as text behind "Provider returned error"."""
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    if not isinstance(raw, str):
        return raw
    inner = _parse(raw.encode("utf-8", "replace"))
    return inner if isinstance(inner, dict | list) else {"message": raw[:2000]}


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
