"""Training in turn beside training as a stream, with operators that are as slow as real services (a simulation)::

    python benchmarks/asynchronous.py [--staleness 0,4] [--seeds 5] [--steps 32] [--median 5] [--p99 30]

The embedded world's expert and search stand behind one real HTTP server on this machine, which waits before each reply:
a log-normal time with the given median and 99th percentile. Every arm trains on the same questions, as many
trajectories, and the same settings but for ``training.staleness``. Each policy is evaluated afterwards on held-out
questions, by an expert that does not wait.

``--clock cpu`` (the default) counts the seconds of a machine with nothing else to do: the CPU time of the process, and
the waits in which it had nothing to do, which it skips. It costs only the CPU time, and other programs cannot change its
figures. ``--clock wall`` waits for real.
"""

import argparse
import asyncio
import functools
import json
import math
import random
import selectors
import statistics
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from workflow_r1.assembly.world import embedded_world
from workflow_r1.config.loading import load_run_config
from workflow_r1.config.run import RunConfig
from workflow_r1.embedded import EmbeddedConfig, SimulatedExpert
from workflow_r1.engines.native.run import Trainer
from workflow_r1.environment import QuestionEnvironment
from workflow_r1.evaluation.evaluate import evaluate
from workflow_r1.evaluation.statistics import seed_interval
from workflow_r1.inference import ChatReply, ChatRequest, OpenAIChatConfig, OpenAIChatModel
from workflow_r1.inference.loopback import LoopbackServer
from workflow_r1.operators import OPERATORS, OperatorConfig, OperatorServices
from workflow_r1.policy.local_sampler import LocalSampler
from workflow_r1.policy.model import load_policy_model
from workflow_r1.recording.events import Event, StepFinished
from workflow_r1.retrieval import RetrievalServerConfig, RetrievalServerSearch

Z99 = 2.3263478740408408
"""The standard normal distribution's 99th percentile."""

PATIENCE = 3600.0
"""Longest wait for a reply, in seconds: no call fails for its wait."""

IN_FLIGHT = 0.002
"""Real seconds in which bytes on their way through the kernel arrive."""


class SkippingSelector(selectors.DefaultSelector):
    """Skips the waits in which the whole process has nothing to do."""

    def __init__(self) -> None:
        super().__init__()
        self.skipped = 0.0
        """Seconds that were skipped."""
        self.num_threads_at_work = 0
        """Threads that the event loop waits for."""

    def select(self, timeout: float | None = None) -> Any:
        """Return what is ready; without anything, the time until the next timer is over at once."""
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if self.num_threads_at_work or timeout is None:
            return super().select(IN_FLIGHT)
        ready = super().select(IN_FLIGHT)
        if not ready:
            self.skipped += timeout
        return ready


class CPUClockLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is the CPU time of the process and the waits that it skipped."""

    def __init__(self) -> None:
        self._skipping = SkippingSelector()
        super().__init__(self._skipping)

    def time(self) -> float:
        """Seconds of a machine with nothing else to do."""
        return time.process_time() + self._skipping.skipped

    def run_in_executor(self, executor: Any, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run in a thread, which takes CPU time: nothing is skipped meanwhile."""
        self._skipping.num_threads_at_work += 1
        future = super().run_in_executor(executor, function, *arguments)

        def done(_: Future[Any]) -> None:
            self._skipping.num_threads_at_work -= 1

        future.add_done_callback(done)  # type: ignore[arg-type]
        return future


