"""Repair of a damaged store: the file is set aside, and a new one is made of its readable part."""

import logging
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from workflow_r1.store.connection import COLUMNS, SCHEMA_VERSION, StoredCall, checksum, insert, open_file

logger = logging.getLogger(__name__)


def set_aside(path: Path, damage: str) -> None:
    """Rename the file, and make a new one of its readable part. No other process may have it open.

    Args:
        path: the damaged file.
        damage: the damage that was found, for the log.
    """
    aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 10**6}")
    path.rename(aside)
    log = path.with_name(f"{path.name}-wal")
    if log.exists():
        log.rename(aside.with_name(f"{aside.name}-wal"))
    path.with_name(f"{path.name}-shm").unlink(missing_ok=True)
    fresh = open_file(path)
    try:
        fresh.execute("BEGIN IMMEDIATE")
        num_kept = sum(insert(fresh, call, "IGNORE") for call in _salvage(aside))
        fresh.execute("COMMIT")
    finally:
        fresh.close()
    logger.warning(
        "the store of calls %s is damaged (%s); it is set aside as %s, and a new one begins with the %d calls that can "
        "be read of it",
        path,
        damage,
        aside.name,
        num_kept,
    )


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
                f"SELECT rowid, checksum, {COLUMNS} FROM calls WHERE rowid {beyond} ? ORDER BY rowid {order} LIMIT 1"
            )
            while found := connection.execute(query, (at,)).fetchone():
                at, stored_sum, *values = found
                call = StoredCall(*values)
                if stored_sum == checksum(call.key, call.reply):
                    yield call
        except sqlite3.Error:
            continue
        finally:
            connection.close()
