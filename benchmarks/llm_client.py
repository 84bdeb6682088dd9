"""Speed of the LLM client against the limit of a service's latency, and its cost per call.

A server in a process of its own replies after a fixed time. Trajectories run through the real operators and environment:
one ``AnswerGenerate``, one ``MultiAnswerGenerate`` (three calls) and one ``ScEnsemble``, five calls each. The bound is
concurrency / latency. Beside it, in the same run, bare sockets, which show what the machine can do meanwhile; and, where
the package openai is installed, the official SDK's client: pooled, and as one writes it first (a session per call, the three
answers one after the other, a second's sleep per turn)::

    python benchmarks/llm_client.py [--trajectories 512] [--concurrency 64] [--latency 0.2]
"""

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

try:
    import openai
except ImportError:
    openai = None  # type: ignore[assignment]

from ratios import note

from workflow_r1.environment import EnvironmentConfig, QuestionEnvironment
from workflow_r1.inference import (
    ChatModel,
    ChatReply,
    ChatRequest,
    OpenAIChatConfig,
    OpenAIChatModel,
    ScriptedChatModel,
)
from workflow_r1.inference.loopback import LoopbackServer
from workflow_r1.operators import OPERATORS, Operator, OperatorResult, OperatorServices, operator
from workflow_r1.rollout import ScriptedPolicy, rollout_groups
from workflow_r1.rollout.policy import Policy, PolicySession, SampledTurn
from workflow_r1.trajectory import FinishReason, Message, Question, StopReason, Usage

QUESTION = "In which year was the director of the film that opened the festival born?"
REPLY = f"<reasoning>{'The director is known, and so is the year. ' * 20}</reasoning><answer>1946</answer>"
TURNS = [
    f"<think>Ask.</think><tool>AnswerGenerate: {QUESTION}</tool>",
    f"<think>Ask three times.</think><tool>MultiAnswerGenerate: {QUESTION}</tool>",
    f"<think>Combine.</think><tool>ScEnsemble: <query>{QUESTION}</query>{'<solution>1946</solution>' * 3}</tool>",
    "<think>Done.</think><answer>1946</answer>",
]
CALLS = 5
"""LLM calls of one trajectory."""


class SessionPerCall:
    """A ``ChatModel`` that makes a client for every call and reads the reply through the SDK's own records."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url

    async def __call__(self, request: ChatRequest) -> ChatReply:
        """Ask once."""
        async with openai.AsyncOpenAI(api_key="none", base_url=self._base_url) as client:
            return await ask_sdk(client, request)


async def ask_sdk(client: "openai.AsyncOpenAI", request: ChatRequest) -> ChatReply:
    """Ask once through the SDK's usual call."""
    completion = await client.chat.completions.create(
        model="m",
        messages=[{"role": "user", "content": message.content} for message in request.messages],
        temperature=request.temperature,
        max_tokens=request.max_tokens,
    )
    return ChatReply(completion.choices[0].message.content or "", FinishReason.STOP, Usage(llm_calls=1))


class BareSockets:
    """A ``ChatModel`` without an HTTP library: the same bytes written and read, and nothing looked at.

    What this machine can do at this moment, for a comparison that its other work does not spoil.
    """

    def __init__(self, base_url: str, concurrency: int) -> None:
        parts = urlsplit(base_url)
        self._slots = asyncio.Semaphore(concurrency)
        self._address = (parts.hostname, parts.port)
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": QUESTION * 10}]}).encode()
        self._request = b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body

    async def __call__(self, request: ChatRequest) -> ChatReply:
        """Ask once."""
        async with self._slots:
            reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection(*self._address)
            writer.write(self._request)
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.rpartition(b"Content-Length: ")[2].split()[0]))
            self._idle.append((reader, writer))
        return ChatReply(REPLY, FinishReason.STOP, Usage(llm_calls=1))

    async def aclose(self) -> None:
        """Close the connections."""
        for _, writer in self._idle:
            writer.close()
            await writer.wait_closed()


@operator(purpose="Gives several independent answers, one after the other.")
async def one_after_the_other(question: str, *, services: OperatorServices) -> OperatorResult:
    """Ask three times in turn."""
    answers = [await OPERATORS["AnswerGenerate"](question, services) for _ in range(3)]
    observation = "\n".join(f"[Answer {number}] {answer.observation}" for number, answer in enumerate(answers, start=1))
    return OperatorResult(observation=observation, usage=sum((answer.usage for answer in answers), Usage()))


