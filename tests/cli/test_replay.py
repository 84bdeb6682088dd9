"""A recorded training run repeats itself from the store of calls with the service stopped."""

import asyncio
import gzip
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from scripted_server import Answer, Request, Server, completion, serving

pytest.importorskip("torch")
pytest.importorskip("transformers")

from workflow_r1.embedded import EmbeddedWorld, SimulatedExpert
from workflow_r1.inference import ChatRequest
from workflow_r1.trajectory import Message

# Operators that ask the LLM are all that there is to call.
RUN = (
    "-o", "sampling.schedule=rounds",
    "-o", "training.steps=2", "-o", "training.questions_per_step=3", "-o", "training.mini_batch_questions=1",
    "-o", "training.group_size=4", "-o", "training.evaluation_questions=4", "-o", "environment.max_turns=4",
    "-o", "environment.max_response_tokens=256", "-o", "sampling.max_turn_tokens=64", "-o", "policy.threads=1",
    "-o", 'environment.operators=["AnswerGenerate", "MultiAnswerGenerate", "ScEnsemble"]',
)  # fmt: skip


def expert_server(world: EmbeddedWorld, draws: Iterator[int]) -> AbstractContextManager[Server]:
    """Serve the simulated expert over HTTP; like a real LLM it answers one request differently each time."""
    expert = SimulatedExpert(world)

    def answer(request: Request) -> Answer:
        messages = tuple(Message(**message) for message in request.json["messages"])
        reply = asyncio.run(expert(ChatRequest(messages, temperature=1.0, sample_index=next(draws))))
        tokens = {"prompt_tokens": reply.usage.prompt_tokens, "completion_tokens": reply.usage.completion_tokens}
        return Answer(completion(reply.text) | {"model": "expert", "usage": tokens})

    return serving(answer, at="/v1")


def rows(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        return [json.loads(line) for line in file]


def metrics(run: Path) -> list[str]:
    """The lines of ``metrics.jsonl`` as they stand there, without the keys under ``time/``."""
    return [
        json.dumps({key: value for key, value in row.items() if not key.startswith("time/")})
        for row in rows(run / "metrics.jsonl")
    ]


def trajectories(run: Path) -> list[dict[str, Any]]:
    """Without what depends on the clock and on who answered."""

    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            left_out = ("seconds", "stored_calls", "stored_tokens", "stored_searches", "paid")
            return {key: strip(inner) for key, inner in value.items() if key not in left_out}
        return [strip(inner) for inner in value] if isinstance(value, list) else value

    return [strip(row) for row in rows(run / "trajectories.jsonl.gz")]


def usage(run: Path, key: str) -> int:
    return sum(
        call["usage"][key]
        for row in rows(run / "trajectories.jsonl.gz")
        for turn in row["turns"]
        for call in turn["calls"]
    )


@pytest.mark.slow
def test_a_recorded_run_replays_with_the_service_stopped(call: Callable, tmp_path: Path) -> None:
    world, draws = EmbeddedWorld(0), count()

    def train(directory: str, address: str, mode: str, *more: str) -> Any:
        service = ("-o", "llm.kind=openai", "-o", "llm.model=expert", "-o", f"llm.base_url={address}")
        return call("train", *RUN, *service, "-o", f"store.mode={mode}", *more, "--run-directory", directory)

    with expert_server(world, draws) as server:
        address = server.url
        code, _, errors = train("recorded", address, "record")
        assert code == 0, errors
        num_asked = len(server.requests)
        code, _, errors = train("live", address, "off")
        assert code == 0, errors
    assert num_asked > 20
    assert (tmp_path / "store" / "calls.sqlite3").is_file(), "outside of the run directory"

    code, _, errors = train("replayed", address, "replay")
    assert code == 0, errors
    recorded, replayed = tmp_path / "recorded", tmp_path / "replayed"
    assert metrics(replayed) == metrics(recorded)
    assert trajectories(replayed) == trajectories(recorded)
    assert usage(replayed, "stored_calls") == usage(replayed, "llm_calls") == usage(recorded, "llm_calls") > 0
    assert metrics(tmp_path / "live") != metrics(recorded), "without the store the service decides"

    # Another seed asks other questions: the run stops, says what it lacks, and counts no failed service.
    code, _, errors = train("other", address, "replay", "-o", "seed=1", "-o", "training.evaluation_questions=0")
    assert code == 2
    assert "this one is not: expert at http://127.0.0.1" in errors
    assert not (tmp_path / "other" / "metrics.jsonl").exists() or not rows(tmp_path / "other" / "metrics.jsonl")
