"""Turns of a task, read in each of the three formats."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow_r1.tasks.actions import how_to_act, read_turn
from workflow_r1.tasks.task import Action

ACTIONS = {"Guess": "a whole number"}
THINK = "<think>t</think>"


def read(text, action_format="tags", *, actions=ACTIONS, operators=()):
    return read_turn(text, action_format, actions=actions, operators=operators)


def test_tags_hold_the_tasks_own_action():
    turn = read(f"{THINK}<tool>Guess: 17</tool>")
    assert (turn.action, turn.calls, turn.problem, turn.well_formed) == (Action("Guess", "17"), (), None, True)


def test_tags_hold_calls_of_operators_that_may_stand_side_by_side():
    turn = read(f"{THINK}<tool>Search: a</tool><tool>Search: b</tool>", operators=("Search",))
    assert turn.action is None
    assert [(call.operator, call.input) for call in turn.calls] == [("Search", "a"), ("Search", "b")]
    assert not turn.well_formed


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("no tags at all", "Nothing was run. Think first"),
        (f"{THINK}<tool>Guess: 1</tool><tool>Guess: 2</tool>", "one action in a turn"),
        (f"{THINK}<tool>Search: a</tool><tool>Guess: 2</tool>", "one action in a turn"),
        (f"{THINK}<answer>17</answer>", "takes no <answer>"),
        (f"{THINK}<tool>Gess: 17</tool>", "no such action. Actions: Guess, Search."),
    ],
)
def test_what_tags_do_not_hold_is_explained(text, problem):
    turn = read(text, operators=("Search",))
    assert turn.action is None and turn.calls == ()
    assert problem in turn.problem
    assert "<tool>Guess: ...</tool> with a whole number" in turn.problem
    assert turn.well_formed is (turn.unknown is not None) is ("Gess" in text)


def test_an_answer_is_an_action_where_the_task_takes_one():
    turn = read(f"{THINK}<answer>17</answer>", actions={"answer": "the number"})
    assert turn.action == Action("answer", "17") and turn.well_formed


def test_a_task_without_a_list_of_actions_takes_every_name():
    assert read(f"{THINK}<tool>Jump: far</tool>", actions={}).action == Action("Jump", "far")
    assert read(f"{THINK}<answer>x</answer>", actions={}).action == Action("answer", "x")


CALL = {"name": "Guess", "arguments": {"number": 17}}


@pytest.mark.parametrize(
    ("written", "well_formed"),
    [
        (json.dumps(CALL), True),
        (f"<tool_call>\n{json.dumps(CALL)}\n</tool_call>", True),
        (f"[TOOL_CALLS][{json.dumps(CALL)}]", True),
        (f"```json\n{json.dumps(CALL)}\n```", True),
        (json.dumps({"name": "Guess", "parameters": {"number": 17}}), True),
        (json.dumps({"type": "function", "function": CALL}), True),
        (json.dumps({"name": "Guess", "arguments": '{"number": 17}'}), True),
        (f"I call {json.dumps(CALL)}", False),
    ],
)
def test_json_is_read_in_the_shapes_that_models_write(written, well_formed):
    turn = read(f"{THINK}{written}", "json")
    assert turn.action == Action("Guess", '{"number": 17}', {"number": 17})
    assert turn.well_formed is well_formed


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("no object", "Nothing was run. Think first"),
        ('{"name": "Guess", ', "that is not JSON"),
        ('{"name": "Guess", "arguments": {"number": NaN}}', "that is not JSON"),
        ("[" * 3 + '{"a":' * 100_000, "that is not JSON"),
        ('{"arguments": {}}', "no name or no arguments"),
        ('{"name": "Guess", "arguments": [1]}', "no name or no arguments"),
        ('{"name": "Guess", "arguments": "seventeen"}', "no name or no arguments"),
        ('{"name": "Gess", "arguments": {}}', "no such action. Actions: Guess"),
    ],
)
def test_what_json_does_not_hold_is_explained(written, problem):
    turn = read(f"{THINK}{written}", "json")
    assert turn.action is None
    assert problem in turn.problem
    assert '{"name": "Guess", "arguments": {...}}' in turn.problem


def test_json_calls_operators_with_one_argument_as_it_stands_and_several_in_tags():
    one = read(THINK + json.dumps({"name": "Search", "arguments": {"query": "Jaws"}}), "json", operators=("Search",))
    assert [(call.operator, call.input) for call in one.calls] == [("Search", "Jaws")]
    two = json.dumps({"name": "Custom", "arguments": {"task": "add", "count": 2}})
    several = read(THINK + two, "json", operators=("Custom",))
    assert several.calls[0].input == "<task>add</task><count>2</count>"


def test_plain_text_is_everything_behind_the_thought():
    turn = read(f"{THINK}\n e2 e4 \n", "text")
    assert turn.action == Action("Guess", "e2 e4") and turn.well_formed
    bare = read("e2 e4", "text", actions={})
    assert bare.action == Action("", "e2 e4") and not bare.well_formed


@pytest.mark.parametrize("text", ["", "  ", THINK, "<think>never ends e2 e4"])
def test_plain_text_without_an_action_is_explained(text):
    turn = read(text, "text")
    assert turn.action is None
    assert "write your action alone: a whole number." in turn.problem


@given(
    text=st.lists(
        st.sampled_from([*'{}[]"\\:,x1 <>/', "<think>", "</think>", "<tool>", "</tool>", '"name"', "\ud800"])
    ).map("".join),
    action_format=st.sampled_from(["tags", "json", "text"]),
)
def test_any_string_is_read(text, action_format):
    turn = read(text, action_format, operators=("Search",))
    assert (turn.action is not None) + bool(turn.calls) + (turn.problem is not None) == 1


def test_instructions_name_all_that_can_be_written():
    told = how_to_act("tags", actions={"Guess": "a number", "answer": "the end"}, operators={"Search": "Search: query"})
    assert (
        "- <tool>Guess: ...</tool> with a number\n- <answer>...</answer> with the end\n- <tool>Search: query</tool>"
        in told
    )
