import json

import pytest

from workflow_r1.serving.requests import RequestError, read_request


def body(content="Who?", **fields):
    return {"model": "m", "messages": [{"role": "user", "content": content}]} | fields


def read(fields, **options):
    return read_request(json.dumps(fields).encode(), model="m", **options)


def refused(fields) -> RequestError:
    with pytest.raises(RequestError) as caught:
        read(fields)
    return caught.value


def test_a_bare_request_leaves_everything_to_the_server() -> None:
    request = read(body(" Who? "))
    assert request.question == "Who?"
    assert (request.temperature, request.seed, request.max_tokens, request.stop) == (None, None, None, ())
    assert (request.stream, request.include_usage, request.num_ignored) == (False, False, 0)


def test_what_is_honoured() -> None:
    request = read(
        body(temperature=1, seed=3, max_tokens=9, stop="x", stream=True, stream_options={"include_usage": True})
    )
    assert (request.temperature, request.seed, request.max_tokens, request.stop) == (1.0, 3, 9, ("x",))
    assert (request.stream, request.include_usage) == (True, True)
    assert read(body(max_tokens=9, max_completion_tokens=5)).max_tokens == 5
    assert read(body(stop=["a", ""])).stop == ("a",)


def test_what_asks_for_nothing_and_what_is_not_known_is_passed_over() -> None:
    neutral = {"n": 1, "top_p": 1.0, "tools": [], "response_format": {"type": "text"}, "presence_penalty": 0.0}
    assert read(body(user="u", store=False, metadata={"a": "b"}, logit_bias=None, **neutral)).question == "Who?"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 2),
        ("top_p", 0.5),
        ("tools", [{"type": "function"}]),
        ("tool_choice", "required"),
        ("response_format", {"type": "json_object"}),
        ("logprobs", True),
        ("presence_penalty", 0.5),
        ("logit_bias", {"1": 5}),
        ("modalities", ["audio"]),
    ],
)
def test_what_cannot_be_honoured_is_refused(name: str, value: object) -> None:
    error = refused(body(**{name: value}))
    assert (error.status, error.code, error.param) == (400, "unsupported_parameter", name)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "Who?"}, "messages"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "user", "content": "  "}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages.0.content.str"),
        ({"model": None}, "model"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"seed": 2**70}, "seed"),
        ({"seed": True}, "seed"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stop": [1]}, "stop.list[str].0"),
        ({"stream": "yes"}, "stream"),
    ],
)
def test_wrong_fields_are_named(change: dict, param: str) -> None:
    error = refused(body() | change)
    assert error.status == 400
    assert error.param is not None
    assert error.param.startswith(param.split(".str")[0].split(".list")[0])
    assert error.body()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'"x"', b"\xff", b"[" * 100_000, b'{"messages": "\\ud800"}'])
def test_what_is_no_request_is_refused(raw: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        read_request(raw, model="m")
    assert caught.value.status == 400


def test_another_model() -> None:
    error = refused(body(model="gpt"))
    assert (error.status, error.code) == (404, "model_not_found")


CONVERSATION = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Who directed Jaws?"},
    {"role": "assistant", "content": "Spielberg"},
    {"role": "user", "content": [{"type": "text", "text": "Where was he"}, {"type": "text", "text": "born?"}]},
    {"role": "assistant", "content": None},
]


def test_the_question_is_the_last_user_message_alone() -> None:
    request = read({"model": "m", "messages": CONVERSATION})
    assert request.question == "Where was he\nborn?"
    assert request.num_ignored == 4


def test_with_history_the_question_is_followed_by_what_was_said_before() -> None:
    request = read({"model": "m", "messages": CONVERSATION}, with_history=True)
    assert request.question == (
        "Where was he\nborn?\n\nWhat was said before:\nsystem: Be brief.\nuser: Who directed Jaws?\nassistant: Spielberg"
    )
    assert request.num_ignored == 1
    assert read(body(), with_history=True).question == "Who?"
