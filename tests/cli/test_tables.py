"""Tables on the terminal."""

import io

from workflow_r1.cli.tables import print_table
from workflow_r1.cli.terminal import Terminal


def test_a_table_that_is_too_wide_is_written_whole() -> None:
    written = io.StringIO()
    console = Terminal(file=written, width=20)
    print_table(console, "title", ["", *["1234567890"] * 5], [["name", *["1,234,567"] * 5]])
    lines = written.getvalue().splitlines()
    assert lines[1].split() == ["1234567890"] * 5
    assert lines[2].split() == ["name", *["1,234,567"] * 5]
    assert console.width == 20
