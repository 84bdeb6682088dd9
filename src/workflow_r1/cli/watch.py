"""``workflow-r1 watch``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workflow_r1.cli.parameters import AllowHost, Host, Port

if TYPE_CHECKING:
    from workflow_r1.running.terminal import Terminal
    from workflow_r1.viewing.reading import Reading


def watch(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help="Directories of runs or evaluations, or files of trajectories; several are compared.",
            show_default=False,
        ),
    ],
    host: Host = "127.0.0.1",
    port: Port = 8090,
    allow_host: AllowHost = None,
    terminal: Annotated[bool, typer.Option("--terminal", help="Show a compact view here, and serve nothing.")] = False,
    export: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the page as one HTML file, and serve nothing.", show_default=False),
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, metavar="N", help="Most trajectories of each run in the file of --export.")
    ] = 1000,
) -> None:
    """Look at runs in a browser, at work or ended: trajectories with their workflows, curves, alarms, comparisons.

    The server only reads, and the page updates by itself.
    """
    from workflow_r1.errors import UserError
    from workflow_r1.running.http_server import require_server
    from workflow_r1.running.terminal import Terminal
    from workflow_r1.viewing.reading import Reading
    from workflow_r1.viewing.source import Source

    console = Terminal()
    if export is not None and terminal:
        raise UserError("expected one of --export and --terminal, received both")
    if export is None and not terminal:
        require_server("watch")
    with console.status("reading"):
        reading = Reading([Source(run) for run in runs])
    if export is not None:
        _export(reading, export, limit, console)
    elif terminal:
        _show(reading, console)
    else:
        _serve(reading, host, port, allow_host or [], console)


def _export(reading: "Reading", path: Path, limit: int, console: "Terminal") -> None:
    from workflow_r1.viewing.export import export_page

    with console.status("writing"):
        num = export_page(reading, path, limit=limit)
    size = path.stat().st_size / 1e6
    console.print(f"{path}: {num:,} trajectories, {size:.1f} MB", markup=False, highlight=False, soft_wrap=True)


def _show(reading: "Reading", console: "Terminal") -> None:
    import time

    from rich.live import Live

    from workflow_r1.viewing.terminal import draw

    if not console.is_terminal or not any(source.is_at_work for source in reading.sources):
        console.print(draw(reading))
        return
    try:
        with Live(draw(reading), console=console, auto_refresh=False) as live:
            while any(source.is_at_work for source in reading.sources):
                time.sleep(2)
                reading.state()
                live.update(draw(reading), refresh=True)
    except KeyboardInterrupt:
        pass


def _serve(reading: "Reading", host: str, port: int, hosts: list[str], console: "Terminal") -> None:
    from workflow_r1.running.http_server import address_of, listen, serve_until_stopped
    from workflow_r1.services.admission import AdmissionRules
    from workflow_r1.viewing.server import make_viewer

    with listen(host, port) as listening:
        app = make_viewer(reading, rules=AdmissionRules(hosts=tuple(hosts)))
        num = sum(len(file.index.rows) for source in reading.sources for file in source.files)
        for line in (f"{num:,} trajectories at {address_of(listening)}", "  Ctrl-C stops it"):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        if host not in ("127.0.0.1", "::1", "localhost"):
            told = f"anyone who reaches {host} can read these runs: questions, answers and configuration"
            console.print(told, style="yellow", markup=False, highlight=False, soft_wrap=True)
        serve_until_stopped(app, listening)
    console.print("stopped", style="dim")
