"""The application: its commands, and its treatment of errors.

Exit codes: 0 done; 1 a service failed, the disk is full, or a bug (with its traceback); 2 the user's mistake, with a
message alone; 3 the budget is used up; 4 another process of the same run was lost; 130 interrupted.
"""

import atexit
import errno
import logging
import os
import signal
import sys
from typing import Annotated, NoReturn

import typer

from workflow_r1.cli.ask import ask
from workflow_r1.cli.budget import EXIT_CODE
from workflow_r1.cli.data import data
from workflow_r1.cli.demonstrate import demonstrate
from workflow_r1.cli.doctor import doctor
from workflow_r1.cli.evaluate import evaluate
from workflow_r1.cli.export import export
from workflow_r1.cli.frontier import frontier
from workflow_r1.cli.graph import graph
from workflow_r1.cli.index import index
from workflow_r1.cli.operators import operators
from workflow_r1.cli.report import report
from workflow_r1.cli.rescore import rescore
from workflow_r1.cli.rollout import rollout
from workflow_r1.cli.serve import serve
from workflow_r1.cli.serve_env import serve_env
from workflow_r1.cli.serve_search import serve_search
from workflow_r1.cli.show import show
from workflow_r1.cli.store import store
from workflow_r1.cli.study import study
from workflow_r1.cli.tasks import tasks
from workflow_r1.cli.train import train, warmstart
from workflow_r1.cli.watch import watch
from workflow_r1.cli.world import world
from workflow_r1.engines.native.interrupt import interrupt
from workflow_r1.errors import BudgetExceededError, ProcessLostError, ServiceError, UserError
from workflow_r1.printable import printable
from workflow_r1.running.processes import EXIT_CODE as LOST
from workflow_r1.running.processes import is_launched, num_started, rank
from workflow_r1.version import __version__

OLD_SPELLINGS = {
    "benchmarks": "benchmark",
    "directory": "data",
    "methods": "method",
    "run-directory": "output",
    "seeds": "seed",
}
"""Options that had another name before: they still work, and no help shows them."""

app = typer.Typer(
    name="workflow-r1",
    help="Train a language model to build its workflow turn by turn, with GSsPO.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": lambda token: OLD_SPELLINGS.get(token, token),
    },
)
for command in (
    *(train, ask, serve, evaluate, report, watch, show, frontier, study, rollout, rescore, demonstrate, warmstart),
    *(world, operators, tasks, doctor, serve_search, serve_env, index),
):
    app.command()(command)
app.add_typer(data)
app.add_typer(export)
app.add_typer(graph)
app.add_typer(store)


def _show_version(requested: bool) -> None:
    if requested:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """Train a language model to build its workflow turn by turn, with GSsPO."""


def main() -> None:
    """Run the command line and turn errors into a message and an exit code."""
    if num_started() == 1:
        # The polite end of a job is the same as a person's. Among several processes their launcher passes it on.
        signal.signal(signal.SIGTERM, interrupt)
    elif is_launched() and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A launcher in the background ignores Ctrl-C, and so would its children, to which it passes everything on as Ctrl-C.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    logging.getLogger("asyncio").addFilter(_is_no_interrupt)
    # Once the process leaves, its exit code is settled: a Ctrl-C that comes later would kill it in place of that.
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
    try:
        app()
    except Exception as error:
        _leave(error)


def _is_no_interrupt(record: logging.LogRecord) -> bool:
    """Keep back asyncio's log of the tasks that a second Ctrl-C breaks off."""
    return record.exc_info is None or not isinstance(record.exc_info[1], KeyboardInterrupt)


def _leave(error: Exception) -> NoReturn:
    # A task group wraps even a single failure.
    cause: BaseException = error
    while isinstance(cause, ExceptionGroup):
        cause = next((inner for inner in cause.exceptions if isinstance(inner, UserError)), cause.exceptions[0])
    if isinstance(cause, ProcessLostError):
        _complain(str(cause), LOST, silent=is_launched())
    silent = num_started() > 1 and _is_told_elsewhere(cause)
    if isinstance(cause, UserError):
        _complain(str(cause), 2, silent=silent)
    if isinstance(cause, ServiceError):
        _complain(f"a service failed: {cause}", 1, silent=silent)
    if isinstance(cause, BudgetExceededError):
        _complain(str(cause), EXIT_CODE, silent=silent)
    if isinstance(cause, BrokenPipeError):
        # The reader of our output left (`... | head`): nothing more to say, not even at interpreter exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
        _complain(
            f"the disk is full ({cause.filename or 'while writing'}); free some space, then repeat the command or resume the run",
            1,
        )
    if isinstance(cause, PermissionError | NotADirectoryError | IsADirectoryError | FileExistsError) or (
        isinstance(cause, OSError) and cause.errno in (errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP)
    ):
        _complain(f"cannot use {cause.filename}: {cause.strerror}; choose another place", 2)
    raise error


def _complain(message: str, code: int, *, silent: bool = False) -> NoReturn:
    if not silent:
        who = f"rank {rank()}: " if rank() > 0 else ""
        typer.secho(f"{who}error: ", fg="red", bold=True, err=True, nl=False)
        typer.echo(printable(message), err=True)
    sys.exit(code)


def _is_told_elsewhere(error: BaseException) -> bool:
    """Return True where rank 0 reports the same error."""
    from workflow_r1.policy.distributed import is_told_by_all

    return rank() > 0 and is_told_by_all(error)
