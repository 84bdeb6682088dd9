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


def test_a_wide_table_tells_once_what_is_the_same_and_goes_on_below() -> None:
    lines = printed(32)
    assert "in every row: cost (USD): unknown" in lines
    assert max(map(len, lines[:-2])) <= 32
    assert [line.split()[0] for line in lines if line.startswith(("Multi", "all"))] == [
        "MultiAnswerGenerate",
        "all",
    ] * 2


def test_every_part_of_a_wide_table_names_its_rows() -> None:
    file = io.StringIO()
    header = ["method", "benchmark", *(f"column {number}" for number in range(12))]
    rows = [[f"m{row}", "nq", *(f"{row}.{number:04}" for number in range(12))] for row in range(2)]
    print_table(Terminal(file=file, width=40), "many", header, rows, num_names=2)
    lines = [line.rstrip() for line in file.getvalue().splitlines()]
    assert max(map(len, lines)) <= 40
    parts = [line.split() for line in lines if line.startswith("m1")]
    assert len(parts) > 1
    assert all(part[0] == "m1" for part in parts)
    assert [cell for part in parts for cell in part if "." in cell] == [f"1.{number:04}" for number in range(12)]
