"""Tables on the terminal."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text


def print_table(
    console: Console, title: str, header: Sequence[str], rows: Iterable[Sequence[str]], *, num_names: int = 1
) -> None:
    """Print a table: first column to the left, the others to the right. Cells are text, never markup.

    Where it is too wide, the words of its header stand below each other, and the columns closer; then a value that
    every row shares stands once, below the table; then the columns follow in parts, each with the names of its rows. No
    cell is ever cut: a figure that cannot be read is worth less than a line that the terminal wraps.

    Args:
        console: console of the table.
        title: title above the table.
        header: heads of the columns.
        rows: cells, a text for each column.
        num_names: number of first columns that name a row.
    """
    cells = [list(row) for row in rows]
    table = _table(title, header, cells)
    if _width(console, table) <= console.width:
        _print(console, table)
        return

    def part(columns: Sequence[int], title: str) -> Table:
        stacked = [header[column].replace(" ", "\n") for column in columns]
        return _table(title, stacked, [[row[column] for column in columns] for row in cells], gap=1)

    columns = list(range(len(header)))
    same: list[str] = []
    for column in reversed(columns[1:]):
        if len(cells) < 2 or _width(console, part(columns, title)) <= console.width:
            break
        if len({row[column] for row in cells}) == 1:
            columns.remove(column)
            same.insert(0, f"{header[column]}: {cells[0][column]}")
    names = [column for column in columns if column < num_names]
    rest = columns[len(names) :]
    while rest:
        num = len(rest)
        while num > 1 and _width(console, part([*names, *rest[:num]], title)) > console.width:
            num -= 1
        _print(console, part([*names, *rest[:num]], title))
        rest, title = rest[num:], ""
    if same:
        console.print(f"in every row: {'; '.join(same)}\n", style="dim", markup=False, highlight=False, soft_wrap=True)


def _print(console: Console, table: Table) -> None:
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
