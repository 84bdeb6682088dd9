"""The policy's text becomes an action by the server's schema of actions."""

import pytest

from workflow_r1.tasks.openenv.actions import ActionSchema, UnreadableActionError

METADATA = {"type": "object", "additionalProperties": True}


def schema(required=(), **properties):
    return ActionSchema.read({"properties": {"metadata": METADATA, **properties}, "required": list(required)})


TEXT = schema(["message"], message={"type": "string"})
NUMBER = schema(["number"], number={"type": "integer", "minimum": 1, "maximum": 20, "description": "the guess"})
MOVE = schema(["row", "column"], row={"type": "integer"}, column={"type": "integer"})
TOOL = schema(["code"], code={"type": "string"}, language={"anyOf": [{"type": "string"}, {"type": "null"}]})
ANY = ActionSchema.read({})


@pytest.mark.parametrize(
    ("kind", "text", "action"),
    [
        (TEXT, "  hello there ", {"message": "hello there"}),
        (TEXT, '{"message": "hello"}', {"message": "hello"}),
        (TEXT, '{"other": 1}', {"message": '{"other": 1}'}),  # JSON of another shape is the text itself.
        (TEXT, "[1, 2]", {"message": "[1, 2]"}),
        (NUMBER, "7", {"number": 7}),
        (NUMBER, '{"number": "7"}', {"number": "7"}),  # The server decides.
        (MOVE, '{"row": 1, "column": 2, "more": 3}', {"row": 1, "column": 2, "more": 3}),
        (TOOL, "print(1)", {"code": "print(1)"}),
        (TOOL, '{"code": "1", "language": "r"}', {"code": "1", "language": "r"}),
        (ANY, '{"x": [1]}', {"x": [1]}),
        (schema(["flag"], flag={"type": "boolean"}), "True", {"flag": True}),
        (schema(["items"], items={"type": "array"}), "[1, 2]", {"items": [1, 2]}),
        (schema(x={"$ref": "#/x"}), "y", {"x": "y"}),  # A type that is not understood takes the text.
    ],
)
def test_text_becomes_an_action(kind, text, action):
    assert kind.action(text) == action


@pytest.mark.parametrize(
    ("kind", "text", "usage"),
    [
        (NUMBER, "seven", "number (integer, at least 1 and at most 20, the guess)"),
        (MOVE, "1 2", "a JSON object with row (integer), column (integer)"),
        (MOVE, "[" * 100_000, "a JSON object with row"),
        (ANY, "x", "a JSON object"),
        (schema(["flag"], flag={"type": "boolean"}), "maybe", "flag (boolean)"),
    ],
)
def test_text_that_is_no_action_is_answered_with_what_to_write(kind, text, usage):
    with pytest.raises(UnreadableActionError) as refused:
        kind.action(text)
    assert f"Write {usage}" in str(refused.value)


def test_usage_names_optional_fields_and_choices():
    assert TOOL.usage() == "code (string), or a JSON object with code (string), language (string, optional)"
    assert schema(["to"], to={"type": "string", "enum": ["n", "s"]}).usage() == "to (string, one of n, s)"
