"""The file of the store: an SQLite database that several processes read and write at once.

A damaged file is renamed, and a new one is made of what can still be read. Renaming a database that another process has
open would leave two files behind one name. Every process that has the store open therefore holds a shared lock on
``NAME.lock`` beside it, and only a process that holds this lock alone renames the database.
"""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from workflow_r1.errors import StoreError, found_at
from workflow_r1.store.connection import (
    BUSY_SECONDS,
    COLUMNS,
    DamageError,
    StoredCall,
    checksum,
    insert,
    is_damage,
    open_file,
    open_read_only,
)
from workflow_r1.store.lock import FileLock
from workflow_r1.store.repair import set_aside

_T = TypeVar("_T")


class CallDatabase:
    """Rows by key, in one file. Several threads may share an object; it belongs to one process.

    Reading never waits for a writer. Trouble without damage (a full disk, a write-protected file) is an
    ``sqlite3.Error`` of the one call that met it.

    Args:
        path: the file; it and its directory are made where absent, unless ``read_only``.
        read_only: only read. A damaged file then stays where it is.

    Raises:
        StoreError: there is nothing to read, the file cannot be opened, it belongs to another program, or it is damaged
            and must not or cannot be renamed.
    """

    def __init__(self, path: Path | str, *, read_only: bool = False) -> None:
        self.path = Path(path).absolute()
        self.read_only = read_only
        # Two connections with a lock each: reading does not wait until this process's own writing is done.
        self._reading, self._writing = threading.Lock(), threading.Lock()
        self._reader: sqlite3.Connection | None = None
        self._writer: sqlite3.Connection | None = None
        self._file_id: int | None = None
        if read_only and not self.path.is_file():
            raise StoreError(f"expected a store of calls to read, found {found_at(self.path)}; record one first")
        try:
            if not read_only:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(self.path.with_name(f"{self.path.name}.lock"))
        except OSError as error:
            raise self._unusable(error.strerror or str(error)) from None
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def get(self, key: str) -> str | None:
        """Return the reply stored under a key; None where no call has it."""

        def read() -> str | None:
            with self._reading:
                found = _connected(self._reader).execute("SELECT reply, checksum FROM calls WHERE key = ?", (key,))
                row = found.fetchone()
            if row is not None and row[1] != checksum(key, row[0]):
                raise DamageError(f"row {key[:12]}... differs from what was stored")
            return None if row is None else str(row[0])

        return self._repairing(read)

    def put(self, call: StoredCall, *, replace: bool) -> str:
        """Store a call, and return the reply that now stands under its key.

        Args:
            call: the call to store. It is on its way to the disk when this returns: only a loss of power can undo it.
            replace: True lets it take the place of a stored call. Otherwise the stored one stays, and its reply is returned.
        """

        def write() -> bool:
            with self._writing:
                return insert(_connected(self._writer), call, "REPLACE" if replace else "IGNORE")

        is_new = self._repairing(write)
        return call.reply if is_new else self.get(call.key) or call.reply

    def rows(self) -> Iterator[StoredCall]:
        """Read everything, the oldest first."""
        with self._reading:
            for row in _connected(self._reader).execute(f"SELECT {COLUMNS} FROM calls ORDER BY rowid"):
                yield StoredCall(*row)

    def sizes(self) -> list[tuple[str, str, int, int]]:
        """Return service, model, number of calls and characters of text of each model, the largest first."""
        with self._reading:
            return (
                _connected(self._reader)
                .execute(
                    "SELECT service, model, count(*), sum(length(request) + length(reply)) AS size FROM calls "
                    "GROUP BY service, model ORDER BY size DESC"
                )
                .fetchall()
            )

    def delete(self, *, model: str | None = None, stored_before: float | None = None) -> int:
        """Delete the calls of a model, or those stored before a time, or those to which both apply; without either, all.

        The disk gets the room back where no other process has the store open.

        Returns:
            The number of deleted calls.
        """
        with self._writing:
            writer = _connected(self._writer)
            done = writer.execute(
                "DELETE FROM calls WHERE (:model IS NULL OR model = :model) AND (:before IS NULL OR stored_at < :before)",
                {"model": model, "before": stored_before},
            )
            if self._lock.take_alone():
                writer.execute("VACUUM")
            self._lock.share()
        return done.rowcount

    def close(self) -> None:
        """Close the file."""
        with self._writing, self._reading:
            self._disconnect()
            self._lock.release()

    def _open(self, damage: str | None = None) -> None:
        """Open and check the file.

        Args:
            damage: damage of the file that was open before; None for a file that is not known yet.
        """
        deadline = time.monotonic() + BUSY_SECONDS
        damaged_file = None if damage is None else self._file_id
        while True:
            if damage is None or _file_id(self.path) != damaged_file:
                self._lock.share()
                try:
                    self._connect()
                    return
                except DamageError as error:
                    damage, damaged_file = str(error), _file_id(self.path)
            if self.read_only:
                raise StoreError(
                    f"the store of calls at {self.path} is damaged ({damage}), and replaying it leaves it as it is; open "
                    'it once with store.mode = "use", which sets it aside and keeps what can still be read'
                )
            # Several processes may meet the same damage: one that is alone repairs it, the others find a new file.
            if self._lock.take_alone():
                if _file_id(self.path) == damaged_file:
                    set_aside(self.path, damage)
                damage = None
            elif time.monotonic() > deadline:
                raise self._unusable(f"it is damaged ({damage}) and other processes have it open: end them first")
            else:
                time.sleep(0.05)

    def _connect(self) -> None:
        """Open both connections.

        Raises:
            DamageError: the file is not a sound database of this version.
            StoreError: it cannot be opened, or belongs to another program.
        """
        try:
            if self.read_only:
                self._reader = open_read_only(self.path)
            else:
                self._reader = open_file(self.path)
                self._writer = open_file(self.path)
        except DamageError:
            self._disconnect()
            raise
        except sqlite3.Error as error:
            self._disconnect()
            if is_damage(error):
                raise DamageError(str(error)) from None
            raise self._unusable(str(error)) from None
        self._file_id = _file_id(self.path)

    def _disconnect(self) -> None:
        for connection in (self._reader, self._writer):
            if connection is not None:
                connection.close()
        self._reader = self._writer = None

    def _repairing(self, operation: Callable[[], _T]) -> _T:
        """Do something; where it meets damage, have the file set aside and do it once more."""
        file_id = self._file_id
        try:
            return operation()
        except (sqlite3.Error, DamageError) as error:
            if not is_damage(error):
                raise
            damage = str(error)
        with self._writing, self._reading:
            if self._file_id == file_id:  # otherwise another thread has repaired it
                self._disconnect()
                self._open(damage)
        return operation()

    def _unusable(self, reason: str) -> StoreError:
        return StoreError(
            f"expected a store of calls that can be opened at {self.path}, which failed: {reason}. Set store.path to a "
            'place on a local disk that can be written, or store.mode = "off"'
        )


def _connected(connection: sqlite3.Connection | None) -> sqlite3.Connection:
    if connection is None:
        raise sqlite3.OperationalError("the store is closed, or open for reading alone")
    return connection


def _file_id(path: Path) -> int | None:
    """Return an identity that tells a file from another of the same name; None where there is no file."""
    try:
        return path.stat().st_ino
    except OSError:
        return None
