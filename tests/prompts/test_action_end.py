"""End of a turn's first action, and the parts of it that the prompt opened."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow_r1.prompts import action_end, parse_turn, restore_opening

PIECES = ["<think>", "</think>", "<tool>", "</tool>", "<answer>", "</answer>", "<info>", "a", ": ", "\n"]


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("<think>a</think><tool>b: c</tool> more", "<think>a</think><tool>b: c</tool>"),
        ("<think>a</tool></answer></think><answer>b</answer>", "<think>a</tool></answer></think><answer>b</answer>"),
        ("<think>a</tool>", None),
        ("a<think>b</tool></think>c</tool>", "a<think>b</tool></think>c</tool>"),
        ("a</tool>b", "a</tool>"),
        ("<answer>a", None),
        ("", None),
    ],
)
def test_the_end_of_the_first_action(text, end):
    assert action_end(text) == (None if end is None else len(end))


@given(st.lists(st.sampled_from(PIECES), max_size=20).map("".join))
def test_cutting_at_the_end_of_an_action_changes_nothing_that_is_acted_on(text):
    parsed, end = parse_turn(text), action_end(text)
    if not parsed.malformed:
        assert end is not None
        cut = parse_turn(text[:end])
        assert (cut.think, cut.answer, cut.calls[:1]) == (parsed.think, parsed.answer, parsed.calls[:1])


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("why</think><tool>a: b</tool>", "<think>why</think><tool>a: b</tool>"),
        ("</think><answer>a</answer>", "<think></think><answer>a</answer>"),
        ("<think>a</think>", "<think>a</think>"),
        # The thought names an action before the turn's own.
        ("a <tool> b</tool>?</think><tool>a: b</tool>", "<think>a <tool> b</tool>?</think><tool>a: b</tool>"),
        ("<tool>a: b</tool><think>c</think>", "<tool>a: b</tool><think>c</think>"),
        ("no tag", "no tag"),
    ],
)
def test_what_the_prompt_opened(text, whole):
    assert restore_opening(text) == whole
