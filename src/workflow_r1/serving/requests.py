"""A client's request in either protocol, and the refusals of the server.

The server honours a field, or ignores it; where the field would have had an effect, the reply says so in its
``warnings``. It refuses only fields that would change the meaning of the reply.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

REFUSED: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "n": ("1, since each request gets one answer", lambda value: value == 1),
    "logprobs": ("false, since the reply has no log-probabilities", lambda value: value is False),
    "top_logprobs": ("0, since the reply has no log-probabilities", lambda value: value == 0),
    "logit_bias": ("none, since the policy is sampled as it was trained", lambda value: value == {}),
    "tool_choice": ('"none" or "auto", since the policy calls its own operators', lambda value: value in ("none", "auto")),
    "function_call": ('"none" or "auto", since the policy calls its own operators', lambda value: value in ("none", "auto")),
    "modalities": ('["text"], since an answer is a text', lambda value: value == ["text"]),
    "audio": ("none, since an answer is a text", lambda value: False),
    "background": ("false, since nothing is kept after the reply", lambda value: value is False),
    "previous_response_id": ("none, since no response is kept; send the whole conversation", lambda value: False),
    "conversation": ("none, since no conversation is kept; send the whole of it", lambda value: False),
    "prompt": ("none, since no prompts are kept; send its text", lambda value: False),
}  # fmt: skip
"""Fields whose value must be one that asks for nothing, since with any other the reply would mean something else: what is
expected and why, and whether a value is that.
"""

WITHOUT_EFFECT: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "top_p": ("the server's own is used", lambda value: value == 1),
    "presence_penalty": ("the policy is sampled without it", lambda value: value == 0),
    "frequency_penalty": ("the policy is sampled without it", lambda value: value == 0),
    "tools": ("none of them is called: the policy calls its own operators", lambda value: value == []),
    "functions": ("none of them is called: the policy calls its own operators", lambda value: value == []),
}
"""Fields that are ignored with a warning, the warning, and the values that need no warning."""

HARMLESS = frozenset(
    [
        "user",
        "metadata",
        "store",
        "service_tier",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
        "parallel_tool_calls",
        "max_tool_calls",
        "include",
        "truncation",
        "client_metadata",
    ]
)
"""Fields that change no answer and are ignored without a warning."""

_Body = TypeVar("_Body", bound=BaseModel)


class RequestError(Exception):
    """A refused request, in the terms of OpenAI's API."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Describe the mistake.

        Args:
            status: status of HTTP.
            message: expected and received, in words.
            code: kind of the mistake, for programs.
            param: the field of the request that is to blame.
            headers: further headers of the reply.
        """
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param
        self.headers = headers or {}

    def body(self) -> dict[str, Any]:
        """The error as OpenAI's API words it."""
        kinds = {429: "rate_limit_error", 401: "authentication_error"}
        kind = kinds.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}


@dataclass(frozen=True, slots=True)
class Said:
    """One message of a conversation."""

    role: str
    """``system``, ``user``, ``assistant`` or ``tool``; ``developer`` counts as ``system``."""
    text: str
    """Content of the message, as text."""


@dataclass(frozen=True, slots=True)
class AnswerRequest:
    """A request that can be answered."""

    question: str
    """The last message of the user."""
    others: tuple[Said, ...] = ()
    """The other messages, oldest first."""
    temperature: float | None = None
    """None takes the server's."""
    seed: int | None = None
    """None draws one."""
    max_tokens: int | None = None
    """Policy and observation tokens together; None takes the environment's budget."""
    stop: tuple[str, ...] = ()
    """Strings at which the answer is cut."""
    json_key: str | None = None
    """The answer is the text of this property of a JSON object; None: it is plain text."""
    stream: bool = False
    """True where the client wants events as the turns come."""
    include_usage: bool = False
    """True where a stream of chunks ends with the usage."""
    warnings: tuple[str, ...] = ()
    """Warnings about ignored fields."""
    echoed: Mapping[str, Any] = field(default_factory=dict)
    """Fields that the protocol repeats in its reply."""


def read_fields(body: bytes) -> dict[str, Any]:
    """Read a body as the JSON object that it must be.

    Raises:
        RequestError: the body is not a JSON object.
    """
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestError(400, f"expected a body in JSON, received something else ({error})") from None
    if not isinstance(fields, dict):
        raise RequestError(400, "expected a JSON object")
    return fields


class Fields(BaseModel):
    """The fields of a request that are read; the others are looked up in the tables above."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    model: str


def parse(fields: Mapping[str, Any], kind: type[_Body], *, model: str) -> _Body:
    """Read the fields that a protocol uses.

    Raises:
        RequestError: 400 names the field that is wrong; 404 another model is asked for.
    """
    try:
        parsed = kind.model_validate(fields)
    except ValidationError as error:
        param, message = _explain(error, fields)
        raise RequestError(400, message, param=param) from None
    asked = fields["model"]
    if asked != model:
        raise RequestError(
            404, f"expected the model {model}, received {asked[:100]!r}", code="model_not_found", param="model"
        )
    return parsed


_EXPECTED = {
    "missing": "a value",
    "string_type": "a string",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "too_short": "at least one item",
    "string_too_short": "a text that is not empty",
}
"""By pydantic's kinds of error; the others say it in words of their own."""


