"""The file of the store: an SQLite database that several processes read and write at once.

A damaged file is renamed, and a new one is made of what can still be read. Renaming a database that another process has
open would leave two files behind one name. Every process that has the store open therefore holds a shared lock on
``NAME.lock`` beside it, and only a process that holds this lock alone renames the database.
"""

import logging
import sqlite3
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from workflow_r1.errors import StoreError
from workflow_r1.store.lock import FileLock

logger = logging.getLogger(__name__)

APPLICATION_ID = 0x57523153
"""Marks the file as a store of calls, in the place that SQLite's header has for it ("WR1S")."""

SCHEMA_VERSION = 1
"""Version of the table; a file of another version is set aside."""

BUSY_SECONDS = 10.0
"""Longest wait for other processes."""

_COLUMNS = "key, service, model, request, reply, stored_at"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS calls (
    key TEXT PRIMARY KEY,
    service TEXT NOT NULL,
    model TEXT NOT NULL,
    request TEXT NOT NULL,
    reply TEXT NOT NULL,
    stored_at REAL NOT NULL,
    checksum INTEGER NOT NULL
)
"""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class StoredCall:
    """One row: a call and its answer."""

    key: str
    """Hash of the request, by which the call is known."""
    service: str
    """``llm`` or ``search``."""
    model: str
    """Model or search that was asked."""
    request: str
    """Everything that the answer depends on, as JSON."""
    reply: str
    """The answer, as JSON."""
    stored_at: float
    """Seconds since 1970."""


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
            raise StoreError(f"expected a store of calls to read, found nothing at {self.path}; record one first")
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
            if row is not None and row[1] != _checksum(key, row[0]):
                raise _DamageError(f"row {key[:12]}... differs from what was stored")
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
                return _insert(_connected(self._writer), call, "REPLACE" if replace else "IGNORE")

        is_new = self._repairing(write)
        return call.reply if is_new else self.get(call.key) or call.reply

    def rows(self) -> Iterator[StoredCall]:
        """Read everything, the oldest first."""
        with self._reading:
            for row in _connected(self._reader).execute(f"SELECT {_COLUMNS} FROM calls ORDER BY rowid"):
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
                except _DamageError as error:
                    damage, damaged_file = str(error), _file_id(self.path)
            if self.read_only:
                raise StoreError(
                    f"the store of calls at {self.path} is damaged ({damage}), and replaying it leaves it as it is; open "
                    'it once with store.mode = "use", which sets it aside and keeps what can still be read'
                )
            # Several processes may meet the same damage: one that is alone repairs it, the others find a new file.
            if self._lock.take_alone():
                if _file_id(self.path) == damaged_file:
                    self._set_aside(damage)
                damage = None
            elif time.monotonic() > deadline:
                raise self._unusable(f"it is damaged ({damage}) and other processes have it open: end them first")
            else:
                time.sleep(0.05)

    def _connect(self) -> None:
        """Open both connections.

        Raises:
            _DamageError: the file is not a sound database of this version.
            StoreError: it cannot be opened, or belongs to another program.
        """
        try:
            if self.read_only:
                self._reader = _open_read_only(self.path)
            else:
                self._reader = _open(self.path)
                self._writer = _open(self.path)
        except _DamageError:
            self._disconnect()
            raise
        except sqlite3.Error as error:
            self._disconnect()
            if _is_damage(error):
                raise _DamageError(str(error)) from None
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
        except (sqlite3.Error, _DamageError) as error:
            if not _is_damage(error):
                raise
            damage = str(error)
        with self._writing, self._reading:
            if self._file_id == file_id:  # otherwise another thread has repaired it
                self._disconnect()
                self._open(damage)
        return operation()

    def _set_aside(self, damage: str) -> None:
        """Rename the file, and make a new one of its readable part."""
        aside = self.path.with_name(
            f"{self.path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 10**6}"
        )
        self.path.rename(aside)
        log = self.path.with_name(f"{self.path.name}-wal")
        if log.exists():
            log.rename(aside.with_name(f"{aside.name}-wal"))
        self.path.with_name(f"{self.path.name}-shm").unlink(missing_ok=True)
        fresh = _open(self.path)
        try:
            fresh.execute("BEGIN IMMEDIATE")
            num_kept = sum(_insert(fresh, call, "IGNORE") for call in _salvage(aside))
            fresh.execute("COMMIT")
        finally:
            fresh.close()
        logger.warning(
            "the store of calls %s is damaged (%s); it is set aside as %s, and a new one begins with the %d calls that can "
            "be read of it",
            self.path,
            damage,
            aside.name,
            num_kept,
        )

    def _unusable(self, reason: str) -> StoreError:
        return StoreError(
            f"expected a store of calls that can be opened at {self.path}, which failed: {reason}. Set store.path to a "
            'place on a local disk that can be written, or store.mode = "off"'
        )


class _DamageError(Exception):
    """The bytes that were read cannot be those that were written."""


def _open(path: Path) -> sqlite3.Connection:
    """Open for reading and writing; an absent or empty file becomes an empty store."""
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        is_new = _patiently(lambda: _inspect(connection, path))
        # A commit appends to a log, which other processes can read on from; the power aside, it survives any death.
        _patiently(lambda: connection.execute("PRAGMA journal_mode = WAL").fetchone())
        connection.execute("PRAGMA synchronous = NORMAL")
        if is_new:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(_SCHEMA)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            connection.execute("COMMIT")
    except BaseException:
        connection.close()
        raise
    return connection


def _open_read_only(path: Path) -> sqlite3.Connection:
    """Open for reading; where not even SQLite's own files beside it can be made, as a file that nobody changes."""
    try:
        return _open_as(path, "mode=ro")
    except sqlite3.OperationalError as error:
        if not _is_kind(error, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
            raise
    return _open_as(path, "immutable=1")


def _open_as(path: Path, options: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?{options}",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        if _patiently(lambda: _inspect(connection, path)):
            raise _DamageError("it is empty")
    except BaseException:
        connection.close()
        raise
    return connection


def _inspect(connection: sqlite3.Connection, path: Path) -> bool:
    """Return whether the database is new; changes nothing.

    Raises:
        StoreError: it belongs to another program.
        _DamageError: it is of another version, or lacks a column.
        sqlite3.Error: it cannot be read.
    """
    # One transaction sees one state of the file: between two, another process may make the store.
    connection.execute("BEGIN")
    try:
        (num_tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    if application == version == num_tables == 0:
        return True
    if application != APPLICATION_ID:
        raise StoreError(f"expected a store of calls or nothing at {path}, found another program's SQLite database")
    if version != SCHEMA_VERSION:
        raise _DamageError(f"expected version {SCHEMA_VERSION}, found {version}")
    try:
        connection.execute(f"SELECT {_COLUMNS}, checksum FROM calls LIMIT 1").fetchone()
    except sqlite3.OperationalError as error:
        if _is_kind(error, sqlite3.SQLITE_ERROR):
            raise _DamageError(str(error)) from None
        raise
    return False


def _insert(connection: sqlite3.Connection, call: StoredCall, conflict: str) -> bool:
    """Return whether the row was written; a statement outside a transaction is one of its own."""
    done = connection.execute(
        f"INSERT OR {conflict} INTO calls ({_COLUMNS}, checksum) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (*astuple(call), _checksum(call.key, call.reply)),
    )
    return done.rowcount == 1


def _salvage(path: Path) -> Iterator[StoredCall]:
    """Read everything readable of a damaged file, from both ends up to the damage. A row may come twice."""
    for beyond, order, at in ((">", "ASC", 0), ("<", "DESC", 2**63 - 1)):
        try:
            connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)
        except sqlite3.Error:
            return
        try:
            # So SQLite reads a file that is shorter than its header says.
            connection.execute("PRAGMA writable_schema = ON")
            if connection.execute("PRAGMA user_version").fetchone() != (SCHEMA_VERSION,):
                return
            # One row at a time: in one sweep the last row before the damage would be lost with it.
            query = (
                f"SELECT rowid, checksum, {_COLUMNS} FROM calls WHERE rowid {beyond} ? ORDER BY rowid {order} LIMIT 1"
            )
            while found := connection.execute(query, (at,)).fetchone():
                at, checksum, *values = found
                call = StoredCall(*values)
                if checksum == _checksum(call.key, call.reply):
                    yield call
        except sqlite3.Error:
            continue
        finally:
            connection.close()


def _checksum(key: str, reply: str) -> int:
    return zlib.crc32(f"{key}\n{reply}".encode())


def _connected(connection: sqlite3.Connection | None) -> sqlite3.Connection:
    if connection is None:
        raise sqlite3.OperationalError("the store is closed, or open for reading alone")
    return connection


def _patiently(operation: Callable[[], _T]) -> _T:
    """Do something that SQLite refuses at once, without its usual wait, while another process opens the file."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            return operation()
        except sqlite3.OperationalError as error:
            if not _is_kind(error, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) or time.monotonic() > deadline:
                raise
        time.sleep(0.01)


def _is_damage(error: BaseException) -> bool:
    return isinstance(error, _DamageError) or _is_kind(error, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _is_kind(error: BaseException, *codes: int) -> bool:
    """Return whether SQLite raised it with one of these codes; its low byte is the kind, the rest says more of it."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in codes


def _file_id(path: Path) -> int | None:
    """Return an identity that tells a file from another of the same name; None where there is no file."""
    try:
        return path.stat().st_ino
    except OSError:
        return None
