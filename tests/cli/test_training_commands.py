"""Train, resume, evaluate, ask and report from end to end, with a policy that knows nothing."""

import importlib.util
import json
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from workflow_r1.config import load_run_config
from workflow_r1.config.training import NewPolicyConfig
from workflow_r1.embedded import WARM_START
from workflow_r1.embedded.demonstrations import make_demonstrations
from workflow_r1.engines.native.embedded_policy import BuildSettings, new_policy
from workflow_r1.engines.native.run import Trainer
from workflow_r1.errors import ServiceUnavailableError
from workflow_r1.policy.model import save_policy
from workflow_r1.trajectory import load_trajectories

TINY = (
    "-o", "training.steps=2", "-o", "training.questions_per_step=2", "-o", "training.mini_batch_questions=1",
    "-o", "training.group_size=2", "-o", "training.evaluation_questions=3", "-o", "environment.max_response_tokens=96",
    "-o", "environment.max_turns=3", "-o", "sampling.max_turn_tokens=24", "-o", "optimiser.learning_rate=1e-4",
    "-o", "policy.threads=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = BuildSettings(size=NewPolicyConfig(hidden_size=16, num_layers=1, num_heads=2, intermediate_size=32))
    directory = tmp_path_factory.mktemp("policy") / "tiny"
    save_policy(*new_policy(settings, make_demonstrations(30, strategy=WARM_START)), directory)
    return directory


def rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_run_from_start_to_report(call, policy: Path, tmp_path: Path) -> None:
    tracked = importlib.util.find_spec("tensorboard") is not None
    tracking = ("-o", f"logging.tensorboard={str(tracked).lower()}")
    code, output, errors = call("train", *TINY, *tracking, "-o", f"policy.model={policy}")
    assert code == 0, errors
    (run,) = (tmp_path / "runs").iterdir()
    assert {path.name for path in run.iterdir()} == {
        "config.toml", "environment.json", "metrics.jsonl", "alarms.jsonl", "evaluations.jsonl", "trajectories.jsonl.gz",
        "trajectories.index.jsonl.gz", "checkpoints", "policy", "services.jsonl", "spent.json", "curve.png", "curve.svg", "report.md", *(["tensorboard"] if tracked else []),
    }  # fmt: skip
    assert [row["step"] for row in rows(run / "metrics.jsonl")] == [0, 1, 2]
    assert [row["step"] for row in rows(run / "evaluations.jsonl")] == [0, 2]
    assert len(load_trajectories(run / "trajectories.jsonl")) == 8
    assert load_run_config(run / "config.toml").training.steps == 2
    assert json.loads((run / "environment.json").read_text())["packages"]["torch"]
    assert "step 2/2" in output
    assert "held out at step 2" in output
    assert f"workflow-r1 ask {run.relative_to(tmp_path)}" in output

    code, output, errors = call("train", "--resume", run, "-o", "training.steps=3")
    assert code == 0, errors
    assert [row["step"] for row in rows(run / "metrics.jsonl")] == [0, 1, 2, 3]
    assert load_run_config(run / "config.toml").training.steps == 3

    code, _, errors = call("train", "--resume", run, "-o", "objective.preset=grpo")
    assert code == 2
    assert "objective.preset" in errors
    assert load_run_config(run / "config.toml").objective.preset == "gsspo"

    code, output, errors = call("report", run)
    assert code == 0, errors
    assert "embedded world (a simulation)" in output
    assert "## Example trajectories" in (run / "report.md").read_text()

    code, output, errors = call("evaluate", run, "--limit", "2", "--output", "e")
    assert code == 0, errors
    assert json.loads((tmp_path / "e" / "card.json").read_text())["methods"]["policy"]["policies"]["0"]["model"] == str(
        run / "policy"
    )
    assert load_run_config(tmp_path / "e" / "config.toml").policy.model == str(run / "policy")

    code, output, errors = call("ask", run, "--seed", "0", "--json")
    assert code == 0, errors
    assert json.loads(output)["turns"][0]["token_ids"]


def test_a_model_that_is_no_policy_leaves_nothing(call, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    code, _, errors = call("train", *TINY, "-o", "policy.model=./model")
    assert code == 2
    assert "config.json" in errors
    assert not (tmp_path / "runs").exists()


def test_warm_start_from_a_file(call, policy: Path, tmp_path: Path) -> None:
    code, _, errors = call("rollout", "-m", "cot", "--limit", "4", "--output", "d.jsonl")
    assert code == 0, errors
    warm = ("-o", "warmstart.demonstrations=d.jsonl", "-o", f"policy.model={policy}", "--run-directory", "w")
    code, output, errors = call("warmstart", *TINY, *warm)
    assert code == 0, errors
    assert "workflow-r1 train w" in output
    assert (tmp_path / "w" / "policy" / "config.json").is_file()
    code, _, errors = call("warmstart", "-o", "data.source=files", "-o", f"policy.model={policy}")
    assert code == 2
    assert "warmstart.demonstrations" in errors


@pytest.mark.parametrize(("steps", "told"), [(0, "aborted before the first checkpoint"), (1, "the newest checkpoint")])
def test_a_run_whose_services_are_down_says_how_to_go_on(
    call, policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int, told: str
) -> None:
    def run(trainer: Trainer, *, resume: bool) -> None:
        for step in range(steps):
            (tmp_path / "down" / "checkpoints" / f"step-{step:06}").mkdir(parents=True)
        raise ServiceUnavailableError("no connection")

    monkeypatch.setattr(Trainer, "run", run)
    code, output, errors = call("train", *TINY, "-o", f"policy.model={policy}", "--run-directory", tmp_path / "down")
    assert code == 1
    assert "a service failed: no connection" in errors
    assert told in output
    assert "workflow-r1 train --resume down" in output


def test_a_dry_run_estimates_and_leaves_nothing(call, policy: Path, tmp_path: Path) -> None:
    # TINY trains on 2 steps of 2 groups of 2, and evaluates 3 questions twice.
    code, output, errors = call("train", "--dry-run", *TINY, "-o", f"policy.model={policy}")
    assert code == 0, errors
    assert "at most 500 calls of services" in output
    assert "from 16 trajectories to 8 of training and 6 of evaluations" in output
    assert "a simulation" in output
    assert not list(tmp_path.iterdir())
    further = ("-o", "training.dynamic_sampling=3", "-o", f"policy.model={policy}")
    code, output, errors = call("train", "--dry-run", *TINY, *further)
    assert code == 0, errors
    assert "training.dynamic_sampling, at most 24 trajectories more" in output.replace("\n", " ")
    code, _, errors = call("train", "--dry-run", "--resume", "x", *TINY)
    assert code == 2
    service = ("-o", "llm.kind=openai", "-o", "llm.base_url=http://127.0.0.1:9/v1", "-o", "llm.model=gpt-x")
    code, _, errors = call("train", "--dry-run", *TINY, "-o", f"policy.model={policy}", *service)
    assert code == 1
    assert "127.0.0.1:9" in errors


def test_a_training_stops_at_its_budget_and_goes_on(call, policy: Path, tmp_path: Path) -> None:
    options = ("train", *TINY, "-o", f"policy.model={policy}", "--run-directory", "r")
    code, output, errors = call(*options, "-o", "budget.minutes=0.0001")
    assert code == 3, errors
    assert "(budget.minutes)" in output
    assert "up to step 1 is kept" in output
    assert "workflow-r1 train --resume r -o budget.minutes=0.0002" in output
    code, output, errors = call("train", "--resume", "r", "-o", "budget.minutes=60")
    assert code == 0, errors
    assert [row["step"] for row in rows(tmp_path / "r" / "metrics.jsonl")] == [0, 1, 2]
