"""A lock on a file: shared by the processes that use something, or held by one alone."""

import contextlib
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows refuses to rename a file that is open, so there it is not needed.
    fcntl = None  # type: ignore[assignment]


class FileLock:
    """A lock that ends with its process, however that ends.

    It locks nothing where its file cannot be made (a disk that is only read) or where the disk has no locks.

    Args:
        path: an empty file, made where absent.
    """

    def __init__(self, path: Path) -> None:
        self._file: IO[bytes] | None = None
        if fcntl is not None:
            with contextlib.suppress(OSError):
                self._file = path.open("ab")

    def share(self) -> None:
        """Hold the lock together with others; waits while one holds it alone."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                fcntl.flock(self._file, fcntl.LOCK_SH)

    def take_alone(self) -> bool:
        """Hold the lock alone where nobody else holds it. Where this fails, it is not held at all."""
        if self._file is not None:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                fcntl.flock(self._file, fcntl.LOCK_UN)
                return False
            except OSError:
                return True
        return True

    def release(self) -> None:
        """Hold it no longer, and close its file."""
        if self._file is not None:
            self._file.close()
            self._file = None
