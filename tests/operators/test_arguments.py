"""Reading of a call's input."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow_r1.operators.arguments import Argument, parse_arguments, render_usage

QUESTION = Argument("question", is_list=False)
SOLUTION = Argument("solution", is_list=False)
SOLUTIONS = Argument("solution", is_list=True)
SOLE = (QUESTION,)
PAIR = (QUESTION, SOLUTION)
LIST = (QUESTION, SOLUTIONS)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Who?", "Who?"),
        ("  Who?\n", "Who?"),
        ("<question> Who? </question>", "Who?"),
        ("<question>a</question> b", "<question>a</question> b"),
        ("<question>a</question><question>b</question>", "<question>a</question><question>b</question>"),
        ("<question>a", "<question>a"),
        ("</question>", "</question>"),
        ("<question>", "<question>"),
        ("<solution>a</solution>", "<solution>a</solution>"),
    ],
)
def test_a_sole_text_takes_the_whole_input(text: str, value: str) -> None:
    parsed = parse_arguments(text, SOLE)
    assert parsed.values == {"question": value}
    assert parsed.problems == ()


@pytest.mark.parametrize("text", ["", " \n", "<question></question>", "<question> </question>"])
def test_a_sole_text_is_not_empty(text: str) -> None:
    assert parse_arguments(text, SOLE).problems == ("the question is empty",)


@pytest.mark.parametrize(
    "text",
    [
        "<question>q</question> <solution>s</solution>",
        "<solution> s </solution>\n<question>\nq</question>\n",
        "<question>q</question><solution>s</solution>",
    ],
)
def test_tagged_arguments_in_any_order(text: str) -> None:
    parsed = parse_arguments(text, PAIR)
    assert parsed.values == {"question": "q", "solution": "s"}
    assert parsed.problems == ()


def test_other_tags_inside_an_argument_are_text() -> None:
    parsed = parse_arguments("<question>q <solution> </b></question><solution>s</solution>", PAIR)
    assert parsed.values == {"question": "q <solution> </b>", "solution": "s"}


def test_lists_keep_their_order() -> None:
    parsed = parse_arguments("<solution>b</solution><question>q</question><solution>a</solution>", LIST)
    assert parsed.values == {"question": "q", "solution": ["b", "a"]}


@pytest.mark.parametrize(
    ("text", "arguments", "problems"),
    [
        ("", PAIR, ("<question> is missing", "<solution> is missing")),
        ("<question>q</question>", PAIR, ("<solution> is missing",)),
        ("<question>q</question><solution> </solution>", PAIR, ("<solution> is empty",)),
        ("<question>q</question><solution>s", PAIR, ("<solution> is never closed",)),
        ("<question>q<solution>s</solution>", PAIR, ("<question> is never closed", "<solution> is missing")),
        ("x<question>q</question><solution>s</solution>", PAIR, ("there is text outside the tags",)),
        ("<question>q</question>x<solution>s</solution>", PAIR, ("there is text outside the tags",)),
        ("<question>q</question><solution>s</solution>x", PAIR, ("there is text outside the tags",)),
        ("<question>q</question></question><solution>s</solution>", PAIR, ("there is text outside the tags",)),
        (
            "<question>q</question><question>q</question><solution>s</solution>",
            PAIR,
            ("<question> is given more than once",),
        ),
        ("<question>q</question><solution>s</solution>", LIST, ("<solution> is needed two or more times",)),
        ("<question>q</question><solution>s</solution><solution></solution>", LIST, ("<solution> is empty",)),
        ("who?", PAIR, ("there is text outside the tags", "<question> is missing", "<solution> is missing")),
    ],
)
def test_problems(text: str, arguments: tuple[Argument, ...], problems: tuple[str, ...]) -> None:
    assert parse_arguments(text, arguments).problems == problems


def test_usage() -> None:
    assert render_usage(SOLE) == "the question"
    assert render_usage(PAIR) == "<question>...</question> <solution>...</solution>"
    assert render_usage((SOLUTIONS,)) == "<solution>...</solution> <solution>...</solution> ..."


FRAGMENTS = st.sampled_from(
    [
        "<question>",
        "</question>",
        "<solution>",
        "</solution>",
        "<",
        ">",
        "/",
        " ",
        "\n",
        "a",
        "\ud800",
        "\x00",
        "ש",
        "<info>",
    ]
)


@given(st.lists(FRAGMENTS | st.text(max_size=5), max_size=30).map("".join), st.sampled_from([SOLE, PAIR, LIST]))
def test_any_string_gives_all_arguments_or_a_problem(text: str, arguments: tuple[Argument, ...]) -> None:
    parsed = parse_arguments(text, arguments)
    if parsed.problems:
        return
    assert set(parsed.values) == {argument.name for argument in arguments}
    for argument in arguments:
        value = parsed.values[argument.name]
        texts = value if isinstance(value, list) else [value]
        assert isinstance(value, list) == argument.is_list
        assert all(item and item == item.strip() and item in text for item in texts)
        assert len(texts) >= (2 if argument.is_list else 1)


PLAIN = st.text(st.characters(exclude_characters="<>"), min_size=1).map(str.strip).filter(bool)


@given(PLAIN, st.lists(PLAIN, min_size=2, max_size=5))
def test_what_was_written_is_read_back(question: str, solutions: list[str]) -> None:
    text = f"<question>{question}</question> " + " ".join(f"<solution>{solution}</solution>" for solution in solutions)
    assert parse_arguments(text, LIST).values == {"question": question, "solution": solutions}


@pytest.mark.parametrize(
    "unit", ["<question>", "</question>", "<question>q</question>", "<", "<question> ", "a<solution>"]
)
def test_time_is_linear(unit: str) -> None:
    def seconds(num: int) -> float:
        best = float("inf")
        for _ in range(3):
            started = time.process_time()
            parse_arguments(unit * num, LIST)
            best = min(best, time.process_time() - started)
        return best

    assert seconds(40_000) < 40 * max(seconds(4_000), 1e-4)
