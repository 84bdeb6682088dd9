"""Answers of the store, calls that it has made, and failures."""

import asyncio
import gc
import logging
import sqlite3
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from workflow_r1.errors import ReplayMissError, ServiceUnavailableError, StoreError, UserError
from workflow_r1.store import Call, CallDatabase, CallStore, StoreConfig, StoredCall, open_store


def call(number: int = 1) -> Call:
    return Call(service="llm", model="m", request={"number": number}, name=f"call number {number}")


class Service:
    """Answers with the number of requests so far; waits for its release where the request says so."""

    def __init__(self, *, waits: bool = False, error: Exception | None = None) -> None:
        self.num_asked = 0
        self.error = error
        self.released = asyncio.Event()
        self.was_cancelled = False
        if not waits:
            self.released.set()

    async def __call__(self) -> Any:
        self.num_asked += 1
        number = self.num_asked
        try:
            await self.released.wait()
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise
        if self.error is not None:
            raise self.error
        return {"answer": number}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "calls.sqlite3"


def change_on_the_disk(path: Path, old: bytes, new: bytes) -> None:
    path.write_bytes(path.read_bytes().replace(old, new))


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), timeout=30))


def test_a_stored_call_is_not_made_again(path: Path) -> None:
    async def test() -> None:
        service = Service()
        with CallStore(path) as store:
            assert await store.answer(call(), service) == ({"answer": 1}, False)
            assert await store.answer(call(), service) == ({"answer": 1}, True)
            assert await store.answer(call(2), service) == ({"answer": 2}, False)
        with CallStore(path) as store:
            assert await store.answer(call(), service) == ({"answer": 1}, True)
        assert service.num_asked == 2

    run(test)


def test_the_service_is_part_of_a_call(path: Path) -> None:
    async def test() -> None:
        service = Service()
        with CallStore(path) as store:
            for kind in ("llm", "search"):
                await store.answer(Call(kind, "m", {"a": 1}, "a"), service)  # type: ignore[arg-type]
        assert service.num_asked == 2

    run(test)


def test_the_order_of_a_requests_fields_changes_nothing(path: Path) -> None:
    async def test() -> None:
        service = Service()
        with CallStore(path) as store:
            await store.answer(Call("llm", "m", {"a": {"x": 1, "y": 2}, "b": 2}, ""), service)
            assert (await store.answer(Call("llm", "m", {"b": 2, "a": {"y": 2, "x": 1}}, ""), service))[1]

    run(test)


def test_record_makes_every_call_anew_and_once(path: Path) -> None:
    async def test() -> None:
        service = Service()
        with CallStore(path) as store:
            await store.answer(call(), service)
        with CallStore(path, mode="record") as store:
            assert await store.answer(call(), service) == ({"answer": 2}, False)
            assert await store.answer(call(), service) == ({"answer": 2}, True)
        with CallStore(path, mode="replay") as store:
            assert await store.answer(call(), service) == ({"answer": 2}, True)
        assert service.num_asked == 2

    run(test)


def test_replay_asks_nobody_and_names_what_it_lacks(path: Path) -> None:
    async def test() -> None:
        service = Service()
        with CallStore(path) as store:
            await store.answer(call(), service)
        with CallStore(path, mode="replay") as store:
            assert await store.answer(call(), service) == ({"answer": 1}, True)
            with pytest.raises(ReplayMissError, match=r'this one is not: call number 2. .* store.mode = "use"') as miss:
                await store.answer(call(2), service)
        assert service.num_asked == 1
        assert isinstance(miss.value, UserError | LookupError)

    run(test)


def test_identical_calls_in_flight_are_made_once(path: Path) -> None:
    async def test() -> None:
        service = Service(waits=True)
        with CallStore(path) as store:
            waiting = [asyncio.create_task(store.answer(call(), service)) for _ in range(5)]
            await asyncio.sleep(0.01)
            service.released.set()
            answers = await asyncio.gather(*waiting)
        assert service.num_asked == 1
        assert [answer for answer, _ in answers] == [{"answer": 1}] * 5
        assert [is_stored for _, is_stored in answers] == [False, True, True, True, True]

    run(test)


def test_a_cancelled_first_caller_leaves_the_others_their_answer(path: Path) -> None:
    async def test() -> None:
        service = Service(waits=True)
        with CallStore(path) as store:
            first = asyncio.create_task(store.answer(call(), service))
            await asyncio.sleep(0)
            second = asyncio.create_task(store.answer(call(), service))
            await asyncio.sleep(0.01)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            service.released.set()
            assert await second == ({"answer": 1}, True)
        assert service.num_asked == 1

    run(test)


def test_a_call_that_nobody_waits_for_any_more_is_cancelled_and_can_be_made_again(path: Path) -> None:
    async def test() -> None:
        service = Service(waits=True)
        with CallStore(path) as store:
            waiting = [asyncio.create_task(store.answer(call(), service)) for _ in range(2)]
            await asyncio.sleep(0.01)
            for task in waiting:
                task.cancel()
            # Before the cancelled call has ended: it must not be joined.
            again = asyncio.create_task(store.answer(call(), service))
            await asyncio.wait(waiting)
            await asyncio.sleep(0.01)
            assert service.was_cancelled
            service.released.set()
            assert await again == ({"answer": 2}, False)

    run(test)