class SlowServices:
    """The embedded world's services behind one server, each reply after a wait.

    Args:
        median: half of the waits are shorter, in seconds.
        p99: one wait in a hundred is longer, in seconds.
        seed: seed of the waits.
    """

    def __init__(self, median: float, p99: float, seed: int) -> None:
        self._world = embedded_world(EmbeddedConfig())
        self._expert = SimulatedExpert(self._world)
        self._random = random.Random(seed)
        self._mean, self._spread = math.log(median), math.log(p99 / median) / Z99
        self.server = LoopbackServer(self.chat, routes={"/retrieve": self.retrieve})
        """The server."""

    async def chat(self, request: ChatRequest) -> ChatReply:
        """Answer as the expert does."""
        await self._wait()
        return await self._expert(request)

    async def retrieve(self, request: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """Search as the embedded world does, in the protocol of a retrieval server."""
        await self._wait()
        found = [await self._world.search(query, k=request["topk"]) for query in request["queries"]]
        return 200, {
            "result": [
                [
                    {"document": {"id": each.id, "contents": f'"{each.title}"\n{each.text}'}, "score": each.score}
                    for each in passages
                ]
                for passages in found
            ]
        }

    async def _wait(self) -> None:
        await asyncio.sleep(self._random.lognormvariate(self._mean, self._spread))

    def clients(self) -> OperatorServices:
        """Return what the operators ask."""
        patience = {"timeout_seconds": PATIENCE, "idle_timeout_seconds": PATIENCE}
        chat = OpenAIChatModel(
            OpenAIChatConfig(model="expert", base_url=self.server.url, concurrency=1024, send_seed=True, **patience)
        )
        search = RetrievalServerConfig(
            url=f"http://127.0.0.1:{self.server.port}", concurrency=1024, max_batch=1, **patience
        )
        return OperatorServices(chat=chat, search=RetrievalServerSearch(search), config=OperatorConfig(search_k=1))


def configure(staleness: int, seed: int, arguments: argparse.Namespace) -> RunConfig:
    """Return the settings of a run: the quickstart's but for those named here."""
    size = arguments.questions_per_step
    values = {
        "seed": seed,
        "policy.threads": 1,
        "optimiser.learning_rate": arguments.learning_rate,
        "training.steps": arguments.steps,
        "training.questions_per_step": size,
        "training.mini_batch_questions": size // 2,
        "training.evaluation_questions": 0,
        "training.staleness": staleness,
        **dict(option.split("=", 1) for option in arguments.override),
    }
    return load_run_config("embedded", [f"{key}={value}" for key, value in values.items()])


def train(config: RunConfig, directory: Path, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Train one run and return a row for each step."""
    services = SlowServices(arguments.median, arguments.p99, config.seed)
    loops: list[asyncio.AbstractEventLoop] = []
    rows: list[dict[str, Any]] = []

    def open_loop() -> asyncio.AbstractEventLoop:
        """Open the trainer's event loop, in which the server runs, too: one clock for both."""
        loop = CPUClockLoop() if arguments.clock == "cpu" else asyncio.new_event_loop()
        listening = threading.Event()
        serving = loop.create_task(services.server._run(listening))
        while not listening.is_set():
            loop.run_until_complete(asyncio.sleep(0.001))
        loops.append(loop)
        assert not serving.done()
        return loop

    started: list[float] = []

    def on_event(event: Event) -> None:
        if isinstance(event, StepFinished):
            rows.append({"seconds": loops[-1].time() - started[0], **event.metrics})

    runner = asyncio.Runner
    clients: list[OperatorServices] = []

    def make_environment(question: Any) -> QuestionEnvironment:
        if not clients:
            clients.append(services.clients())
            started.append(loops[-1].time())
        return QuestionEnvironment(question, config=config.environment, operators=OPERATORS, services=clients[0])

    asyncio.Runner = functools.partial(runner, loop_factory=open_loop)  # type: ignore[misc, assignment]
    try:
        Trainer(
            config=config,
            run_directory=directory,
            train_questions=embedded_world(EmbeddedConfig()).questions("train", config.data.limit or 10_000),
            evaluation_questions=(),
            make_environment=make_environment,
            on_event=on_event,
        ).run()
    finally:
        asyncio.Runner = runner  # type: ignore[misc]
    return rows


def exact_match(directory: Path, num_questions: int, temperature: float) -> float:
    """Return the exact match of a policy on held-out questions."""
    config = load_run_config("embedded", [f"policy.model={directory}", "policy.threads=1"])
    model, tokenizer = load_policy_model(config.policy, seed=0)
    world = embedded_world(EmbeddedConfig())
    services = OperatorServices(chat=SimulatedExpert(world), search=world.search, config=OperatorConfig(search_k=1))
    sampling = config.sampling.model_copy(update={"temperature": temperature})
    result = asyncio.run(
        evaluate(
            world.questions("evaluation", num_questions),
            policy=LocalSampler(model, tokenizer, sampling=sampling, name="policy"),
            make_environment=lambda question: QuestionEnvironment(
                question, config=config.environment, operators=OPERATORS, services=services
            ),
            seed=0,
            concurrency=config.sampling.max_sessions,
        )
    )
    return result.figures.exact_match.rate


def mean_and_half_width(values: Sequence[float], sign: str = "") -> str:
    """Return the mean with half of its 95% interval (Student's t)."""
    if len(values) < 2:
        return format(statistics.mean(values), f"{sign}.3f")
    interval = seed_interval(values=values)
    return f"{interval.estimate:{sign}.3f} ± {interval.high - interval.estimate:.3f}"


FIGURES: Mapping[str, Callable[[dict[str, Any]], float]] = {
    "minutes": lambda run: run["rows"][-1]["seconds"] / 60,
    "lag": lambda run: statistics.mean(row.get("rollout/lag_mean", 0.0) for row in run["rows"]),
    "reward, all steps": lambda run: statistics.mean(rewards(run)),
    "reward, last quarter": lambda run: statistics.mean(rewards(run)[-(len(run["rows"]) // 4) :]),
    "greedy EM": lambda run: run["greedy"],
    "sampled EM": lambda run: run["sampled"],
}
"""The figures of a run by their headings."""


def rewards(run: dict[str, Any]) -> list[float]:
    """Return the mean reward of each step."""
    return [row["rollout/reward"] for row in run["rows"]]


def show(results: Sequence[dict[str, Any]], arms: Sequence[int]) -> None:
    """Print a table of the runs that are done, and one of differences from the first arm, seed by seed."""
    by_arm = {arm: {run["seed"]: run for run in results if run["staleness"] == arm} for arm in arms}
    print(f"\n| staleness | seeds | {' | '.join(FIGURES)} |\n|---|---|{'---|' * len(FIGURES)}")
    for arm, own in by_arm.items():
        if own:
            cells = [mean_and_half_width([figure(run) for run in own.values()]) for figure in FIGURES.values()]
            print(f"| {arm} | {len(own)} | {' | '.join(cells)} |")
    compared = [name for name in FIGURES if name not in ("minutes", "lag")]
    print(
        f"\n| less staleness {arms[0]} | seeds | faster | {' | '.join(compared)} |\n|---|---|---|{'---|' * len(compared)}"
    )
    first = by_arm[arms[0]]
    for arm in arms[1:]:
        pairs = [(run, first[seed]) for seed, run in by_arm[arm].items() if seed in first]
        if pairs:
            faster = statistics.median(FIGURES["minutes"](other) / FIGURES["minutes"](run) for run, other in pairs)
            cells = [
                mean_and_half_width([FIGURES[name](run) - FIGURES[name](other) for run, other in pairs], "+")
                for name in compared
            ]
            print(f"| {arm} | {len(pairs)} | {faster:.2f} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Train all arms, seed by seed, evaluate them, and print a table after each seed; runs that are kept are not made again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--staleness", default="0,4", help="arms, comma-separated")
    parser.add_argument("--seeds", type=int, default=5, help="seeds of each arm")
    parser.add_argument("--steps", type=int, default=32, help="steps of a run")
    parser.add_argument("--questions-per-step", type=int, default=4, help="groups of a step, of 8 trajectories each")
    parser.add_argument("--learning-rate", type=float, default=5e-5, help="peak learning rate")
    parser.add_argument("--median", type=float, default=5.0, help="median wait of a call, in seconds")
    parser.add_argument("--p99", type=float, default=30.0, help="99th percentile of the waits, in seconds")
    parser.add_argument("--clock", choices=("cpu", "wall"), default="cpu", help="the seconds that are counted")
    parser.add_argument("--override", "-o", action="append", default=[], help="further settings, KEY=VALUE")
    parser.add_argument("--evaluation-questions", type=int, default=400, help="held-out questions")
    parser.add_argument("--output", type=Path, default=Path("runs/asynchronous"), help="directory of the runs")
    arguments = parser.parse_args()

    arms = [int(value) for value in arguments.staleness.split(",")]
    # All that a run depends on but its arm and seed.
    settings = {name: value for name, value in vars(arguments).items() if name not in ("staleness", "seeds", "output")}
    results: list[dict[str, Any]] = []
    for seed in range(arguments.seeds):
        for staleness in arms:
            directory = arguments.output / f"staleness-{staleness}-seed-{seed}"
            kept = directory.with_suffix(".json")
            if kept.exists():
                if json.loads(kept.read_text()).get("settings") != settings:
                    parser.error(f"{kept} was made with other settings; give another --output")
            else:
                rows = train(configure(staleness, seed, arguments), directory, arguments)
                greedy, sampled = (
                    exact_match(directory / "policy", arguments.evaluation_questions, temperature)
                    for temperature in (0.0, 1.0)
                )
                run = {"staleness": staleness, "seed": seed, "rows": rows, "greedy": greedy, "sampled": sampled}
                kept.write_text(json.dumps(run | {"settings": settings}))
            results.append(json.loads(kept.read_text()))
        show(results, arms)


if __name__ == "__main__":
    main()
