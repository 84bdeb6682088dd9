"""Size of a run's trajectories as plain and as compressed lines, and the time in which a file of many is opened.

The trajectories of a finished run are written again in both forms, then as often as it takes to have ``--num`` of them::

    python benchmarks/trajectory_files.py runs/NAME-TIME [--num 50000]
"""

import argparse
import gc
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

from workflow_r1.trajectory import Trajectory, append_trajectories
from workflow_r1.trajectory.index import TrajectoryIndex, append_indexed, index_path
from workflow_r1.trajectory.storage import iterate_trajectories

PER_STEP = 128
"""Trajectories that are written at once."""


def many(run: Path, num: int) -> Iterator[Trajectory]:
    """Trajectories of a run, over and over, each under an id of its own."""
    numbers = count()
    while True:
        for trajectory in iterate_trajectories(run / "trajectories.jsonl"):
            number = next(numbers)
            if number == num:
                return
            yield trajectory.model_copy(update={"id": f"{trajectory.id}-{number}", "step": number // PER_STEP + 1})


def batched(trajectories: Iterator[Trajectory]) -> Iterator[list[Trajectory]]:
    """The trajectories of one step after another."""
    while step := list(islice(trajectories, PER_STEP)):
        yield step


def timed(name: str, started: float, cpu: float) -> None:
    """Print the time since then."""
    print(f"| {name} | {time.perf_counter() - started:.3f} | {time.process_time() - cpu:.3f} |")


def open_many(path: Path) -> None:
    """Print what a viewer waits for."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print("| | seconds | CPU seconds |\n|---|---|---|")
    started, cpu = time.perf_counter(), time.process_time()
    state = "there" if index_path(path).is_file() else "missing"
    index = TrajectoryIndex(path)
    timed(f"open {len(index.rows)}, index {state}", started, cpu)
    started, cpu = time.perf_counter(), time.process_time()
    found = [row for row in index.rows if row.outcome == "wrong" and "Review" in row.operators and row.step]
    timed(f"filter, {len(found)} found", started, cpu)
    started, cpu = time.perf_counter(), time.process_time()
    assert index.read(index.rows[len(index.rows) // 2]).id == index.rows[len(index.rows) // 2].id
    timed("one trajectory", started, cpu)
    started, cpu = time.perf_counter(), time.process_time()
    assert len(list(index.read_all(index.rows[-256:]))) == 256
    timed("the last 256", started, cpu)
    gc.collect()
    print(
        f"\nmemory: {(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024:.0f} MiB more at its peak\n"
    )


def main() -> None:
    """Write, weigh, open."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--num", type=int, default=50_000)
    parser.add_argument("--open", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.open:
        open_many(arguments.run)
        return
    with tempfile.TemporaryDirectory() as folder:
        plain, packed = Path(folder) / "plain.jsonl", Path(folder) / "packed.jsonl.gz"
        append_trajectories(plain, iterate_trajectories(arguments.run / "trajectories.jsonl"))
        for step in batched(iterate_trajectories(arguments.run / "trajectories.jsonl")):
            append_indexed(packed, step)
        print("| the run's trajectories | bytes |\n|---|---|")
        for path in (plain, packed, index_path(packed)):
            print(f"| {path.name} | {path.stat().st_size} |")
        large = Path(folder) / "large.jsonl.gz"
        started, cpu = time.perf_counter(), time.process_time()
        for step in batched(many(arguments.run, arguments.num)):
            append_indexed(large, step, flush=False)
        print(
            f"\n{arguments.num} trajectories: {large.stat().st_size} bytes, index {index_path(large).stat().st_size}\n"
        )
        print("| | seconds | CPU seconds |\n|---|---|---|")
        timed("read, write and index them", started, cpu)
        print()
        command = [sys.executable, __file__, "--open", str(large)]
        subprocess.run(command, check=True)
        index_path(large).unlink()
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
