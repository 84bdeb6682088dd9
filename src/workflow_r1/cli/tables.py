"""Tables on the terminal."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text


def print_table(console: Console, title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table: first column to the left, the others to the right. Cells are text, never markup.

    Where it is too wide, the words of its header stand below each other, and the columns closer. No cell is ever cut: a
    figure that cannot be read is worth less than a line that the terminal wraps.
    """
    cells = [list(row) for row in rows]
    table = _table(title, header, cells)
    if _width(console, table) > console.width:
        table = _table(title, [name.replace(" ", "\n") for name in header], cells, gap=1)
    table.width = _width(console, table)
    console.print(table, width=max(console.width, table.width), crop=False, no_wrap=True, overflow="ignore")
    console.print()


def _table(title: str, header: Sequence[str], rows: Iterable[Sequence[str]], *, gap: int = 2) -> Table:
    table = Table(
        box=None, padding=(0, gap, 0, 0), pad_edge=False, header_style="dim", title=Text(title, style="bold"),
        title_justify="left",
    )  # fmt: skip
    for index, name in enumerate(header):
        table.add_column(Text(name), justify="left" if index == 0 else "right", vertical="bottom", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _width(console: Console, table: Table) -> int:
    return console.measure(table, options=console.options.update(max_width=10_000)).maximum
