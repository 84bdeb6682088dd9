"""A training run in several processes of this machine: started, watched, and ended together.

``workflow-r1 train --processes N`` does here what torchrun does for several machines: it starts N times the same
command, each with its rank in the environment. It names the process that died, and the command that continues.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from workflow_r1.errors import ConfigError

if TYPE_CHECKING:
    from workflow_r1.policy.distributed import Ranks

EXIT_CODE = 4
"""The exit code of a process that ended because another of its run did."""

LAUNCHED = "WORKFLOW_R1_LAUNCHED"
"""Set in processes that :func:`launch` has started: their standard input ends when it does."""

ORDERLY = (0, 3, 130)
"""Exit codes with which all processes end together, the first after it has written its report: done, budget, Ctrl-C."""

TOLD_SECONDS = 10.0
"""After one process ended with an error, time for the others to end with the same one."""

TERM_SECONDS = 5.0
"""Time between SIGTERM and SIGKILL."""

_POLL_SECONDS = 0.05


def num_started() -> int:
    """Number of processes that torchrun or :func:`launch` has started, including this one; 1 where neither has."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Number of this process among them."""
    return int(os.environ.get("RANK", "0"))


def is_launched() -> bool:
    """True where :func:`launch` watches this process, and speaks for it where it ends with the others."""
    return LAUNCHED in os.environ


def command_of(go_on: str, num: int, *, command: str = "train") -> str:
    """Return the command that resumes a run of so many processes: ``go_on`` is its part after ``workflow-r1 train``."""
    if num > 1 and not is_launched() and num_started() > 1:
        return f"torchrun ... -m workflow_r1.cli {command} {go_on}"
    return f"workflow-r1 {command}{f' --processes {num}' if num > 1 else ''} {go_on}"


@contextmanager
def joined(device: str, *, timeout_minutes: float) -> "Iterator[Ranks | None]":
    """Join the other processes of the run; None where this one is alone, and torch is not imported yet.

    Args:
        device: ``policy.device``.
        timeout_minutes: longest wait for a process that is late.

    Raises:
        ConfigError: a device that the processes cannot share.
        ProcessLostError: the others did not come in time.
    """
    if num_started() == 1:
        yield None
        return
    if is_launched():
        threading.Thread(target=_end_with_launcher, daemon=True).start()
    from workflow_r1.policy.distributed import joined as join

    with join(device, timeout_minutes=timeout_minutes) as ranks:
        yield ranks


def speak_when_ended(say: Callable[[], None]) -> None:
    """Show a message when torchrun ends this process because another died; a launched process leaves that to its launcher."""
    if num_started() == 1 or is_launched() or rank() > 0:
        return

    def leave(number: int, frame: FrameType | None) -> None:
        say()
        sys.stdout.flush()
        os._exit(128 + number)

    signal.signal(signal.SIGTERM, leave)


def launch(arguments: Sequence[str], *, num: int, tell: Callable[[str], None], go_on: Callable[[], str]) -> int:
    """Run ``workflow-r1`` with these arguments in several processes, until all have ended.

    Ctrl-C and SIGTERM go to all of them: the first stops them together after the step, the second at once, and the
    third kills them.

    Args:
        arguments: arguments of the command line.
        num: number of processes.
        tell: shows a line to the person.
        go_on: the kept part of the run, in words, with the command that continues.

    Returns:
        The exit code: the processes' own where they ended together, 1 where one of them was lost.

    Raises:
        ConfigError: this process is one of several already.
    """
    if num_started() > 1:
        raise ConfigError("expected --processes or torchrun, not both: leave --processes out")
    children = [_start(arguments, rank, environment) for rank, environment in enumerate(_environments(num))]
    try:
        with _forwarding(children):
            lost = _wait(children)
            if lost is not None:
                _end(children)
    finally:
        _end(children)
    if lost is None:
        return children[0].returncode
    rank, code = lost
    tell(f"rank {rank} (of {num} processes) {_describe(code)}; the others were stopped. {go_on()}")
    return 1


def _environments(num: int) -> list[dict[str, str]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        "WORLD_SIZE": str(num),
        "LOCAL_WORLD_SIZE": str(num),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        LAUNCHED: "1",
    }
    if sys.platform == "linux":
        shared["GLOO_SOCKET_IFNAME"] = os.environ.get("GLOO_SOCKET_IFNAME", "lo")
    # More busy threads than cores cost more than they give.
    shared["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // num)))
    return [{**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(num)]


def _start(arguments: Sequence[str], rank: int, environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    # A session of its own: Ctrl-C in the terminal reaches this process alone, which passes it on once.
    return subprocess.Popen(
        [sys.executable, "-m", "workflow_r1.cli", *arguments],
        env=environment,
        stdin=subprocess.PIPE,
        start_new_session=True,
    )


def _wait(children: "Sequence[subprocess.Popen[bytes]]") -> tuple[int, int | None] | None:
    """Wait until all have ended, or one is lost.

    Returns:
        The rank that was lost and its exit code, None as the code where it still runs but does not answer; None where
        all ended together.
    """
    deadline: float | None = None
    while True:
        codes = [child.poll() for child in children]
        killed = [rank for rank, code in enumerate(codes) if code is not None and code < 0]
        failed = [rank for rank, code in enumerate(codes) if code is not None and code not in (*ORDERLY, EXIT_CODE)]
        told = [rank for rank, code in enumerate(codes) if code == EXIT_CODE]
        have_ended = None not in codes
        if have_ended and not told and len(set(codes)) == 1:
            return None
        if deadline is None and (failed or told):
            deadline = time.monotonic() + TOLD_SECONDS
        if killed or have_ended or (deadline is not None and time.monotonic() > deadline):
            # A process that learnt of a loss is not the lost one.
            others = [rank for rank in range(len(codes)) if rank not in told]
            rank = (killed or failed or others or told)[0]
            return rank, codes[rank]
        time.sleep(_POLL_SECONDS)


def _end(children: "Sequence[subprocess.Popen[bytes]]") -> None:
    """Stop the processes that still run."""
    for child in children:
        if child.poll() is None:
            child.terminate()
    deadline = time.monotonic() + TERM_SECONDS
    for child in children:
        try:
            child.wait(timeout=max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        if child.stdin is not None:
            child.stdin.close()


@contextmanager
def _forwarding(children: "Sequence[subprocess.Popen[bytes]]") -> Iterator[None]:
    """Pass Ctrl-C and SIGTERM on to the children as Ctrl-C; the third of them kills the children."""
    interrupts = 0

    def forward(number: int, frame: FrameType | None) -> None:
        nonlocal interrupts
        interrupts += 1
        for child in children:
            if child.poll() is None:
                child.send_signal(signal.SIGINT if interrupts < 3 else signal.SIGKILL)

    before = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _describe(code: int | None) -> str:
    if code is None:
        return "stopped answering"
    if code >= 0:
        return f"ended with exit code {code}"
    with contextlib.suppress(ValueError):
        return f"was killed by {signal.Signals(-code).name}"
    return f"was killed by signal {-code}"


def _end_with_launcher() -> None:
    """Wait for the end of standard input: the launcher has gone, however it went, and nobody watches this run."""
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
