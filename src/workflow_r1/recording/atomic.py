"""Directories that are there whole or not at all, and a full disk said plainly."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workflow_r1.errors import UserError

_PREFIX = ".unfinished-"


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Give a temporary directory to fill; on success it is flushed to the disk and becomes ``path`` in one step.

    An older ``path`` is replaced. On any failure the temporary directory is removed and ``path`` is as it was.

    Raises:
        UserError: the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=_PREFIX))
    try:
        with full_disk_explained(path):
            yield temporary
            for entry in sorted(temporary.rglob("*")):
                if entry.is_file():
                    _flush(entry)
            _flush(temporary)
            if path.exists():
                remove_directory(path)
            temporary.chmod(0o755)
            temporary.rename(path)
            _flush(path.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def remove_directory(path: Path) -> None:
    """Delete a directory so that a crash half-way leaves no part of it under its name."""
    doomed = Path(tempfile.mkdtemp(dir=path.parent, prefix=_PREFIX))
    path.rename(doomed / path.name)
    shutil.rmtree(doomed, ignore_errors=True)


def remove_unfinished(parent: Path) -> None:
    """Delete what a killed process left behind in ``parent``."""
    for entry in parent.glob(f"{_PREFIX}*"):
        shutil.rmtree(entry, ignore_errors=True)


@contextmanager
def full_disk_explained(path: Path) -> Iterator[None]:
    """Turn the ways in which libraries report a full disk into one message.

    Raises:
        UserError: in place of an error that says that the device or quota is full.
    """
    try:
        yield
    except Exception as error:
        if not _says_full(error):
            raise
        raise UserError(
            f"expected room for {path}, but the disk is full ({error}). Nothing was left half-written: free some space, "
            f"or set `directory` to another disk, and resume"
        ) from None


def _says_full(error: Exception) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    # safetensors and torch report through exceptions of their own, with the system's words or without them.
    text = str(error)
    return "No space left" in text or "os error 28" in text or "PytorchStreamWriter failed" in text


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
