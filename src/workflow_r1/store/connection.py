"""Connections to the store's file: opened, checked and read by its one table, and salvaged where it is damaged."""

import sqlite3
import time
import zlib
from collections.abc import Callable
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from workflow_r1.errors import StoreError

APPLICATION_ID = 0x57523153
"""Marks the file as a store of calls, in the place that SQLite's header has for it ("WR1S")."""

SCHEMA_VERSION = 1
"""Version of the table; a file of another version is set aside."""

BUSY_SECONDS = 10.0
"""Longest wait for other processes."""

COLUMNS = "key, service, model, request, reply, stored_at"

SCHEMA = """
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


class DamageError(Exception):
    """The bytes that were read cannot be those that were written."""


def open_file(path: Path) -> sqlite3.Connection:
    """Open for reading and writing; an absent or empty file becomes an empty store."""
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        is_new = _patiently(lambda: _inspect(connection, path))
        # A commit appends to a log, which other processes can read on from; the power aside, it survives any death.
        _patiently(lambda: connection.execute("PRAGMA journal_mode = WAL").fetchone())
        connection.execute("PRAGMA synchronous = NORMAL")
        if is_new:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(SCHEMA)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            connection.execute("COMMIT")
    except BaseException:
        connection.close()
        raise
    return connection


def open_read_only(path: Path) -> sqlite3.Connection:
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
            raise DamageError("it is empty")
    except BaseException:
        connection.close()
        raise
    return connection


def _inspect(connection: sqlite3.Connection, path: Path) -> bool:
    """Return whether the database is new; changes nothing.

    Raises:
        StoreError: it belongs to another program.
        DamageError: it is of another version, or lacks a column.
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
        raise DamageError(f"expected version {SCHEMA_VERSION}, found {version}")
    try:
        connection.execute(f"SELECT {COLUMNS}, checksum FROM calls LIMIT 1").fetchone()
    except sqlite3.OperationalError as error:
        if _is_kind(error, sqlite3.SQLITE_ERROR):
            raise DamageError(str(error)) from None
        raise
    return False


def insert(connection: sqlite3.Connection, call: StoredCall, conflict: str) -> bool:
    """Return whether the row was written; a statement outside a transaction is one of its own."""
    done = connection.execute(
        f"INSERT OR {conflict} INTO calls ({COLUMNS}, checksum) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (*astuple(call), checksum(call.key, call.reply)),
    )
    return done.rowcount == 1


def checksum(key: str, reply: str) -> int:
    """Return the number by which a damaged row is found out."""
    return zlib.crc32(f"{key}\n{reply}".encode())


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


def is_damage(error: BaseException) -> bool:
    """Return whether an error says that the file is no longer what was written."""
    return isinstance(error, DamageError) or _is_kind(error, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _is_kind(error: BaseException, *codes: int) -> bool:
    """Return whether SQLite raised it with one of these codes; its low byte is the kind, the rest says more of it."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in codes
