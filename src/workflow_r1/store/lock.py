"""Locks on files: shared by the processes that use a thing, or held by one alone, which leaves its name."""

import contextlib
import json
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import IO

from workflow_r1.errors import UserError

try:
    import fcntl
except ImportError:  # Windows refuses to rename a file that is open: there the lock is not needed.
    fcntl = None  # type: ignore[assignment]


class FileLock:
    """A lock that ends with its process, however that ends.

    It locks nothing where its file cannot be made (a disk that is only read) or where the disk has no locks.

    Args:
        path: an empty file, made where absent.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None
        self.is_enforced = False
        """True where the lock is held and the system keeps others out; False also where the disk has no locks."""
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
            self.is_enforced = True
        return True

    def is_in_place(self) -> bool:
        """Return whether the locked file still stands under its name: its last holder may delete it."""
        if self._file is None:
            return True
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), self._path.stat())
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Release it, and close its file."""
        self.is_enforced = False
        if self._file is not None:
            self._file.close()
            self._file = None


@dataclass(frozen=True, slots=True)
class Owner:
    """The process that holds a lock alone, as it describes itself in the lock's file."""

    pid: int
    """Its number."""
    host: str
    """The machine it runs on."""
    boot: str
    """Identity of the machine's start; empty where the system gives none."""
    command: str
    """Command line of the process, without values that may be secret."""
    since: str
    """Time at which it took the lock."""

    @classmethod
    def current(cls) -> "Owner":
        """Describe this process."""
        words = [word for word in sys.argv[1:] if "=" not in word and "://" not in word]
        return cls(
            pid=os.getpid(),
            host=platform.node(),
            boot=_boot(),
            command=" ".join([Path(sys.argv[0]).name, *words])[:200],
            since=datetime.now().astimezone().isoformat(timespec="seconds"),
        )

    @classmethod
    def read(cls, file: Path) -> "Owner | None":
        """Read the process that a lock's file names; None where it names no process yet."""
        try:
            return cls(**json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def is_known_dead(self) -> bool:
        """Return True where the process is certainly gone: it ran on this machine, which has started anew or no longer
        knows it.
        """
        if self.host != platform.node() or os.name != "posix":
            return False
        if self.boot != _boot():
            return True
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} ({self.command}), since {self.since}"


@contextmanager
def held_alone(file: Path, *, place: Path) -> Iterator[Owner | None]:
    """Hold a lock alone for the time of the context, and say so in its file, which goes at the end.

    The system ends the lock with the process: a killed process leaves its file, but no lock. Where a disk has no locks,
    the contents of the file decide: a process of this machine that has ended holds nothing.

    Args:
        file: the lock's file; its folder is made where absent.
        place: name of the held thing, for the message.

    Yields:
        The process that left the lock's file behind and has certainly ended, by a kill for example; usually None. A copy of
        the folder names a process that is at work in the original.

    Raises:
        UserError: another process holds it, or may.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(file)
    while True:
        if not lock.take_alone():
            owner = Owner.read(file)
            lock.release()
            raise UserError(
                f"expected to be alone in {place}, but {owner or 'another process'} is at work there. Wait until it ends, end "
                f"it, or choose another place; the lock ends with the process"
            )
        if lock.is_in_place():
            break
        lock.release()
        lock = FileLock(file)
    try:
        left = Owner.read(file)
        if not lock.is_enforced and left is not None and not left.is_known_dead():
            raise UserError(
                f"expected to be alone in {place}, but {left} says that it is at work there. This disk has no "
                f"locks, so {platform.node()} cannot see whether it still runs: if it does not, delete {file}"
            )
        file.write_text(json.dumps(asdict(Owner.current())) + "\n", encoding="utf-8")
        try:
            yield left if left is not None and left.is_known_dead() else None
        finally:
            with contextlib.suppress(OSError):
                file.unlink()
    finally:
        lock.release()


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
