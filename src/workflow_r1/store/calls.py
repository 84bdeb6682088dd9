"""The store of calls: finds the answer of a call, and decides when to ask for it."""

import asyncio
import hashlib
import json
import logging
import sqlite3
import time
import weakref
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from workflow_r1.errors import ReplayMissError, StoreError
from workflow_r1.store.config import StoreConfig, StoreMode
from workflow_r1.store.connection import StoredCall
from workflow_r1.store.database import CallDatabase

logger = logging.getLogger(__name__)

_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
"""Writes plain JSON values in one way; in ASCII, since a reply may hold half of a surrogate pair."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a service."""

    service: Literal["llm", "search"]
    """Kind of the service."""
    model: str
    """Model or search that is asked."""
    request: Mapping[str, Any]
    """Everything that the answer depends on, as plain JSON values: equal requests are one call."""
    name: str
    """The call in words, for messages."""


@dataclass(slots=True)
class _Flight:
    """A call that is being made, and how many wait for its answer."""

    task: asyncio.Task[str]
    num_waiting: int = 0


class CallStore:
    """Answers calls from a file, or has them made and keeps the answers.

    The store hands out an answer only after storing it: a process that dies loses at most what was in flight. Where
    several ask for one call at the same time, one process makes it once; of two processes the first to store its answer
    wins, and the other hands out that answer, too. A ``replay`` therefore repeats every answer that a run in the mode
    ``use`` or ``record`` got. Failures of a service are never stored; a service that refuses the content of a call has
    answered it.

    Args:
        path: the file; see :class:`~workflow_r1.store.database.CallDatabase`.
        mode: ``use``, ``record`` or ``replay``; see :class:`StoreConfig`. In ``record`` a call is made once by each object:
            made twice, the second answer would take the place of the first, and no replay could repeat the run.
        by_address: see :class:`StoreConfig`; what makes the calls keeps to it.

    Raises:
        StoreError: the file cannot be used.
    """

    def __init__(self, path: Path | str, *, mode: StoreMode = "use", by_address: bool = True) -> None:
        if mode == "off":
            raise ValueError('expected the mode "use", "record" or "replay", received "off": make no store')
        self.mode = mode
        self.by_address = by_address
        self._database = CallDatabase(path, read_only=mode == "replay")
        # One thread: writing takes turns anyway, and the event loop never waits for the disk or for other processes.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store-of-calls")
        self._flights: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, _Flight]]
        self._flights = weakref.WeakKeyDictionary()
        self._made: set[str] = set()
        self._complained: set[str] = set()
        self._end = weakref.finalize(self, _close, self._thread, self._database)

    @property
    def path(self) -> Path:
        """The file."""
        return self._database.path

    async def answer(self, call: Call, ask: Callable[[], Awaitable[Any]]) -> tuple[Any, bool]:
        """Return the answer of a call, and whether the store had it already.

        Args:
            call: the call to answer.
            ask: makes the call; its answer is plain JSON values. Awaited at most once, and not at all in ``replay``.

        Raises:
            ReplayMissError: in ``replay``, the call is not stored.
            Exception: the error of ``ask``. It is not stored, and all who wait for the same call get it, too.
        """
        request = _canonical({"service": call.service, **call.request})
        key = hashlib.sha256(request.encode("ascii")).hexdigest()
        if self.mode != "record" or key in self._made:
            stored = self._recall(key)
            if stored is not None:
                return json.loads(stored), True
        if self.mode == "replay":
            raise ReplayMissError(
                f"expected every call to be in the store {self.path}, and this one is not: {call.name}. Replay with the "
                'configuration, seed and package version of the recording, or set store.mode = "use" with the service '
                "running, which makes and stores what is missing"
            )
        flights = self._flights.setdefault(asyncio.get_running_loop(), {})
        flight = flights.get(key)
        is_first = flight is None or flight.task.done()
        if flight is None or is_first:
            flight = flights[key] = _Flight(asyncio.create_task(self._make(call, request, key, ask)))
        flight.num_waiting += 1
        try:
            # Shielded: one who gives up, even the first, leaves the others their answer.
            reply = await asyncio.shield(flight.task)
        finally:
            flight.num_waiting -= 1
            if flight.num_waiting == 0:
                flight.task.cancel()
                if flights.get(key) is flight:
                    del flights[key]
        return json.loads(reply), not is_first

    def close(self) -> None:
        """Close the file once everything is written. A store that is forgotten, or the process's end, closes it, too."""
        self._thread.shutdown(wait=True)
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _recall(self, key: str) -> str | None:
        try:
            return self._database.get(key)
        except (sqlite3.Error, StoreError) as error:
            if self.mode == "replay":
                raise StoreError(f"the store of calls {self.path} cannot be read: {error}") from None
            self._complain("read", error, "its calls are made anew")
            return None

    async def _make(self, call: Call, request: str, key: str, ask: Callable[[], Awaitable[Any]]) -> str:
        reply = _canonical(await ask())
        row = StoredCall(key, call.service, call.model, request, reply, time.time())
        loop = asyncio.get_running_loop()
        try:
            reply = await loop.run_in_executor(self._thread, self._put, row)
        except (sqlite3.Error, StoreError) as error:
            self._complain("written", error, "answers are used and not kept")
        return reply

    def _put(self, row: StoredCall) -> str:
        reply = self._database.put(row, replace=self.mode == "record")
        self._made.add(row.key)
        return reply

    def _complain(self, done: str, error: Exception, consequence: str) -> None:
        """Warn of trouble with the file, once for reading and once for writing."""
        if done not in self._complained:
            self._complained.add(done)
            logger.warning("the store of calls %s cannot be %s (%s): %s", self.path, done, error, consequence)


def open_store(config: StoreConfig) -> CallStore | None:
    """Open the store that is configured; None where it is off.

    Raises:
        StoreError: the file cannot be used.
    """
    if config.mode == "off":
        return None
    return CallStore(config.path, mode=config.mode, by_address=config.by_address)


def _close(thread: ThreadPoolExecutor, database: CallDatabase) -> None:
    # Without waiting: the store may be collected in that very thread. It has nothing left to do, or the store would live.
    thread.shutdown(wait=False)
    database.close()
