"""Calls the code of a task: within a time, never on the event loop where it is not async, and blamed by file and line.

Code that is not async runs on one thread of its own, one call at a time in the order of the calls: code that shares state
(a library's global random numbers, say) is as safe as in a plain loop. A call that never returns is given up, with its
thread; the next call gets a new one.
"""

import asyncio
import contextlib
import contextvars
import inspect
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workflow_r1.errors import ContentRejectedError, ServiceError, TaskError, TaskFailedError, WorkflowR1Error
from workflow_r1.references import place_of, place_of_error
from workflow_r1.services.secrets import mask_addresses

_MAX_QUOTED_CHARS = 300
"""Longest part of an error's own message that a message repeats, in characters."""


async def call_task(function: Callable[..., Any], *arguments: object, who: str, timeout_seconds: float) -> Any:
    """Call a method of a task.

    Args:
        function: the method, async or not.
        *arguments: its arguments.
        who: the task and its instance, for messages.
        timeout_seconds: longest wait for it, from its start.

    Raises:
        TaskFailedError: a service that it needs failed, or it did not return in time.
        ContentRejectedError: a service refuses the content of the call, which the policy wrote.
        WorkflowR1Error: any other error that this project raises on purpose.
        TaskError: it raised any other error; names its file and line.
    """
    try:
        async with asyncio.timeout(None) as limit:
            if inspect.iscoroutinefunction(function):
                limit.reschedule(asyncio.get_running_loop().time() + timeout_seconds)
                return await function(*arguments)
            returned, value = await _run_on_thread(function, arguments, limit, timeout_seconds)
            if not returned:
                raise value
            return await value if inspect.isawaitable(value) else value
    except BaseException as error:
        if limit.expired() and isinstance(error, TimeoutError):
            raise TaskFailedError(
                f"{who}: expected {name_of(function)} ({place_of(function)}) to return within {timeout_seconds:g} s, but it did "
                "not; see what it waits for, or raise environment.task_timeout_seconds"
            ) from error
        if isinstance(error, asyncio.CancelledError | KeyboardInterrupt | GeneratorExit):
            raise
        raise judge(error, function, who) from error


def blame(function: Callable[..., Any], who: str, expected: str, received: str) -> TaskError:
    """Return the error for a method of a task that gave something other than the seam asks for."""
    return TaskError(f"{place_of(function)}: {name_of(function)} of {who}: expected {expected}, received {received}")


def name_of(function: Callable[..., Any]) -> str:
    """Return the name of a method with its class: ``Game.act``."""
    return getattr(function, "__qualname__", repr(function))


def judge(error: BaseException, function: Callable[..., Any], who: str) -> BaseException:
    """Return the error to raise for one that a method of a task raised: a failed service, or a programming error.

    Args:
        error: the error, with its traceback.
        function: the method.
        who: the task and its instance, for the message.
    """
    while isinstance(error, BaseExceptionGroup):  # The task made several requests at once.
        found = error.exceptions
        error = next((inner for inner in found if not isinstance(inner, _FAILURES)), found[0])
    if isinstance(error, ContentRejectedError) or (
        isinstance(error, WorkflowR1Error) and not isinstance(error, ServiceError)
    ):
        return error
    told = mask_addresses(" ".join(str(error).split()), whole_query=True)[:_MAX_QUOTED_CHARS]
    told = f"{type(error).__name__}: {told}" if told else type(error).__name__
    if isinstance(error, TaskFailedError):
        return error
    if isinstance(error, _FAILURES):
        return TaskFailedError(f"{who}: expected its service to reply, received {told}")
    code = getattr(inspect.unwrap(function), "__code__", None)
    place = place_of_error(error, None if code is None else Path(code.co_filename)) or place_of(function)
    return TaskError(
        f"{place}: {name_of(function)} of {who} raised {told}; mend it (a failing service raises a ServiceError, the policy's "
        "mistake is a Reply with valid=False)"
    )


_FAILURES = (ServiceError, ConnectionError, TimeoutError)
"""Errors that mean a failed service, as those of an operator do."""


async def _run_on_thread(
    function: Callable[..., Any], arguments: tuple[object, ...], limit: asyncio.Timeout, timeout_seconds: float
) -> tuple[bool, Any]:
    """Run code that is not async; returns whether it returned, and its value or its error."""
    loop = asyncio.get_running_loop()
    job = _Job(function, arguments, loop)
    _thread.submit(job)
    try:
        await job.started
        limit.reschedule(loop.time() + timeout_seconds)
        return await job.ended
    except BaseException:
        job.is_given_up = True
        _thread.give_up(job)
        raise


class _Job:
    """One call, handed from an event loop to the thread."""

    def __init__(
        self, function: Callable[..., Any], arguments: tuple[object, ...], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._function, self._arguments, self._loop = function, arguments, loop
        self._context = contextvars.copy_context()
        self.started: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[tuple[bool, Any]] = loop.create_future()
        self.is_given_up = False

    def run(self) -> None:
        self._tell(self.started, None)
        try:
            result = (True, self._context.run(self._function, *self._arguments))
        except BaseException as error:  # SystemExit too: it shall not end this thread without a word.
            result = (False, error)
        self._tell(self.ended, result)

    def _tell(self, future: "asyncio.Future[Any]", result: object) -> None:
        def tell() -> None:
            if not future.done():
                future.set_result(result)

        with contextlib.suppress(RuntimeError):  # The loop is closed: no one waits any more.
            self._loop.call_soon_threadsafe(tell)


class _Thread:
    """The thread that runs the jobs, one at a time; a new one where the last hangs in a job that was given up."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._running: _Job | None = None

    def submit(self, job: _Job) -> None:
        with self._lock:
            if self._thread is None or not self._thread.is_alive():  # Also in a process that was forked.
                self._start()
        self._jobs.put(job)

    def give_up(self, job: _Job) -> None:
        with self._lock:
            if self._running is job:
                self._start()

    def _start(self) -> None:
        self._running = None
        # A daemon: the program can end while a job hangs.
        self._thread = threading.Thread(target=self._work, name="workflow-r1 task", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            with self._lock:
                if self._thread is not threading.current_thread():
                    self._jobs.put(job)
                    return
                if job.is_given_up:
                    continue
                self._running = job
            job.run()
            with self._lock:
                if self._thread is not threading.current_thread():
                    return
                self._running = None


_thread = _Thread()
