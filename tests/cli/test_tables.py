"""Tables on terminals of several widths."""

import io

import pytest

from workflow_r1.cli.tables import print_table
from workflow_r1.running.terminal import Terminal

HEADER = ["", "LLM calls", "tokens in", "cost (USD)", "seconds"]
ROWS = [["MultiAnswerGenerate", "3.00", "176", "unknown", "0.38"], ["all", "4.00", "240", "unknown", "0.42"]]


def printed(width: int) -> list[str]:
    file = io.StringIO()
    print_table(Terminal(file=file, width=width), "per trajectory", HEADER, ROWS)
    return [line.rstrip() for line in file.getvalue().splitlines()]


@pytest.mark.parametrize("width", [20, 50, 60, 80])
def test_no_cell_and_no_word_of_the_header_is_ever_cut(width: int) -> None:
    text = "\n".join(printed(width))
    assert "…" not in text
    for part in (*["LLM", "calls", "tokens", "in", "cost", "(USD)", "seconds"], *ROWS[0], *ROWS[1]):
        assert part in text


def test_a_narrow_terminal_gets_the_words_of_the_header_below_each_other() -> None:
    assert printed(80)[1].split() == ["LLM", "calls", "tokens", "in", "cost", "(USD)", "seconds"]
    lines = printed(50)
    assert lines[1].split() == ["LLM", "tokens", "cost"]
    assert lines[2].split() == ["calls", "in", "(USD)", "seconds"]
    assert max(map(len, lines)) <= 50
