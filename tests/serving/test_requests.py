import json

import pytest

from workflow_r1.serving.chat import read_chat
from workflow_r1.serving.history import ask_within
from workflow_r1.serving.requests import AnswerRequest, RequestError, Said
from workflow_r1.serving.responses import read_responses


def body(content="Who?", **fields):
    return {"model": "m", "messages": [{"role": "user", "content": content}]} | fields


def read(fields):
    return read_chat(json.dumps(fields).encode(), model="m")


def refused(fields) -> RequestError:
    with pytest.raises(RequestError) as caught:
        read(fields)
    return caught.value


def test_a_bare_request_leaves_everything_to_the_server() -> None:
    request = read(body(" Who? "))
    assert request.question == "Who?"
    assert (request.temperature, request.seed, request.max_tokens, request.stop) == (None, None, None, ())
    assert (request.stream, request.include_usage, request.others) == (False, False, ())


def test_what_is_honoured() -> None:
    request = read(
        body(temperature=1, seed=3, max_tokens=9, stop="x", stream=True, stream_options={"include_usage": True})
    )
    assert (request.temperature, request.seed, request.max_tokens, request.stop) == (1.0, 3, 9, ("x",))
    assert (request.stream, request.include_usage) == (True, True)
    assert read(body(max_tokens=9, max_completion_tokens=5)).max_tokens == 5
    assert read(body(stop=["a", ""])).stop == ("a",)


def test_what_asks_for_nothing_is_passed_over_without_a_word() -> None:
    neutral = {"n": 1, "top_p": 1.0, "tools": [], "response_format": {"type": "text"}, "presence_penalty": 0.0}
    request = read(body(user="u", store=False, metadata={"a": "b"}, logit_bias=None, **neutral))
    assert (request.question, request.warnings) == ("Who?", ())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("top_p", 0.5),
        ("presence_penalty", 0.5),
        ("frequency_penalty", -1),
        ("tools", [{"type": "function"}]),
        ("functions", [{"name": "f"}]),
        ("reasoning_effort", "high"),
        ("something_new", 1),
    ],
)
def test_what_would_change_no_meaning_is_passed_over_with_a_warning(name: str, value: object) -> None:
    (warning,) = read(body(**{name: value})).warnings
    assert warning.startswith(f"{name}: ")


@pytest.mark.parametrize("choice", ["none", "auto"])
def test_tools_that_need_not_be_called_are_not(choice: str) -> None:
    (warning,) = read(body(tools=[{"type": "function"}], tool_choice=choice, parallel_tool_calls=True)).warnings
    assert warning.startswith("tools: ")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 2),
        ("tool_choice", "required"),
        ("tool_choice", {"type": "function", "function": {"name": "f"}}),
        ("function_call", {"name": "f"}),
        ("response_format", {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}),
        ("response_format", {"type": "grammar"}),
        ("logprobs", True),
        ("logit_bias", {"1": 5}),
        ("modalities", ["audio"]),
    ],
)
def test_what_would_change_the_meaning_is_refused(name: str, value: object) -> None:
    error = refused(body(**{name: value}))
    assert (error.status, error.code, error.param) == (400, "unsupported_parameter", name)


def schema(**properties: object) -> dict:
    return {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object", "properties": properties}}}


def test_a_schema_that_the_answer_can_fill() -> None:
    assert read(body(response_format={"type": "json_object"})).json_key == "answer"
    assert read(body(response_format=schema(city={"type": "string"}))).json_key == "city"
    for cannot in ({}, {"a": {"type": "string"}, "b": {"type": "string"}}, {"a": {"type": "integer"}}):
        assert refused(body(response_format=schema(**cannot))).param == "response_format"
    assert refused(body(response_format=schema(a={"type": "string", "enum": ["x"]}))).status == 400


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "Who?"}, "messages"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "user", "content": "  "}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": ["a"]}]}, "messages.0.content.0"),
        ({"messages": [{"content": "x"}]}, "messages.0.role"),
        ({"model": None}, "model"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"seed": 2**70}, "seed"),
        ({"seed": True}, "seed"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stop": [1]}, "stop.0"),
        ({"stream": "yes"}, "stream"),
    ],
)
def test_wrong_fields_are_named(change: dict, param: str) -> None:
    error = refused(body() | change)
    assert error.status == 400
    assert error.param is not None
    assert error.param == param or (param == "messages" and error.param.startswith("messages."))
    assert "Input should" not in str(error)
    assert "expected" in str(error)
    assert error.body()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'"x"', b"\xff", b"[" * 100_000, b'{"messages": "\\ud800"}'])
def test_what_is_no_request_is_refused(raw: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        read_chat(raw, model="m")
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"messages": [{"role": "user", "content": 3}]}, "messages.0.content: expected a string or a list, received 3"),
        ({"messages": ["Who?"]}, 'messages.0: expected an object, received "Who?"'),
        ({"messages": []}, "messages: expected at least one item, received []"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
            'messages.0.content: expected parts of type text with their text, received {"type": "text"}',
        ),
        ({"messages": [{"content": "x"}]}, "messages.0.role: expected a value, received nothing"),
        ({"stop": 3}, "stop: expected a string or a list, received 3"),
        ({"max_tokens": 5.5}, "max_tokens: expected a whole number, received 5.5"),
        ({"n": 2}, "n: expected 1, since each request gets one answer; received 2"),
        ({"logprobs": True}, "logprobs: expected false, since the reply has no log-probabilities; received true"),
    ],
)
def test_a_refusal_says_what_was_expected_and_received(change: dict, message: str) -> None:
    assert str(refused(body() | change)) == message


