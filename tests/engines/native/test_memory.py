"""Freed memory that the C library keeps: it goes back to the system, seldom and only where it is much."""

import ctypes
import os
import sys
from pathlib import Path

import pytest

from workflow_r1.engines.native import memory
from workflow_r1.engines.native.memory import FreedMemory

BLOCK, NUM_BLOCKS = 2**16, 1500


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def leave_free_memory_below_a_block() -> ctypes.c_void_p:
    """Fill and free blocks below one that stays, so that the heap cannot shrink from its end; return that one."""
    library = ctypes.CDLL(None)
    library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    library.free.argtypes = [ctypes.c_void_p]
    blocks = [library.malloc(BLOCK) for _ in range(NUM_BLOCKS)]
    for block in blocks:
        ctypes.memset(block, 1, BLOCK)
    for block in blocks[:-1]:
        library.free(block)
    return ctypes.c_void_p(blocks[-1])


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="needs glibc 2.33 or newer"
)
def test_much_freed_memory_goes_back_once_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    freed = FreedMemory(lambda: now[0])
    stays = leave_free_memory_below_a_block()
    held = resident_bytes()

    now[0] = memory.MIN_CPU_SECONDS + 1
    assert not freed.give_back_if_due(), "less than a GiB stays"
    monkeypatch.setattr(memory, "MIN_FREE_BYTES", BLOCK * NUM_BLOCKS // 2)
    assert not freed.give_back_if_due(), "it was asked a moment ago"
    assert resident_bytes() > held - BLOCK * NUM_BLOCKS // 2
    now[0] *= 2
    assert freed.give_back_if_due()
    assert resident_bytes() < held - BLOCK * NUM_BLOCKS // 2
    ctypes.CDLL(None).free(stays)


def test_a_system_without_glibc_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.sys, "platform", "darwin")
    now = [0.0]
    freed = FreedMemory(lambda: now[0])
    now[0] = 1e6
    assert not freed.give_back_if_due()
