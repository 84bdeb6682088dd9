"""One process at a time in a run directory."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workflow_r1.errors import UserError
from workflow_r1.recording.atomic import remove_unfinished
from workflow_r1.store.lock import FileLock, Owner, held_alone

LOCK = ".lock"
"""File of a run directory that names the process at work in it."""


@contextmanager
def hold_run_directory(directory: Path) -> Iterator[Owner | None]:
    """Hold a run directory alone for the time of the context; half-written files of a killed process are removed.

    Args:
        directory: made where absent.

    Yields:
        The process that ended there without giving the lock back, killed for example; None usually.

    Raises:
        UserError: another process is at work there; the message names it.
    """
    with held_alone(directory / LOCK, place=directory) as left:
        remove_unfinished(directory)
        yield left


def require_idle(directory: Path) -> None:
    """Refuse a run directory in which a process is at work, so that no half-written state is copied; nothing is written.

    Raises:
        UserError: a process is at work there; the message names it. A disk without locks shows none.
    """
    if not (directory / LOCK).is_file():
        return
    lock = FileLock(directory / LOCK)
    try:
        if not lock.take_alone():
            owner = Owner.read(directory / LOCK) or "another process"
            raise UserError(f"expected nobody at work in {directory}, but {owner} is. Wait until it ends, or end it")
    finally:
        lock.release()
