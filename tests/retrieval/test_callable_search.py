import asyncio
import contextvars
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from workflow_r1.errors import ConfigError, ServiceTimeoutError, ServiceUnavailableError
from workflow_r1.retrieval import CallableSearch, CallableSearchConfig, Passage

JAWS = Passage("7", "Jaws", "A film.", 2.0)


def search(function: Callable[..., Any], k: int = 5, num: int = 1, **changes: Any) -> list[Any]:
    async def main() -> list[Any]:
        backend = CallableSearch(CallableSearchConfig(function="mine:find", **changes), function)
        try:
            return await asyncio.gather(*(backend(f"q{number}", k=k) for number in range(num)))
        finally:
            await backend.aclose()

    return asyncio.run(main())


def test_a_sync_function_runs_in_threads_and_an_async_one_does_not() -> None:
    threads: list[threading.Thread] = []

    def find(query: str, k: int) -> list[Any]:
        threads.append(threading.current_thread())
        time.sleep(0.1)
        return [f"{query} {k}", JAWS, {"title": "T", "text": "x"}]

    async def find_async(query: str, *, k: int) -> list[Any]:
        threads.append(threading.current_thread())
        return [query]

    class Finder:
        async def __call__(self, query: str, k: int) -> list[Any]:
            return await find_async(query, k=k)

    started = time.perf_counter()
    first, *_ = search(find, k=2, num=16)
    assert [passage.text for passage in first] == ["q0 2", "A film."]
    assert time.perf_counter() - started < 1.0
    assert threading.main_thread() not in threads
    for function in (find_async, Finder(), lambda query, k: find_async(query, k=k)):
        threads.clear()
        assert [passage.text for passage in search(function)[0]] == ["q0"]
        assert threads == [threading.main_thread()]


def test_concurrency_is_bounded() -> None:
    running, most = [0], [0]

    def find(query: str, k: int) -> list[str]:
        running[0] += 1
        most[0] = max(most[0], running[0])
        time.sleep(0.02)
        running[0] -= 1
        return []

    search(find, num=12, concurrency=3)
    assert 1 < most[0] <= 3


def test_context_variables_reach_the_thread() -> None:
    variable = contextvars.ContextVar("variable", default="unset")
    variable.set("set")
    assert search(lambda query, k: [variable.get()])[0][0].text == "set"


def test_a_function_named_in_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("def find(query, k):\n    return [{'title': query, 'contents': 'Jaws\\nA film.'}]\n")
    backend = CallableSearch(CallableSearchConfig(function=f"{path}:find"))
    assert asyncio.run(backend("Jaws", k=5)) == [Passage("1", "Jaws", "A film.", 1.0)]
    # Another event loop, the same object.
    assert len(asyncio.run(backend("Jaws", k=5))) == 1
    asyncio.run(backend.aclose())


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda: None, "can be called with (query, k=5), found mine:find() (too many positional arguments)"),
        (lambda query: [], "found mine:find(query) (got an unexpected keyword argument 'k')"),
        (lambda query, k, more: [], "missing a required argument: 'more'"),
        (7, "expected a function or an object that can be called, found mine:find to be a int"),
        (Passage, "found mine:find to be a class"),
    ],
)
def test_what_cannot_search(function: Any, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        search(function)
    assert message in str(raised.value)


@pytest.mark.parametrize("value", [None, "text", {"a": 1}, [None], [{"name": "Jaws"}], iter(["a"])])
def test_what_is_no_list_of_passages(value: Any) -> None:
    with pytest.raises(ConfigError, match="expected mine:find to return a list of passages"):
        search(lambda query, k: value)


def test_failures_are_judged_by_what_is_raised() -> None:
    def failing(error: Exception) -> Callable[..., Any]:
        def find(query: str, k: int) -> list[str]:
            raise error

        return find

    with pytest.raises(ServiceUnavailableError, match="ConnectionResetError: gone; check what it calls"):
        search(failing(ConnectionResetError("gone")))
    with pytest.raises(ServiceTimeoutError, match="slow"):
        search(failing(TimeoutError("slow")))
    with pytest.raises(ServiceUnavailableError, match=r"^mine$"):
        search(failing(ServiceUnavailableError("mine")))
    with pytest.raises(KeyError):
        search(failing(KeyError("a mistake")))


def test_a_call_that_takes_too_long() -> None:
    released = threading.Event()

    def find(query: str, k: int) -> list[str]:
        released.wait(5)
        return []

    async def find_async(query: str, k: int) -> list[str]:
        await asyncio.sleep(5)
        return []

    started = time.perf_counter()
    try:
        for function in (find, find_async):
            with pytest.raises(ServiceTimeoutError, match=r"within 0.1 s.*timeout_seconds"):
                search(function, timeout_seconds=0.1)
    finally:
        released.set()
    assert time.perf_counter() - started < 5
