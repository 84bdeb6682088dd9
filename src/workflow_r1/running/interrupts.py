"""Work that can be asked to stop, wherever it runs: in a script, in a notebook's event loop, beside another thread."""

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

Value = TypeVar("Value")


class Stop:
    """Lets another thread, or a signal handler, ask some work to end cleanly, before it starts or while it runs."""

    def __init__(self) -> None:
        self.is_requested = False
        self._ask: Callable[[], None] | None = None

    def request(self) -> None:
        """Ask for the end."""
        self.is_requested = True
        if self._ask is not None:
            self._ask()

    def attach(self, ask: Callable[[], None]) -> None:
        """Set the way to ask the work; an earlier request is passed on at once."""
        self._ask = ask
        if self.is_requested:
            ask()


def run_anywhere(work: Callable[[Stop], Value]) -> Value:
    """Do blocking work here, or, where an event loop runs in this thread (a notebook), in a thread of its own.

    There Ctrl-C, or a notebook's "interrupt", asks the work to stop and waits for it; the second one does not wait.

    Args:
        work: the work, which may open an event loop of its own; receives the handle that asks it to stop.

    Raises:
        KeyboardInterrupt: the second one, or the first where the work could not end with a value.
    """
    stop = Stop()
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return work(stop)
    # Not the thread's own `join`: one that was interrupted takes the thread for ended.
    ended = threading.Event()
    values: list[Value] = []
    errors: list[BaseException] = []

    def do() -> None:
        try:
            values.append(work(stop))
        except BaseException as error:
            errors.append(error)
        finally:
            ended.set()

    threading.Thread(target=do, name="workflow-r1", daemon=True).start()
    try:
        ended.wait()
    except KeyboardInterrupt:
        stop.request()
        ended.wait()
    if not errors:
        return values[0]
    if isinstance(errors[0], asyncio.CancelledError):
        raise KeyboardInterrupt
    raise errors[0]


def _cancel_soon(loop: asyncio.AbstractEventLoop, task: "asyncio.Task[Any]") -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(task.cancel)


def run_loop(work: Callable[[], Coroutine[Any, Any, Value]], stop: Stop | None = None) -> Value:
    """Run a coroutine in an event loop of its own; a stop cancels it, and so does Ctrl-C.

    The loop itself receives Ctrl-C. Raised wherever the program is just then, a second ``KeyboardInterrupt`` may fall into
    a finaliser, which swallows it.

    Raises:
        asyncio.CancelledError: it was stopped.
        KeyboardInterrupt: it was interrupted.
    """
    is_interrupted = False
    in_main_thread = threading.current_thread() is threading.main_thread()
    receives = in_main_thread and signal.getsignal(signal.SIGINT) is signal.default_int_handler

    async def run() -> Value:
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()
        if stop is not None:
            stop.attach(lambda: _cancel_soon(loop, task))

        def interrupt() -> None:
            nonlocal is_interrupted
            is_interrupted = True
            task.cancel()

        with contextlib.ExitStack() as stack:
            if receives:
                with contextlib.suppress(NotImplementedError):  # Windows.
                    loop.add_signal_handler(signal.SIGINT, interrupt)
                    stack.callback(loop.remove_signal_handler, signal.SIGINT)
            return await work()

    try:
        return asyncio.run(run())
    except asyncio.CancelledError:
        if is_interrupted:
            raise KeyboardInterrupt from None
        raise