def test_a_response_is_told_to_send_its_whole_conversation() -> None:
    with pytest.raises(RequestError, match="expected none, since no response is kept; send the whole conversation"):
        read_responses(b'{"model": "m", "input": "Who?", "previous_response_id": "resp_1"}', model="m")


def test_items_of_a_response_as_clients_send_them_back() -> None:
    items = [
        {"type": None, "role": "user", "content": "Who?"},
        {"type": "function_call_output", "call_id": "1", "output": [{"type": "input_text", "text": "seen"}]},
    ]
    request = read_responses(json.dumps({"model": "m", "input": items}).encode(), model="m")
    assert (request.question, request.others) == ("Who?", (Said("tool", "seen"),))


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


def test_the_question_is_what_the_user_said_last() -> None:
    request = read({"model": "m", "messages": CONVERSATION})
    assert request.question == "Where was he\nborn?"
    assert request.others == (
        Said("system", "Be brief."),
        Said("user", "Who directed Jaws?"),
        Said("assistant", "Spielberg"),
    )


def respond(input, **fields):
    return read_responses(json.dumps({"model": "m", "input": input} | fields).encode(), model="m")


def test_a_response_is_asked_for_with_a_text_or_with_items() -> None:
    assert respond(" Who? ").question == "Who?"
    items = [
        {"role": "developer", "content": "Be brief."},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Who directed Jaws?"}]},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Spielberg", "annotations": []}],
        },
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "5"},
        {"role": "user", "content": "Where was he born?"},
    ]
    request = respond(items, instructions="In English.", max_output_tokens=9, temperature=0.5, stream=True)
    assert request.question == "Where was he born?"
    assert [message.role for message in request.others] == [
        "system",
        "system",
        "user",
        "assistant",
        "assistant",
        "tool",
    ]
    assert (request.max_tokens, request.temperature, request.stream) == (9, 0.5, True)
    assert request.echoed["instructions"] == "In English."
    form = {"type": "json_schema", "name": "n", "schema": {"type": "object", "properties": {"a": {"type": "string"}}}}
    assert respond("Who?", text={"format": form}).json_key == "a"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": []}, "input"),
        ({"input": "  "}, "messages"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input.0"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input.0.content"),
        ({"input": [{"role": "user"}]}, "input.0.content"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "c"}, "conversation"),
        ({"background": True}, "background"),
        ({"tool_choice": "required"}, "tool_choice"),
    ],
)
def test_responses_that_are_refused(fields: dict, param: str) -> None:
    with pytest.raises(RequestError) as caught:
        respond(**{"input": "Who?"} | fields)
    assert (caught.value.status, caught.value.param) == (400, param)


def within(question: str, *others: tuple[str, str], how="reference", room=10_000):
    request = AnswerRequest(question=question, others=tuple(Said(role, text) for role, text in others))
    return ask_within(request, how, fits=lambda text: len(text) <= room)


@pytest.mark.parametrize(
    ("question", "asked"),
    [
        ("Where was he born?", "Where was Bo Ra born?"),
        ("Who is his spouse?", "Who is Bo Ra's spouse?"),
        ("Who married her?", "Who married Bo Ra?"),
        ("Who was her teacher?", "Who was Bo Ra's teacher?"),
        ("Who lives there?", "Who lives in Bo Ra?"),
        ("Where was Al born?", "Where was Al born?"),
        ("Did he meet Al?", "Did he meet Al?"),
        ("Who was first?", "Who was first?"),
    ],
)
def test_the_last_answer_takes_the_place_of_an_open_pronoun(question: str, asked: str) -> None:
    found = within(question, ("user", "Who wrote Kototu?"), ("assistant", "Bo Ra"))
    assert found.text == asked
    assert len(found.warnings) == 1
    assert found.num_unread == (1 if asked != question else 2)


def test_a_long_answer_is_no_name_and_without_one_the_question_stays() -> None:
    assert within("Where was he born?", ("assistant", "x " * 100)).text == "Where was he born?"
    assert within("Where was he born?", ("assistant", "two\nlines")).text == "Where was he born?"
    assert within("Where was he born?", ("user", "Who?")).text == "Where was he born?"
    assert within("Where was he born?").warnings == ()


def test_the_newest_messages_that_fit_are_read() -> None:
    said = [("user", "a" * 30), ("assistant", "b" * 30), ("user", "c" * 30)]
    everything = within("Who?", *said, how="text")
    assert everything.text.splitlines() == [
        f"user: {'a' * 30}",
        f"assistant: {'b' * 30}",
        f"user: {'c' * 30}",
        "user: Who?",
    ]
    assert (everything.num_unread, everything.warnings) == (0, ())
    for room, unread in ((len(everything.text) - 1, 1), (60, 2), (10, 3)):
        found = within("Who?", *said, how="text", room=room)
        assert found.num_unread == unread
        assert str(unread) in found.warnings[0]
    assert within("Who?", *said, how="text", room=3) is None
    assert within("Who?", *said, how="none", room=3) is None
