"""Directories that are there whole or not at all, and a full disk said plainly."""

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workflow_r1.errors import UserError
from workflow_r1.trajectory.storage import UNFINISHED

SPARE_BYTES = 1 << 20
"""A disk with less room than this is full, however the failing library words its error."""


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Give a temporary directory to fill; on success it is flushed to the disk and becomes ``path`` in one step.

    An older ``path`` is replaced. On any failure the temporary directory is removed and ``path`` is as it was. The
    umask decides who may read the result, not the libraries that wrote the files.

    Raises:
        UserError: the disk is full.
    """
    with full_disk_explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _new_directory(path.parent)
        try:
            yield temporary
            readable = temporary.stat().st_mode & 0o666
            for entry in sorted(temporary.rglob("*")):
                if entry.is_file():
                    entry.chmod(readable)
                    _flush(entry)
            _flush(temporary)
            _take_place(temporary, path)
            _flush(path.parent)
        except Exception as error:
            # While the part that was written still fills it.
            _explain_if_full(error, path)
            raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _take_place(temporary: Path, path: Path) -> None:
    """Rename a directory to a name that another one may have; the other is deleted only once the new one stands there."""
    if not path.exists():
        temporary.rename(path)
        return
    doomed = _new_directory(path.parent)
    path.rename(doomed / path.name)
    try:
        temporary.rename(path)
    except BaseException:
        (doomed / path.name).rename(path)
        raise
    finally:
        shutil.rmtree(doomed, ignore_errors=True)


def remove_directory(path: Path) -> None:
    """Delete a directory; a crash half-way leaves no part of it under its name."""
    doomed = _new_directory(path.parent)
    path.rename(doomed / path.name)
    shutil.rmtree(doomed, ignore_errors=True)


def remove_unfinished(directory: Path) -> None:
    """Delete the remains of killed processes in a directory and below it; no process may be writing there."""
    for entry in list(directory.rglob(f"{UNFINISHED}*")):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def _new_directory(parent: Path) -> Path:
    directory = parent / f"{UNFINISHED}{secrets.token_hex(8)}"
    directory.mkdir()
    return directory


@contextmanager
def full_disk_explained(path: Path) -> Iterator[None]:
    """Turn the ways in which libraries report a full disk into one message.

    Raises:
        UserError: in place of an error that says that the device or quota is full.
    """
    try:
        yield
    except Exception as error:
        _explain_if_full(error, path)
        raise


def _explain_if_full(error: Exception, path: Path) -> None:
    """Raise the one message where a full disk is behind an error.

    Raises:
        UserError: it is.
    """
    if isinstance(error, UserError) or not _is_full(error, path):
        return
    raise UserError(
        f"expected room for {path}, but the disk is full ({_first_line(error)}). Nothing was left half-written: free some "
        f"space, or set `directory` to another disk, and resume"
    ) from None


def _is_full(error: BaseException, path: Path) -> bool:
    # An error of torch while it closes a file hides the error of writing it.
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    return any(_says_full(cause) for cause in causes) or (
        any(isinstance(cause, OSError | RuntimeError) for cause in causes) and _has_no_room(path)
    )


def _says_full(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    # safetensors and torch report through exceptions of their own, with the system's words or without them.
    text = str(error)
    return "No space left" in text or "os error 28" in text or "PytorchStreamWriter failed" in text


def _has_no_room(path: Path) -> bool:
    there = next(place for place in (path, *path.absolute().parents) if place.exists())
    return shutil.disk_usage(there).free < SPARE_BYTES


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
