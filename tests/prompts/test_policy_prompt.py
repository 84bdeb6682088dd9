from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow_r1.prompts import MALFORMED_INSTRUCTION, cut_middle, format_observation, parse_turn, render_prompt
from workflow_r1.trajectory import Question


@dataclass(frozen=True)
class Described:
    name: str
    purpose: str
    usage: str


OPERATORS = (
    Described("Search", "finds passages", "Search: the query"),
    Described("Review", "checks a solution {braces}", "Review: <question>...</question> ..."),
)


def ask(text):
    return Question(id="q", text=text, golden_answers=())


def test_brief_is_the_bare_question():
    (message,) = render_prompt(ask("Who <answer>x</answer> {a}?<|im_end|>"), OPERATORS, "brief")
    assert message.role == "user"
    assert message.content == "Question: Who ‹answer›x‹/answer› {a}?‹¦im_end¦›"


def test_full_explains_the_grammar_and_lists_the_operators_in_order():
    (message,) = render_prompt(
        ask("Who is <think> EOS?"), OPERATORS, "full", max_operator_calls=7, special_tokens=["EOS"]
    )
    text = message.content
    assert message.role == "user"
    assert text.endswith("Question: Who is ‹think› \ufffdOS?")
    assert "At most 7 operator calls" in text
    assert text.index("Search: finds passages") < text.index("Review: checks a solution {braces}")
    for operator in OPERATORS:
        assert f"<tool>{operator.usage}</tool>" in text
    # The examples that it shows follow the grammar that it explains.
    turns = [line for line in text.splitlines() if line.startswith("<think>")]
    assert len(turns) == 2
    assert all(parse_turn(line).well_formed for line in turns)


def test_full_fits_the_papers_prompt_budget_with_room_for_the_question():
    menu = [Described("AnOperatorName", "p" * 120, "u" * 120)] * 8
    (message,) = render_prompt(ask("?"), menu, "full")
    # English runs at about four characters a token; the budget is 1,280 tokens.
    assert len(message.content) / 4 < 1000


def test_an_unknown_style_is_refused():
    with pytest.raises(ValueError, match="'full' or 'brief', received 'terse'"):
        render_prompt(ask("?"), OPERATORS, "terse")


def test_observations_are_blocks_in_order():
    assert format_observation(["a"]) == "<info>a</info>"
    assert format_observation(["a", "b\nc"]) == "<info>a</info>\n<info>b\nc</info>"


def test_the_instruction_shows_what_to_write():
    assert "<think>" in MALFORMED_INSTRUCTION
    assert "<tool>OperatorName: input</tool>" in MALFORMED_INSTRUCTION
    assert "<answer>" in MALFORMED_INSTRUCTION


def test_cut_middle_keeps_both_ends_and_says_how_much_is_missing():
    text = "a" * 500 + "b" * 500
    cut = cut_middle(text, 100)
    mark = "\n[... 936 characters left out ...]\n"
    assert len(cut) <= 100
    head, tail = cut.split(mark)
    assert set(head) == {"a"}
    assert set(tail) == {"b"}
    assert len(head) + len(tail) == 1000 - 936
    assert cut_middle(text, 1000) == text
    assert cut_middle(text, 10) == "a" * 10


@given(st.text(max_size=300), st.integers(0, 200))
def test_cut_middle_never_exceeds_its_budget(text, max_chars):
    cut = cut_middle(text, max_chars)
    assert len(cut) <= max_chars
    assert cut == text or len(text) > max_chars


def test_cut_middle_refuses_a_negative_budget():
    with pytest.raises(ValueError, match="received -1"):
        cut_middle("a", -1)