class SleepyPolicy:
    """Sleeps a second before each turn, as a rate limit made by hand."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    @property
    def name(self) -> str:
        """Name for records."""
        return "sleepy"

    @asynccontextmanager
    async def session(self, *, seed: int) -> AsyncIterator[PolicySession]:
        """Open a session."""
        async with self._policy.session(seed=seed) as session:
            sample = session.sample

            async def sleep_first(*, max_tokens: int) -> SampledTurn:
                await asyncio.sleep(1.0)
                return await sample(max_tokens=max_tokens)

            session.sample = sleep_first  # type: ignore[method-assign]
            yield session


@dataclass(frozen=True, slots=True)
class Measured:
    """Usage of one way of asking."""

    calls: int
    seconds: float
    cpu_seconds: float

    @property
    def per_second(self) -> float:
        """Calls per second."""
        return self.calls / self.seconds

    @property
    def cpu_ms(self) -> float:
        """CPU time of this process per call."""
        return 1000 * self.cpu_seconds / self.calls


async def roll_out(
    chat: ChatModel, policy: Policy, operators: dict[str, Operator], *, num: int, concurrency: int
) -> Measured:
    """Time some trajectories."""
    config = EnvironmentConfig(operators=("AnswerGenerate", "MultiAnswerGenerate", "ScEnsemble"), prompt_style="brief")
    services = OperatorServices(chat=chat)
    questions = [Question(id=str(number), text=QUESTION, golden_answers=("1946",)) for number in range(num)]
    started, cpu = time.perf_counter(), time.process_time()
    groups = await rollout_groups(
        questions,
        policy=policy,
        make_environment=lambda question: QuestionEnvironment(
            question, config=config, operators=operators, services=services
        ),
        group_size=1,
        seed=0,
        max_concurrency=concurrency,
    )
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
    trajectories = [trajectory for group in groups for trajectory in group]
    calls = sum(trajectory.usage.llm_calls for trajectory in trajectories)
    assert calls == CALLS * num, f"expected {CALLS * num} calls, made {calls}"
    assert all(trajectory.stop_reason is StopReason.ANSWERED for trajectory in trajectories)
    return Measured(calls, seconds, cpu_seconds)


async def call_alone(ask: ChatModel, *, num: int, concurrency: int) -> Measured:
    """Time calls without operators around them."""
    slots = asyncio.Semaphore(concurrency)
    request = ChatRequest((Message(role="user", content=QUESTION * 10),))

    async def one() -> None:
        async with slots:
            await ask(request)

    await asyncio.gather(*(one() for _ in range(concurrency)))  # opens the connections
    started, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(one() for _ in range(num)))
    return Measured(num, time.perf_counter() - started, time.process_time() - cpu)


async def measure(url: str, arguments: argparse.Namespace) -> None:
    """Print the tables."""
    num, concurrency = arguments.trajectories, arguments.concurrency
    bound = concurrency / arguments.latency
    print(f"{num} trajectories of {CALLS} calls, {concurrency} at once, latency {arguments.latency:g} s")
    print(f"bound {bound:.0f} calls/s\n")
    scripted = ScriptedPolicy(TURNS)
    pool = dict(OPERATORS)
    async with OpenAIChatModel(OpenAIChatConfig(model="m", base_url=url, concurrency=concurrency)) as chat:
        await call_alone(chat, num=1, concurrency=concurrency)
        ours = await roll_out(chat, scripted, pool, num=num, concurrency=concurrency)
        alone = await call_alone(chat, num=CALLS * num, concurrency=concurrency)
        assert not chat.failures, f"expected no failures, counted {chat.failures}"
    bare = BareSockets(url, concurrency)
    await call_alone(bare, num=concurrency, concurrency=concurrency)
    machine = await roll_out(bare, scripted, pool, num=num, concurrency=concurrency)
    machine_alone = await call_alone(bare, num=CALLS * num, concurrency=concurrency)
    await bare.aclose()
    trajectories = {"this client": ours, "bare sockets": machine}
    calls = {"this client": alone, "bare sockets": machine_alone}
    if openai is not None:
        async with openai.AsyncOpenAI(api_key="none", base_url=url) as client:
            calls["the SDK's client"] = await call_alone(
                partial(ask_sdk, client), num=CALLS * num, concurrency=concurrency
            )
        trajectories["a plain client"] = await roll_out(
            SessionPerCall(url),
            SleepyPolicy(scripted),
            {**pool, "MultiAnswerGenerate": one_after_the_other},
            num=min(num, concurrency),
            concurrency=concurrency,
        )
    for title, table in (("trajectories by", trajectories), ("calls alone, pooled", calls)):
        print(f"| {title} | calls/s | of the bound | CPU ms per call | calls per CPU second |")
        print("|---|---|---|---|---|")
        for name, measured in table.items():
            shares = f"{measured.per_second:.1f} | {measured.per_second / bound:.3f}"
            print(f"| {name} | {shares} | {measured.cpu_ms:.2f} | {1000 / measured.cpu_ms:.0f} |")
            if name == "this client":
                note(
                    arguments.ratios, f"LLM client, {title}", [measured.per_second / bound], to="concurrency by latency"
                )
        print()


def serve(latency: float) -> None:
    """Serve until the other process closes our input."""
    with LoopbackServer(ScriptedReplies(), latency_seconds=latency) as server:
        print(server.url, flush=True)
        sys.stdin.read()


class ScriptedReplies(ScriptedChatModel):
    """Always the same reply; keeps nothing."""

    async def __call__(self, request: ChatRequest) -> ChatReply:
        """Reply."""
        return ChatReply(REPLY, FinishReason.STOP, Usage(llm_calls=1, prompt_tokens=100, completion_tokens=200))


def main() -> None:
    """Start the server, measure, stop it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trajectories", type=int, default=512)
    parser.add_argument("--concurrency", type=int, default=64, help="trajectories, and requests, at once")
    parser.add_argument("--latency", type=float, default=0.2, help="seconds before each reply")
    parser.add_argument("--ratios", type=Path, help="file to which the ratios are appended")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.latency)
        return
    command = [sys.executable, __file__, "--serve", "--latency", str(arguments.latency)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None and server.stdin is not None
        asyncio.run(measure(server.stdout.readline().strip(), arguments))
        server.stdin.close()


if __name__ == "__main__":
    main()
