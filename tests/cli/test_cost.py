"""Budgets, and tables of services, on the command line."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from workflow_r1.embedded import EmbeddedWorld, SimulatedExpert
from workflow_r1.inference.loopback import Fault, LoopbackServer
from workflow_r1.recording.events import TrajectoryFinished
from workflow_r1.running import evaluation
from workflow_r1.running.configuration import read_config

PRICED = (
    "-o", 'prices.models."simulated expert".prompt_per_million=1e6',
    "-o", 'prices.models."simulated expert".completion_per_million=1e6',
)  # fmt: skip
"""A unit of money for each token."""


def test_an_evaluation_stops_at_its_budget_and_goes_on(call: Callable, tmp_path: Path) -> None:
    options = ("evaluate", "-m", "cot", "--limit", "6", "--output", "e")
    code, output, errors = call(*options, "-o", "budget.calls=4")
    assert code == 3, errors
    assert "4 of 4 calls (budget.calls)" in output
    assert "--output e -o budget.calls=8" in output
    rows = (tmp_path / "e" / "rows.jsonl").read_text().splitlines()
    assert len(rows) == 4
    assert not (tmp_path / "e" / "summary.json").exists()
    # What was spent counts on: two more calls are one too many.
    code, output, _ = call(*options, "-o", "budget.calls=5")
    assert code == 3
    assert json.loads((tmp_path / "e" / "spent.json").read_text())["calls"] == 5
    code, output, errors = call(*options, "-o", "budget.calls=8")
    assert code == 0, errors
    assert "spent" not in errors
    assert "spent on services: 6 calls" in output
    assert len((tmp_path / "e" / "rows.jsonl").read_text().splitlines()) == 6


def test_a_killed_evaluation_has_left_what_it_had_spent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "SPENT_SECONDS", 0.01)
    file, seen = tmp_path / "e" / "spent.json", []

    def watch(event: object) -> None:
        if isinstance(event, TrajectoryFinished):
            seen.append(json.loads(file.read_text())["calls"] if file.is_file() else 0)

    with LoopbackServer(SimulatedExpert(EmbeddedWorld(0)), latency_seconds=0.2) as server:
        served = ["llm.kind=openai", f"llm.base_url={server.url}", "llm.model=expert", "sampling.max_sessions=1"]
        plan = evaluation.plan_evaluation(read_config("embedded", served), methods=["cot"], limit=4)
        evaluation.evaluate(plan, directory=tmp_path / "e", on_event=watch)
    # A call each; the file knows those of the answers before.
    assert len(seen) == 4 and seen[-1] >= 3


class Counted(LoopbackServer):
    """Counts the requests that reach it, failed on purpose or not."""

    num_requests = 0

    def _draw(self, body: bytes) -> Fault | None:
        self.num_requests += 1
        return super()._draw(body)


def test_budgets_below_the_number_of_sessions_are_spent_on_answers(call: Callable, tmp_path: Path) -> None:
    def served(server: LoopbackServer, *options: str) -> int:
        code, _, errors = call(
            "evaluate", "--limit", "40", "-o", "llm.kind=openai", "-o", f"llm.base_url={server.url}",
            "-o", "llm.model=expert", *options,
        )  # fmt: skip
        assert code in (0, 3), errors
        return code

    def rows(name: str) -> int:
        return len((tmp_path / name / "rows.jsonl").read_text().splitlines())

    def spent(name: str) -> int:
        return json.loads((tmp_path / name / "spent.json").read_text())["calls"]

    with Counted(SimulatedExpert(EmbeddedWorld(0)), latency_seconds=0.01) as server:
        for number, calls in enumerate((10, 20, 30, 40), start=1):
            code = served(server, "-m", "cot", "--output", "one", "-o", f"budget.calls={calls}")
            assert (code, rows("one"), spent("one")) == (0 if calls == 40 else 3, calls, calls)
            # Each command asks the server once before it starts, which no budget counts.
            assert server.num_requests == calls + number
        # Four calls for each answer: a budget for a few of them gives a few.
        server.num_requests = 0
        assert served(server, "-m", "ensemble", "--output", "four", "-o", "budget.calls=30") == 3
        assert rows("four") >= 5
        assert spent("four") == 30 == server.num_requests - 1
    with Counted(SimulatedExpert(EmbeddedWorld(0)), fault_rate=0.2, faults=[Fault.ERROR_503], seed=3) as server:
        served(server, "-m", "cot", "--output", "faults", "-o", "budget.calls=500", "--limit", "12")
        # At the start as well an attempt may fail, and is made again.
        assert rows("faults") == 12 < spent("faults")
        assert server.num_requests - 2 <= spent("faults") <= server.num_requests - 1


def test_a_rollout_at_its_budget_says_whether_it_kept_any_trajectory(call: Callable, tmp_path: Path) -> None:
    options = ("rollout", "--limit", "4", "--output", "r.jsonl", "-o", "budget.calls=2")
    code, output, _ = call(*options, "-m", "ensemble")
    assert code == 3
    assert "None was finished." in output
    assert not (tmp_path / "r.jsonl").exists()
    code, output, _ = call(*options, "-m", "cot")
    assert code == 3
    assert "The trajectories that were finished are in r.jsonl." in output
    assert (tmp_path / "r.jsonl").exists()


def test_money_adds_up(call: Callable, tmp_path: Path) -> None:
    code, output, errors = call("evaluate", "-m", "ensemble", "--limit", "5", "--output", "e", *PRICED)
    assert code == 0, errors
    kept = tmp_path / "e" / "trajectories" / "ensemble" / "embedded.jsonl"
    rows = [json.loads(line) for line in kept.read_text().splitlines()]
    usages = [of["usage"] for row in rows for turn in row["turns"] for of in turn["calls"]]
    tokens = sum(usage["prompt_tokens"] + usage["completion_tokens"] for usage in usages)
    assert sum(usage["cost"] for usage in usages) == tokens > 0
    assert json.loads((tmp_path / "e" / "summary.json").read_text())["all"]["cost"] == tokens / 5
    services = json.loads((tmp_path / "e" / "services.json").read_text())
    assert services["total"]["cost"] == services["endpoint/simulated expert"]["paid"] == tokens
    # Three answers and one vote a question.
    assert services["operator/MultiAnswerGenerate"]["calls"] == 15
    assert services["operator/ScEnsemble"]["calls"] == 5
    assert json.loads((tmp_path / "e" / "spent.json").read_text())["money"] == tokens
    assert "MultiAnswerGenerate" in output
    assert f"{tokens / 5:.4g}" in output


def test_a_rollout_stops_at_its_budget_and_keeps_what_is_done(call: Callable, tmp_path: Path) -> None:
    code, output, errors = call(
        "rollout", "-m", "cot", "--limit", "6", "--output", "t.jsonl", *PRICED, "-o", "budget.money=1"
    )
    assert code == 3, errors
    assert "(budget.money)" in output
    assert "The trajectories that were finished are in t.jsonl" in output


def test_a_reward_that_weighs_money_needs_prices(call: Callable) -> None:
    code, _, errors = call(
        "train", "-o", "reward.cost.dial=0.2", "-o", "reward.cost.kind=money", "-o", "llm.kind=openai",
        "-o", "objective.advantage=group_centred", "-o", "llm.base_url=http://127.0.0.1:9/v1", "-o", "llm.model=gpt-x",
    )  # fmt: skip
    assert code == 2
    assert "reward.cost.kind: expected the price of every service" in errors
    assert 'prices.models."gpt-x"' in errors


def test_a_budget_of_money_needs_prices(call: Callable) -> None:
    code, _, errors = call(
        "evaluate", "-m", "direct", "--limit", "1", "-o", "budget.money=1", "-o", "llm.kind=openai",
        "-o", "llm.base_url=http://127.0.0.1:9/v1", "-o", "llm.model=gpt-x",
    )  # fmt: skip
    assert code == 2
    assert 'prices.models."gpt-x"' in errors
