"""Tables on the terminal."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

WIDEST = 1000
"""Characters of the widest table that is written whole."""


def print_table(console: Console, title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table: first column to the left, the others to the right. Cells are text, never markup.

    A table that is too wide for the terminal is not cut: figures that are half there mislead.
    """
    table = Table(
        box=None, padding=(0, 2, 0, 0), header_style="dim", title=Text(title, style="bold"), title_justify="left"
    )
    for index, name in enumerate(header):
        table.add_column(Text(name), justify="left" if index == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    needed = Measurement.get(console, console.options.update(max_width=WIDEST), table).maximum
    width = console.width
    console.width = max(width, needed)
    try:
        console.print(table)
    finally:
        console.width = width
    console.print()
