"""Locks on files: shared by the processes that use something, or held by one alone, who says that it is the one."""

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
except ImportError:  # Windows refuses to rename a file that is open, so there it is not needed.
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
        """Whether the lock is held and the system keeps others out; False as well where the disk has no locks."""
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
        """Return whether the file that is locked is the one that stands under its name: its last holder may delete it."""
        if self._file is None:
            return True
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), self._path.stat())
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Hold it no longer, and close its file."""
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
    """Which start of the machine; empty where the system does not say."""
    command: str
    """What it was started with; values that may be secret are left out."""
    since: str
    """When it took the lock."""

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
        """Read who a lock's file names; None where it names nobody yet."""
        try:
            return cls(**json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def is_known_dead(self) -> bool:
        """Return whether the process is certainly gone: it ran on this machine, which has started anew or knows it no more."""
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

    The system keeps the lock and ends it with the process: one that was killed leaves its file, and no lock. Where a disk has
    no locks, what the file says decides: a process of this machine that is gone holds nothing.

    Args:
        file: of the lock; its folder is made where absent.
        place: what is held, for the message.

    Yields:
        Who left the lock's file behind and is certainly gone, killed for example; None usually. A copy of the folder names a
        process that is at work in the original.

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
                f"expected to be alone in {place}, but {left} says that it is at work there. This disk has no locks, so that it "
                f"cannot be seen from {platform.node()} whether it still runs: where it does not, delete {file}"
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