def test_failures_reach_all_who_wait_and_are_not_stored(path: Path) -> None:
    async def test() -> None:
        service = Service(waits=True, error=ServiceUnavailableError("down"))
        with CallStore(path) as store:
            waiting = [asyncio.create_task(store.answer(call(), service)) for _ in range(3)]
            await asyncio.sleep(0.01)
            service.released.set()
            failures = await asyncio.gather(*waiting, return_exceptions=True)
            assert [type(failure) for failure in failures] == [ServiceUnavailableError] * 3
            assert service.num_asked == 1
            service.error = None
            assert await store.answer(call(), service) == ({"answer": 2}, False)

    run(test)


def test_of_two_processes_both_hand_out_what_the_first_stored(path: Path) -> None:
    async def test() -> None:
        here, there = Service(waits=True), Service()
        there.num_asked = 10
        with CallStore(path) as store, CallStore(path) as other:
            waiting = asyncio.create_task(store.answer(call(), here))
            await asyncio.sleep(0.01)
            assert await other.answer(call(), there) == ({"answer": 11}, False)
            here.released.set()
            # It was asked for and paid, so it does not count as stored.
            assert await waiting == ({"answer": 11}, False)

    run(test)


def test_one_object_serves_several_event_loops(path: Path) -> None:
    service = None
    with CallStore(path) as store:
        for number in (1, 1, 2):

            async def test(number: int = number) -> None:
                nonlocal service
                service = Service()
                await store.answer(call(number), service)

            asyncio.run(test())


def test_a_full_disk_costs_no_answer(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        service = Service()
        with CallStore(path) as store:
            await store.answer(call(0), service)
            writer = store._database._writer
            assert writer is not None
            (num_pages,) = writer.execute("PRAGMA page_count").fetchone()
            writer.execute(f"PRAGMA max_page_count = {num_pages}")
            long = Call("llm", "m", {"text": "x" * 100_000}, "")
            for _ in range(2):
                assert not (await store.answer(long, service))[1]
            assert await store.answer(call(0), service) == ({"answer": 1}, True)
        assert service.num_asked == 3

    run(test)
    (record,) = caplog.records
    assert "cannot be written (database or disk is full): answers are used and not kept" in record.getMessage()


def test_a_file_that_may_not_be_written_costs_no_answer(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        service = Service()
        with CallStore(path) as store:
            writer = store._database._writer
            assert writer is not None
            writer.execute("PRAGMA query_only = 1")
            assert await store.answer(call(), service) == ({"answer": 1}, False)

    run(test)
    assert "attempt to write a readonly database" in caplog.text


def test_another_writer_delays_answers_and_not_the_event_loop(path: Path) -> None:
    async def test() -> None:
        service = Service()
        with CallStore(path) as store:
            await store.answer(call(1), service)
            other = sqlite3.connect(path, isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            waiting = asyncio.create_task(store.answer(call(2), service))
            longest = 0.0
            loop = asyncio.get_running_loop()
            for _ in range(30):
                before = loop.time()
                await asyncio.sleep(0.005)
                assert (await store.answer(call(1), service))[1], "reading does not wait for a writer"
                longest = max(longest, loop.time() - before)
            assert not waiting.done()
            other.execute("ROLLBACK")
            other.close()
            assert await waiting == ({"answer": 2}, False)
            assert longest < 0.5

    run(test)


def test_a_store_that_stays_damaged_warns_and_lets_the_calls_through(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Another process holds the damaged file open, so that nobody may set it aside."""

    async def test() -> None:
        service = Service()
        with CallStore(path) as store:
            for number in range(5):
                await store.answer(call(number), service)
        change_on_the_disk(path, b'{"answer":4}', b'{"answer":7}')
        monkeypatch.setattr("workflow_r1.store.database.BUSY_SECONDS", 0.1)
        with CallStore(path) as store:
            other = CallDatabase(path)
            service.num_asked = 100
            assert await store.answer(call(3), service) == ({"answer": 101}, False)
            assert await store.answer(call(4), service) == ({"answer": 102}, False)
            other.close()

    run(test)
    assert "other processes have it open" in caplog.text
    assert len(caplog.records) == 2


def test_what_is_stored_has_all_of_the_request(path: Path) -> None:
    async def test() -> None:
        with CallStore(path) as store:
            await store.answer(Call("llm", "m", {"messages": [["user", "Zürich \ud800"]]}, ""), Service())

    run(test)
    opened = CallDatabase(path, read_only=True)
    (row,) = opened.rows()
    opened.close()
    assert isinstance(row, StoredCall)
    assert (row.service, row.model, row.reply) == ("llm", "m", '{"answer":1}')
    assert row.request == '{"messages":[["user","Z\\u00fcrich \\ud800"]],"service":"llm"}'


def test_opening_what_is_configured(path: Path) -> None:
    assert open_store(StoreConfig()) is None
    with pytest.raises(StoreError, match="found nothing"):
        open_store(StoreConfig(mode="replay", path=path))
    store = open_store(StoreConfig(mode="record", path=path, by_address=False))
    assert store is not None
    assert (store.mode, store.path, store.by_address) == ("record", path, False)
    store.close()
    store.close()
    with pytest.raises(ValueError, match="make no store"):
        CallStore(path, mode="off")


def test_a_forgotten_store_closes_itself(path: Path) -> None:
    async def test() -> None:
        store = CallStore(path)
        await store.answer(call(), Service())

    run(test)
    log = path.with_name(f"{path.name}-wal")
    deadline = time.monotonic() + 10
    while log.exists() and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.01)  # a thread that has just written may still hold it
    assert not log.exists(), "the last to close it tidies up"


def test_logging_is_quiet_where_nothing_is_wrong(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), CallStore(path) as store:
        asyncio.run(store.answer(call(), Service()))  # type: ignore[arg-type]
    assert not caplog.records
