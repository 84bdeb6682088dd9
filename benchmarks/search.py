"""Queries per second and CPU per query: an index in this process against the same index behind ``serve-search``.

    python benchmarks/search.py INDEX QUESTIONS [--queries 400] [--callers 64] [--rounds 3]

INDEX is a directory of a BM25 index, QUESTIONS a JSONL whose lines have a ``question``. As many callers as asked search at
once, each its next query when it has its last one's passages. Every round runs all settings in turn, in an order of its
own, and the medians are compared: on a machine that others use, too, only the ratios within one run mean anything. CPU time
of the server is read from /proc, so it is known on Linux alone.
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workflow_r1.retrieval import BM25Index, RetrievalServerConfig, RetrievalServerSearch, SearchBackend

SETTINGS = [(concurrency, max_batch) for concurrency in (1, 4, 16) for max_batch in (1, 32)]
"""Requests in flight and queries in each, of the client."""


def main() -> None:
    """Time every setting and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path)
    parser.add_argument("questions", type=Path)
    parser.add_argument("--queries", type=int, default=400)
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    lines = arguments.questions.read_text(encoding="utf-8").splitlines()[: arguments.queries]
    queries = [json.loads(line)["question"] for line in lines]
    index = BM25Index.open(arguments.index)
    print(f"{len(index)} passages, {len(queries)} queries, {arguments.callers} callers, {os.cpu_count()} CPUs")

    rows: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    with serving(arguments.index) as (url, server):
        candidates: dict[str, SearchBackend] = {"in process": index}
        for concurrency, max_batch in SETTINGS:
            config = RetrievalServerConfig(url=url, concurrency=concurrency, max_batch=max_batch)
            candidates[f"server, {concurrency} requests of {max_batch}"] = RetrievalServerSearch(config)
        for number in range(arguments.rounds + 1):
            for name in random.Random(number).sample(sorted(candidates), len(candidates)):
                seconds, own = run(candidates[name], queries, arguments.callers, server)
                if number:  # The first round warms up.
                    rows[name].append((seconds[0], own, seconds[1]))
    medians = {name: [statistics.median(column) for column in zip(*rows[name], strict=True)] for name in candidates}
    limit = len(queries) / medians["in process"][0]
    print("| search | queries/s | of in process | client CPU, ms/query | server CPU, ms/query |")
    print("|---|---|---|---|---|")
    for name, (wall, own, other) in medians.items():
        speed = len(queries) / wall
        client, its = 1000 * own / len(queries), 1000 * other / len(queries)
        print(f"| {name} | {speed:.0f} | {speed / limit:.2f} | {client:.2f} | {its:.2f} |")


def run(search: SearchBackend, queries: list[str], num_callers: int, server: int) -> tuple[tuple[float, float], float]:
    """Search for every query once; seconds of wall time and of the server's CPU, and seconds of this process's."""
    own, others, started = time.process_time(), cpu_seconds(server), time.perf_counter()
    asyncio.run(search_all(search, queries, num_callers))
    return (time.perf_counter() - started, cpu_seconds(server) - others), time.process_time() - own


async def search_all(search: SearchBackend, queries: list[str], num_callers: int) -> None:
    """Let callers take query after query until the queries are used up."""
    waiting: Iterator[str] = iter(queries)

    async def call() -> None:
        for query in waiting:
            await search(query, k=5)

    await asyncio.gather(*(call() for _ in range(num_callers)))


@contextmanager
def serving(index: Path) -> Iterator[tuple[str, int]]:
    """Serve the index in a process of its own; its address and process id."""
    command = [sys.executable, "-m", "workflow_r1.cli", "serve-search", "--index", str(index), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if " at " not in line:
            raise RuntimeError(f"expected the server to say where it is, received {line!r}")
        yield line.rpartition(" at ")[2].strip(), process.pid
    finally:
        process.terminate()
        process.communicate()


def cpu_seconds(pid: int) -> float:
    """CPU time of a process so far, user and system; nan where /proc does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
