"""``workflow-r1 store``: look into the store of calls, and tidy it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workflow_r1.errors import UserError, found_at

if TYPE_CHECKING:
    from workflow_r1.store import CallDatabase

store = typer.Typer(name="store", help="Look into the store of calls, and tidy it.", no_args_is_help=True)

Place = Annotated[
    Path | None,
    typer.Argument(metavar="FILE", help="The store. Default: store/calls.sqlite3.", show_default=False),
]


@store.command()
def show(path: Place = None) -> None:
    """Show the number of stored calls, their models, and the room that they take."""
    from rich.table import Table

    from workflow_r1.running.terminal import Terminal

    with _opened(path, read_only=True) as database:
        sizes = database.sizes()
        room = sum(part.stat().st_size for part in database.path.parent.glob(f"{database.path.name}*"))
        asides = list(database.path.parent.glob(f"{database.path.name}.damaged-*"))
        table = Table(title=f"{sum(row[2] for row in sizes)} calls in {database.path}, {room / 1e6:.1f} MB")
        for name in ("service", "model or search", "calls", "text, MB"):
            table.add_column(name, justify="left" if name in ("service", "model or search") else "right")
        for service, model, number, num_chars in sizes:
            table.add_row(service, model, str(number), f"{num_chars / 1e6:.1f}")
    console = Terminal()
    console.print(table)
    if asides:
        console.print(f"{len(asides)} damaged files were set aside: {', '.join(aside.name for aside in asides)}")


@store.command()
def clear(
    path: Place = None,
    model: Annotated[
        str | None, typer.Option(help="Only the calls of this model or search.", show_default=False)
    ] = None,
    older_than: Annotated[
        float | None, typer.Option(metavar="DAYS", min=0.0, help="Only calls stored longer ago.", show_default=False)
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete calls: all, those of one model, or the old ones."""
    import time

    with _opened(path) as database:
        if not yes:
            which = "all calls" if model is None and older_than is None else "these calls"
            typer.confirm(f"Delete {which} from {database.path}? They will be asked, and paid for, again", abort=True)
        before = None if older_than is None else time.time() - older_than * 86_400
        num = database.delete(model=model, stored_before=before)
    typer.echo(f"{num} calls deleted")


@store.command()
def export(
    output: Annotated[Path, typer.Option("--output", metavar="FILE", help="JSONL of calls; must not exist yet.")],
    path: Place = None,
) -> None:
    """Write every call with its reply into a JSONL file."""
    import json

    if output.exists():
        raise UserError(f"expected a new file, but {output} exists; choose another --output")
    num = 0
    with _opened(path, read_only=True) as database:
        output.parent.mkdir(parents=True, exist_ok=True)
        file = output.open("x", encoding="utf-8")
        try:
            with file:
                for call in database.rows():
                    num += 1
                    row = {
                        "key": call.key,
                        "service": call.service,
                        "model": call.model,
                        "stored_at": call.stored_at,
                        "request": json.loads(call.request),
                        "reply": json.loads(call.reply),
                    }
                    file.write(json.dumps(row) + "\n")
        except BaseException:
            # A part of the calls would look like all of them.
            output.unlink()
            raise
    typer.echo(f"{num} calls in {output}")


@contextmanager
def _opened(path: Path | None, *, read_only: bool = False) -> "Iterator[CallDatabase]":
    from workflow_r1.store import CallDatabase
    from workflow_r1.store.config import DEFAULT_PATH

    place = DEFAULT_PATH if path is None else path
    if not place.is_file():
        raise UserError(f'expected a store of calls, found {found_at(place)}; a run with store.mode = "use" makes one')
    database = CallDatabase(place, read_only=read_only)
    try:
        yield database
    finally:
        database.close()
