"""Requests per second of ``workflow-r1 serve`` with the embedded policy (a simulation): one after the other, and many at once.

Both are measured in one run, interleaved, on the same questions; the ratio is what batching the live trajectories gives. The
last column compares with the same rollouts without HTTP: what the server itself costs.

    python benchmarks/serve.py --concurrency 32 --repeats 3
"""

import argparse
import asyncio
import socket
import statistics
import time
from collections.abc import Awaitable, Callable

import openai
import torch
import uvicorn

from workflow_r1.config import load_run_config
from workflow_r1.rollout import derive_seed, rollout
from workflow_r1.running.parts import held_out_questions
from workflow_r1.running.policies import OpenedMethod, open_method
from workflow_r1.serving.app import Served, make_app
from workflow_r1.trajectory import Question

Ask = Callable[[Question], Awaitable[object]]


async def ask_all(ask: Ask, questions: list[Question], concurrency: int) -> float:
    """Ask every question, so many at once; return the requests per second."""
    slots = asyncio.Semaphore(concurrency)

    async def one(question: Question) -> None:
        async with slots:
            await ask(question)

    started = time.perf_counter()
    await asyncio.gather(*map(one, questions))
    return len(questions) / (time.perf_counter() - started)


async def measure(opened: OpenedMethod, questions: list[Question], concurrency: int, repeats: int) -> None:
    """Serve and ask in one process and thread, and print the table."""
    served = Served(
        model="embedded",
        policy=opened.policy,
        make_environment=opened.make_environment,
        temperature=0.0,
        simulation=True,
    )
    listening = socket.create_server(("127.0.0.1", 0), backlog=256)
    server = uvicorn.Server(uvicorn.Config(make_app(served), log_level="warning"))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    address = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"

    async with openai.AsyncOpenAI(base_url=address, api_key="none", max_retries=0) as client:

        async def ask(question: Question) -> object:
            messages = [{"role": "user", "content": question.text}]
            return await client.chat.completions.create(model="embedded", messages=messages)

        async def roll_out(question: Question) -> object:
            return await rollout(
                question,
                policy=opened.policy,
                environment=opened.make_environment(question),
                trajectory_id="t",
                group_id="g",
                seed=derive_seed(0, question.id),
            )

        await ask_all(ask, questions[:2], 2)
        rates: dict[str, list[float]] = {"alone": [], "together": [], "without HTTP": []}
        few = questions[: max(4, len(questions) // 8)]
        for _ in range(repeats):
            rates["alone"].append(await ask_all(ask, few, 1))
            rates["together"].append(await ask_all(ask, questions, concurrency))
            rates["without HTTP"].append(await ask_all(roll_out, questions, concurrency))
    alone, together, bare = (statistics.median(rates[name]) for name in rates)
    print(f"one after the other     {alone:6.2f} requests/s")
    print(f"{concurrency:3} at once             {together:6.2f} requests/s   {together / alone:.1f} times")
    print(f"the same without HTTP   {bare:6.2f} requests/s   the server reaches {together / bare:.2f} of it")
    server.should_exit = True
    await serving


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--questions", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    config = load_run_config("embedded", ["policy.threads=1", f"sampling.max_sessions={arguments.concurrency}"])
    opened = open_method(config, "policy", temperature=0.0)
    torch.set_num_threads(1)
    questions = held_out_questions(config, arguments.questions)
    asyncio.run(measure(opened, questions, arguments.concurrency, arguments.repeats))


if __name__ == "__main__":
    main()
