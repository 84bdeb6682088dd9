"""Memory of the process that is free, and that the C library keeps.

The passes of an update have rows of other lengths each time, so that what one frees seldom fits the next: glibc's heap
grows from step to step, though nothing leaks (docs/decisions/freed-memory.md).
"""

import ctypes
import sys
import time
from collections.abc import Callable

MIN_FREE_BYTES = 2**30
"""Less than this is not worth the time: pages that were given back are mapped and zeroed anew, about a second for a GiB."""

MIN_CPU_SECONDS = 60.0
"""CPU time of the process between two looks, so that the cost stays a few parts in a hundred."""


class _Mallinfo(ctypes.Structure):
    """glibc's ``struct mallinfo2``: ten sizes in bytes, of which ``fordblks`` is the free memory of all arenas."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        )
    ]


class FreedMemory:
    """Gives freed memory back to the system now and then. Without glibc 2.33 or newer it does nothing.

    Args:
        cpu_seconds: clock of the process's CPU time.
    """

    def __init__(self, cpu_seconds: Callable[[], float] = time.process_time) -> None:
        self._cpu_seconds = cpu_seconds
        self._last = cpu_seconds()
        library = ctypes.CDLL(None) if sys.platform == "linux" else None
        self._trim = getattr(library, "malloc_trim", None)
        self._info = getattr(library, "mallinfo2", None)
        if self._info is not None:
            self._info.restype = _Mallinfo

    def give_back_if_due(self) -> bool:
        """Look, if the last look was a minute of CPU time ago, and give back a GiB or more.

        Returns:
            True where it was given back.
        """
        if self._trim is None or self._info is None or self._cpu_seconds() - self._last < MIN_CPU_SECONDS:
            return False
        self._last = self._cpu_seconds()
        if self._info().fordblks < MIN_FREE_BYTES:
            return False
        self._trim(0)
        return True


__all__ = ["MIN_CPU_SECONDS", "MIN_FREE_BYTES", "FreedMemory"]
