"""Several processes use one store at once, and one of them is killed without warning."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

from workflow_r1.store import Call, CallDatabase, CallStore

NUM_CALLS = 150

WORKER = """
import asyncio, sys
from workflow_r1.store import Call, CallStore

path, name, num = sys.argv[1], sys.argv[2], int(sys.argv[3])

async def main():
    with CallStore(path) as store:
        print("open", flush=True)
        for number in range(num):
            async def ask():
                await asyncio.sleep(0)
                return {"answer": number, "by": name, "text": "x" * 500}
            answer, is_stored = await store.answer(Call("llm", "m", {"number": number % 150}, ""), ask)
            assert answer["answer"] % 150 == number % 150, answer
            print(number, answer["by"], flush=True)

asyncio.run(main())
"""


def start(path: Path, name: str, num: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, str(path), name, str(num)], stdout=subprocess.PIPE, text=True
    )


def told(output: str) -> dict[int, str]:
    """Return the author of the answer that a process handed out, by the number of the call; the last line may be cut off."""
    lines = [line.split() for line in output.splitlines()[1:-1]]
    return {int(number) % NUM_CALLS: by for number, by in lines}


def test_processes_share_a_store_and_one_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "calls.sqlite3"
    workers = {name: start(path, name, NUM_CALLS) for name in ("a", "b", "c")}
    killed = start(path, "killed", 10**9)
    assert killed.stdout is not None
    for _ in range(60):
        killed.stdout.readline()
    killed.send_signal(signal.SIGKILL)
    killed.stdout.close()
    killed.wait()
    outputs = {name: worker.communicate(timeout=120)[0] for name, worker in workers.items()}
    assert [worker.returncode for worker in workers.values()] == [0, 0, 0]

    database = CallDatabase(path, read_only=True)
    stored = {int(row.reply.split('"answer":')[1].split(",")[0]) % NUM_CALLS: row.reply for row in database.rows()}
    database.close()
    assert sorted(stored) == list(range(NUM_CALLS))
    for output in outputs.values():
        for number, by in told(output).items():
            assert f'"by":"{by}"' in stored[number], "every process got the stored answer"
    assert not list(tmp_path.glob("*.damaged-*"))
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def test_what_was_handed_out_survives_the_death_of_the_process(tmp_path: Path) -> None:
    path = tmp_path / "calls.sqlite3"
    killed = start(path, "killed", NUM_CALLS)
    assert killed.stdout is not None
    handed_out = [killed.stdout.readline().split() for _ in range(41)][1:]
    killed.kill()
    killed.stdout.close()
    killed.wait()

    async def replay() -> None:
        with CallStore(path, mode="replay") as store:
            for number, by in handed_out:
                answer, _ = await store.answer(Call("llm", "m", {"number": int(number)}, number), None)  # type: ignore[arg-type]
                assert answer["by"] == by == "killed"

    asyncio.run(replay())
