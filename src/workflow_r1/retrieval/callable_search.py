"""Search by a Python function of the user's own: a vector store, a hybrid retriever, an API that nothing else fits."""

import asyncio
import contextvars
import inspect
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pydantic import Field

from workflow_r1.errors import ConfigError, ServiceError, ServiceTimeoutError, ServiceUnavailableError
from workflow_r1.references import load_reference
from workflow_r1.retrieval.backend import Passage
from workflow_r1.retrieval.passages import read_passages
from workflow_r1.trajectory.records import Record

KEY = "search.callable.function"


class CallableSearchConfig(Record):
    """A Python function that searches."""

    function: str = Field(min_length=1)
    """``module:function`` or ``path/file.py:function``. Called with ``(query, k=k)``, sync or async; returns passages, best
    first: each a string, an object with ``title`` and ``text`` (or ``contents``), or a ``Passage``."""
    timeout_seconds: float = Field(default=30.0, gt=0.0)
    """Longest time of one call."""
    concurrency: int = Field(default=16, ge=1)
    """Calls at once; for a sync function also the number of threads."""


class CallableSearch:
    """A ``SearchBackend`` over a function. A sync one runs in a thread of its own pool.

    A ``ServiceError`` of the function is passed on as it is. An ``OSError`` (urllib and requests raise it for a lost
    connection or a late answer) counts as a service that failed; there is no retry, since only the function knows
    whether one could help. Any other exception is a mistake in the function, and crashes with its traceback.

    Args:
        config: function, timeout and concurrency.
        function: in place of the one that the configuration names.

    Raises:
        ConfigError: the name leads to no function, or to one that cannot be called with ``(query, k=k)``.
    """

    def __init__(self, config: CallableSearchConfig, function: Callable[..., Any] | None = None) -> None:
        self._config = config
        self._function = _check(load_reference(config.function, key=KEY) if function is None else function, config)
        self._is_async = inspect.iscoroutinefunction(self._function) or inspect.iscoroutinefunction(
            getattr(self._function, "__call__", None)  # noqa: B004 - an object whose __call__ is async
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._slots = asyncio.Semaphore(config.concurrency)
        self._threads: ThreadPoolExecutor | None = None

    async def __call__(self, query: str, *, k: int) -> list[Passage]:
        """Return at most ``k`` passages; see :class:`~workflow_r1.retrieval.SearchBackend`.

        The call stops waiting for a sync function that takes too long, but the function's thread cannot be stopped and
        keeps its place in the pool: give its own requests a timeout.

        Raises:
            ServiceUnavailableError: the function raised an ``OSError``.
            ServiceTimeoutError: it raised a ``TimeoutError``, or did not return in time.
            ConfigError: it returned no passages.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._slots = loop, asyncio.Semaphore(self._config.concurrency)
        name = self._config.function
        async with self._slots:
            try:
                async with asyncio.timeout(self._config.timeout_seconds):
                    values = await self._call(query, k)
            except ServiceError:
                raise
            except TimeoutError as error:
                raise ServiceTimeoutError(
                    f"search by {name}: expected passages within {self._config.timeout_seconds:g} s, received "
                    f"{str(error) or 'none'}; check what it calls, or raise search.callable.timeout_seconds"
                ) from error
            except OSError as error:
                raise ServiceUnavailableError(
                    f"search by {name}: expected passages, received {type(error).__name__}: {error}; check what it calls"
                ) from error
        try:
            return read_passages(values, k)
        except ValueError as error:
            raise ConfigError(
                f"{KEY}: expected {name} to return a list of passages (strings, objects with title and text, or Passage): "
                f"{error}"
            ) from None

    async def aclose(self) -> None:
        """Let go of the threads; a later query starts new ones."""
        threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(wait=False, cancel_futures=True)

    async def _call(self, query: str, k: int) -> Any:
        if self._is_async:
            return await self._function(query, k=k)
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._config.concurrency, thread_name_prefix="search")
        context = contextvars.copy_context()
        values = await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: context.run(self._function, query, k=k)
        )
        # A sync function may return something to wait for, as a lambda around an async one does.
        return await values if inspect.isawaitable(values) else values


def _check(function: object, config: CallableSearchConfig) -> Callable[..., Any]:
    if inspect.isclass(function) or not callable(function):
        raise ConfigError(
            f"{KEY}: expected a function or an object that can be called, found {config.function} to be "
            f"{'a class' if inspect.isclass(function) else f'a {type(function).__name__}'}"
        )
    try:
        inspect.signature(function).bind("a query", k=5)
    except TypeError as error:
        signature = inspect.signature(function)
        raise ConfigError(
            f"{KEY}: expected a function that can be called with (query, k=5), found {config.function}{signature} ({error})"
        ) from None
    except ValueError:
        pass  # built in, and silent about its arguments
    return function
