"""Ctrl-C once: stop cleanly. Twice: stop now. A job in the background ignores Ctrl-C, and SIGTERM says the same to it."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


def interrupt(number: int, frame: FrameType | None) -> None:
    """Treat SIGTERM as Ctrl-C: the command line installs this handler.

    Raises:
        KeyboardInterrupt: a shell lets this job ignore Ctrl-C, as it does with jobs in the background; they must end all the
            same when they are asked to.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        raise KeyboardInterrupt
    signal.raise_signal(signal.SIGINT)


@contextmanager
def stop_on_interrupt(request_stop: Callable[[], None]) -> Iterator[None]:
    """Turn the first Ctrl-C into ``request_stop()``; a second one raises ``KeyboardInterrupt``.

    Where Ctrl-C is ignored and :func:`interrupt` handles SIGTERM, the same is true of SIGTERM. Only the main thread can receive
    signals: elsewhere, and where the caller has a handler of its own, nothing changes.
    """
    receives = _receives() if threading.current_thread() is threading.main_thread() else None
    if receives is None:
        yield
        return
    requested = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal requested
        if requested:
            raise KeyboardInterrupt
        requested = True
        request_stop()

    before = signal.signal(receives, handle)
    try:
        yield
    finally:
        signal.signal(receives, before)


def _receives() -> signal.Signals | None:
    """Return the signal that asks this process to stop; None where the caller handles it."""
    ctrl_c = signal.getsignal(signal.SIGINT)
    if ctrl_c is signal.default_int_handler:
        return signal.SIGINT
    if ctrl_c is signal.SIG_IGN and signal.getsignal(signal.SIGTERM) is interrupt:
        return signal.SIGTERM
    return None
