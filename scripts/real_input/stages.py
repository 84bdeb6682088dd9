"""Stages of a long script: commands that end in order, and the time and memory that each took."""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from workflow_r1.errors import UserError
from workflow_r1.recording.run_lock import LOCK
from workflow_r1.retrieval import BM25Index
from workflow_r1.store.lock import held_alone
from workflow_r1.trajectory.storage import write_atomically

PATIENCE_SECONDS = 5.0
"""Time between two looks whether a directory is free."""


def train(name: str, preset: str, directory: Path, overrides: Sequence[str]) -> None:
    """Run ``workflow-r1 train`` or ``warmstart`` into a directory, continue where it was stopped, or leave it where it is done."""
    if (directory / "policy").is_dir():
        print(f"{name}: {directory / 'policy'} stands already")
        return
    config = directory / "config.toml"
    # A run that ended before its first checkpoint starts over with its resume; as a new one its directory would be taken.
    started = config.is_file() and config.stat().st_size > 0
    place = ["--resume", str(directory)] if started else [preset, "--output", str(directory)]
    command(name, *place, *options(overrides))


def build_index(index: Path, corpus: Path) -> None:
    """Build the BM25 index of a corpus, unless it stands already."""
    if index.exists():
        print(f"index: {index} stands already")
    else:
        print(f"index: building {index}")
        BM25Index.build(corpus, index)


def command(*arguments: str) -> None:
    """Run ``workflow-r1`` to its end; see :func:`finish`."""
    print(f"$ workflow-r1 {' '.join(arguments)}", flush=True)
    finish([sys.executable, "-m", "workflow_r1.cli", *arguments])


def options(overrides: Sequence[str]) -> list[str]:
    """Write overrides as options of a command."""
    return [part for override in overrides for part in ("-o", override)]


def exit_code(work: Callable[[], None], directory: Path, *, mistakes: tuple[type[Exception], ...]) -> int:
    """Do all stages, and return the exit code of the script: 0 done, 2 a mistake, 130 interrupted, else that of a command.

    Args:
        work: the stages.
        directory: directory of what was done so far.
        mistakes: errors whose message alone is shown.
    """
    try:
        work()
    except mistakes as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as error:
        print(f"error: {error}; what was done so far stands in {directory}", file=sys.stderr)
        return error.returncode if error.returncode > 0 else 1
    except KeyboardInterrupt:
        print(f"stopped; the same command continues from {directory}", file=sys.stderr)
        return 130
    return 0


def finish(arguments: list[str]) -> None:
    """Run a command to its end. Where this process is stopped, the command is given the time to save its checkpoint.

    Raises:
        subprocess.CalledProcessError: it failed.
        KeyboardInterrupt: Ctrl-C, once the command has ended.
        SystemExit: this process was terminated, once the command has ended.
    """
    process = subprocess.Popen(arguments)
    stopped: BaseException | None = None
    while process.returncode is None:
        try:
            process.wait()
        except KeyboardInterrupt as interrupt:
            stopped = interrupt  # The terminal has interrupted the command as well.
        except SystemExit as termination:
            stopped = termination
            process.terminate()  # Ctrl-C is ignored where this script runs in the background.
    if stopped is not None:
        raise stopped
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, arguments)


@contextmanager
def held_in_turn(directory: Path) -> Iterator[None]:
    """Hold a directory alone for the time of the context; where another process holds it, say so and wait until it ends."""
    with ExitStack() as stack:
        said = False
        while True:
            try:
                stack.enter_context(held_alone(directory / LOCK, place=directory))
                break
            except UserError as error:
                if not said:
                    print(f"waiting: {error}", flush=True)
                said = True
                time.sleep(PATIENCE_SECONDS)
        yield


@contextmanager
def timed(directory: Path, stage: str) -> Iterator[None]:
    """Add a stage's wall and CPU time to ``seconds.json``, and the most memory of one process so far.

    The CPU time of a server is not in it. No other process may write the file: hold the directory.
    """
    before = (time.perf_counter(), cpu_seconds())
    try:
        yield
    finally:
        path = directory / "seconds.json"
        seconds = json.loads(path.read_text()) if path.is_file() else {}
        spent = (time.perf_counter() - before[0], cpu_seconds() - before[1])
        earlier = seconds.get(stage, {"wall": 0.0, "cpu": 0.0})
        seconds[stage] = {key: round(earlier[key] + part, 1) for key, part in zip(("wall", "cpu"), spent, strict=True)}
        seconds[stage]["peak_gb"] = max(earlier.get("peak_gb", 0.0), peak_gb())
        write_atomically(path, json.dumps(seconds, indent=2) + "\n")


def cpu_seconds() -> float:
    """CPU time of this process and of the commands that it has waited for, which a busy machine does not distort."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def peak_gb() -> float:
    """Most memory (GiB, resident) that this process or one of the commands that it has waited for held at once."""
    largest = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return round(largest / (2**30 if sys.platform == "darwin" else 2**20), 2)
