"""The ratios of several benchmarks in one table.

    python benchmarks/ratios.py [--small]

Each benchmark runs in a process of its own and prints its tables; the last one holds every ratio, its lowest and highest
value over the repeats, and what it is a ratio to. Absolute figures mean little on a machine that others use too.
``--small`` shows that every part runs; its figures mean nothing.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

BENCHMARKS = {
    "sampler.py": "--sessions 8 --repeats 1",
    "update.py": "--trajectories 16 --rounds 1",
    "llm_client.py": "--trajectories 8 --concurrency 8 --latency 0.05",
}
"""Benchmarks that ``--ratios`` makes write their ratios into a file, in the order of the table, with their smallest sizes."""


def note(path: Path | None, figure: str, ratios: Sequence[float], *, to: str) -> None:
    """Append a figure to the file of ratios, if there is one.

    Args:
        path: the file; None where nobody asked for it.
        figure: name of the figure.
        ratios: its ratio in each repeat.
        to: name of the limit or peer.
    """
    if path is not None:
        with path.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps({"figure": figure, "ratios": list(ratios), "to": to}) + "\n")


def main() -> None:
    """Run the benchmarks and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="only show that every part runs")
    is_small = parser.parse_args().small
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ratios.jsonl"
        path.touch()
        for name, sizes in BENCHMARKS.items():
            print(f"\n== {name}\n", flush=True)
            command = [sys.executable, Path(__file__).with_name(name), "--ratios", path]
            subprocess.run([*command, *(sizes.split() if is_small else [])], check=True)
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    print(f"\n== ratios\n\n{'figure':52} {'median':>6} {'low':>6} {'high':>6}  to")
    for row in rows:
        median, low, high = (function(row["ratios"]) for function in (statistics.median, min, max))
        print(f"{row['figure']:52} {median:6.2f} {low:6.2f} {high:6.2f}  {row['to']}")


if __name__ == "__main__":
    main()
