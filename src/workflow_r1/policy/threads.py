"""Number of CPU threads for torch: the free ones, since busy threads on shared processors wait for one another.

Measured (docs/dev/log.md): with two threads on two processors that others used as well, a step took six times as long
as with one. The number is chosen once, at the start of a process. Results of different numbers differ by rounding.
"""

import functools
import math
import os
import time
from pathlib import Path

import torch

VARIABLE = "OMP_NUM_THREADS"
"""Environment variable that sets the number of threads, for torch as for others."""

LOOK_SECONDS = 0.2
"""Time for which the processors are watched, in seconds."""


def choose_threads(most: int | None) -> None:
    """Let torch use as many threads as are free, but no more than are allowed.

    Args:
        most: the configuration's ``policy.threads``; None for torch's own choice. ``OMP_NUM_THREADS`` counts as well:
            the smaller of the two holds, even where more threads are free.
    """
    wanted = most or _threads_of_torch()
    variable = _variable()
    torch.set_num_threads(min(wanted, variable) if variable is not None else max(1, min(wanted, free_processors())))


def explain_threads(most: int | None) -> str | None:
    """Return the reason why torch uses fewer threads than it might; None where it does not."""
    wanted, chosen = most or _threads_of_torch(), torch.get_num_threads()
    if chosen >= wanted or _variable() is not None:
        return None
    return (
        f"{chosen} of {wanted} CPU threads are used, since other programs or the limits of this machine leave no more free; the "
        f"last digits of figures may differ for it. {VARIABLE} sets the number"
    )


@functools.cache
def free_processors() -> int:
    """Return the number of processors that this process may use and nobody else does, at least 1; measured once in a process."""
    usable = min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, _quota())
    if usable == 1:
        return 1
    return max(1, min(usable, (os.cpu_count() or 1) - round(_busy_processors())))


@functools.cache
def _threads_of_torch() -> int:
    return torch.get_num_threads()


def _variable() -> int | None:
    value = os.environ.get(VARIABLE, "").split(",")[0].strip()
    return int(value) if value.isdigit() and int(value) > 0 else None


def _quota(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int:
    """Return the number of processors that the control groups (version 2) of this process allow, rounded up; many where
    they set no limit.
    """
    quota = math.inf
    try:
        path = next(line for line in own.read_text().splitlines() if line.startswith("0::"))[3:].strip("/")
    except (OSError, StopIteration):
        path = ""
    place = root / path
    for directory in (place, *place.parents):
        if not directory.is_relative_to(root):
            break
        try:
            most, period = (directory / "cpu.max").read_text().split()
        except (OSError, ValueError):
            continue
        if most != "max":
            quota = min(quota, int(most) / int(period))
    return math.ceil(quota) if quota < math.inf else 10**6


def _busy_processors() -> float:
    """Return the number of processors that are busy with others' work just now, while this process waits."""
    before = _jiffies()
    if before is None:
        return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    time.sleep(LOOK_SECONDS)
    idle, total = (now - then for now, then in zip(_jiffies() or before, before, strict=True))
    return (1 - idle / total) * (os.cpu_count() or 1) if total else 0.0


def _jiffies() -> tuple[int, int] | None:
    """Return the idle time and all time of the processors so far; None where the system does not say."""
    try:
        values = [int(value) for value in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return None
    return values[3] + values[4], sum(values)