def _explain(error: ValidationError, fields: Mapping[str, Any]) -> tuple[str, str]:
    """Return the field that is wrong, and what was expected and received there."""
    found: dict[str, tuple[str, list[str]]] = {}
    for detail in error.errors():
        place, value = _find(fields, detail["loc"])
        missing = detail["type"] == "missing"
        if missing:
            place = (*place, str(detail["loc"][-1]))
        expected = _EXPECTED.get(detail["type"], detail["msg"].removeprefix("Input should be "))
        found.setdefault(".".join(place), ("nothing" if missing else _short(value), []))[1].append(expected)
    # The client meant that alternative of a union which got furthest.
    param = max(found, key=lambda place: place.count("."))
    received, expected_there = found[param]
    return param, f"{param}: expected {' or '.join(dict.fromkeys(expected_there))}, received {received}"


def _find(fields: Any, location: Sequence[str | int]) -> tuple[tuple[str, ...], Any]:
    """Follow a location of pydantic into a request, without the names of union alternatives that stand in it."""
    place: list[str] = []
    value = fields
    for part in location:
        is_inside = part in value if isinstance(value, dict) else isinstance(value, list) and isinstance(part, int)
        if not is_inside:
            continue
        value = value[part]
        place.append(str(part))
    return tuple(place), value


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def passed_over(fields: Mapping[str, Any], *, read: Sequence[str]) -> tuple[str, ...]:
    """Return a warning for each field that had an effect elsewhere and has none here.

    Args:
        fields: fields of the request.
        read: names of the fields that the protocol uses.

    Raises:
        RequestError: a field would change the meaning of the reply.
    """
    found = []
    for name, value in fields.items():
        if value is None:
            continue
        if name in REFUSED:
            expected, asks_nothing = REFUSED[name]
            if not asks_nothing(value):
                raise RequestError(
                    400,
                    f"{name}: expected {expected}; received {_short(value)}",
                    code="unsupported_parameter",
                    param=name,
                )
        elif name in WITHOUT_EFFECT:
            why, asks_nothing = WITHOUT_EFFECT[name]
            if not asks_nothing(value):
                found.append(f"{name}: {why}")
        elif name not in read and name not in HARMLESS:
            found.append(f"{name[:100]}: not known here, passed over")
    return tuple(found)


def read_json_key(form: Any, *, param: str) -> str | None:
    """Return the property that holds the answer where the client wants JSON; None where it wants text.

    ``json_object`` gives ``{"answer": "..."}``. A schema is honoured where it is of an object with one text property,
    which the answer fills; the policy writes a short answer and nothing else that could fill others.

    Args:
        form: ``response_format`` of chat completions, ``text.format`` of responses.
        param: its name, for the message.

    Raises:
        RequestError: it asks for anything else.
    """
    if form is None or form == {"type": "text"}:
        return None
    if isinstance(form, dict) and form.get("type") == "json_object":
        return "answer"
    schema = form.get("schema", form.get("json_schema")) if isinstance(form, dict) else None
    if isinstance(schema, dict) and "schema" in schema:
        schema = schema["schema"]
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if isinstance(properties, dict) and len(properties) == 1:
        ((name, about),) = properties.items()
        if (
            isinstance(about, dict)
            and about.get("type") == "string"
            and not {"enum", "const", "pattern"} & about.keys()
        ):
            return str(name)
    raise RequestError(
        400,
        f"{param}: expected text, json_object, or the JSON schema of an object with one property of type string, which the "
        "answer fills: the policy gives one short answer",
        code="unsupported_parameter",
        param=param,
    )


def read_conversation(messages: Sequence[Said]) -> tuple[str, tuple[Said, ...]]:
    """Split a conversation into the user's last message, and the rest.

    Raises:
        RequestError: the user said nothing.
    """
    last = max((at for at, message in enumerate(messages) if message.role == "user"), default=None)
    if last is None:
        raise RequestError(400, "messages: expected at least one with the role user", param="messages")
    question = messages[last].text.strip()
    if not question:
        raise RequestError(
            400, f"messages.{last}.content: expected a question, received an empty text", param="messages"
        )
    others = (*messages[:last], *messages[last + 1 :])
    return question, tuple(message for message in others if message.text.strip())


def join_parts(parts: Sequence[Mapping[str, Any]], *, kinds: Sequence[str], param: str) -> str:
    """Join the parts of a message's content.

    Args:
        parts: as they were sent.
        kinds: types of parts that are text.
        param: place of the content, for the message.

    Raises:
        RequestError: a part is not a text.
    """
    for part in parts:
        if part.get("type") not in kinds or not isinstance(part.get("text", part.get("refusal")), str):
            raise RequestError(
                400, f"{param}: expected parts of type {kinds[0]} with their text, received {_short(part)}", param=param
            )
    return "\n".join(str(part.get("text", part.get("refusal"))) for part in parts)
