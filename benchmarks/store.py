"""Calls replayed from the store, beside the same calls of a double in this process, which answers at once.

Serves the question whether a replay, or a run whose calls are all stored, waits for the store::

    python benchmarks/store.py [--calls 10000] [--chars 1500]
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from workflow_r1.inference import ChatModel, ChatRequest, ScriptedChatModel, StoredChatModel
from workflow_r1.store import CallStore
from workflow_r1.trajectory import Message

CONCURRENCY = 64


async def measure(chat: ChatModel, requests: Sequence[Sequence[Message]], *, concurrency: int) -> tuple[float, float]:
    """Return wall and CPU seconds of all requests."""
    wall, cpu = time.perf_counter(), time.process_time()
    for start in range(0, len(requests), concurrency):
        await asyncio.gather(
            *(chat(ChatRequest(tuple(messages))) for messages in requests[start : start + concurrency])
        )
    return time.perf_counter() - wall, time.process_time() - cpu


async def main() -> None:
    """Record and replay, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=10_000, help="different calls")
    parser.add_argument("--chars", type=int, default=1500, help="characters of a request; a reply has half of it")
    arguments = parser.parse_args()

    requests = [
        (Message(role="user", content=f"{number} {'q' * arguments.chars}"),) for number in range(arguments.calls)
    ]
    double = ScriptedChatModel(lambda _: "r" * (arguments.chars // 2))
    print("| calls | calls per second | CPU microseconds per call |\n|---|---|---|")

    async def show(name: str, chat: ChatModel, *, concurrency: int = CONCURRENCY) -> float:
        wall, cpu = await measure(chat, requests, concurrency=concurrency)
        print(f"| {name} | {len(requests) / wall:,.0f} | {cpu / len(requests) * 1e6:.0f} |")
        return cpu / len(requests)

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "calls.sqlite3"
        alone = await show("the double alone", double)
        with CallStore(path, mode="record") as store:
            await show("recorded: made and stored", StoredChatModel(double, store, model="m", endpoint="double"))
        with CallStore(path, mode="replay") as store:
            replayed = StoredChatModel(None, store, model="m", endpoint="double")
            cost = await show("replayed", replayed)
            await show("replayed one by one", replayed, concurrency=1)
    print(f"\nA stored call costs {(cost - alone) * 1e6:.0f} CPU microseconds more than the double's.")


if __name__ == "__main__":
    asyncio.run(main())
