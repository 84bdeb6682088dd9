"""``docs/reference/run-directory.md`` names every metric that a run writes, and no other."""

import json
import re
from pathlib import Path

import pytest

from workflow_r1.accounting import Account
from workflow_r1.evaluation.evaluate import EvaluationResult
from workflow_r1.recording.metrics import evaluation_metrics, rollout_metrics, sampled_metrics
from workflow_r1.trajectory import Question, ScoredTrajectory, StopReason, TaskReward, Trajectory, Usage

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "run-directory.md"

PLACEHOLDERS = (
    (r"/calls/[^/]+$", "/calls/NAME"),
    (r"/stop/[^/]+$", "/stop/REASON"),
    (r"/class/[^/]+/", "/class/CLASS/"),
    (r"/turn_\d+/", "/turn_K/"),
    (r"/part/.*", "/part/NAME"),
)


def documented(heading="## Metrics"):
    text = PAGE.read_text(encoding="utf-8").split(heading, 1)[1].split("\n## ", 1)[0]
    cells = re.findall(r"^\| (`.*?) \|", text, flags=re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def generalise(key):
    for pattern, placeholder in PLACEHOLDERS:
        key = re.sub(pattern, placeholder, key)
    return key


def test_lines_of_services_are_documented():
    account = Account(usage=Usage(llm_calls=1))
    account.failures["ServiceTimeoutError"] += 1
    account.failed_attempts["timeout"] += 1
    written = {re.sub(r"(failures|failed_attempts)/.*", r"\1/KIND", name) for name in account.row()}
    assert written == documented("## The lines of `services.jsonl`")


@pytest.fixture(scope="module")
def written(tiny_run, warm_directory, tmp_path_factory):
    config = tiny_run.tiny_config(
        warm_directory,
        objective={"kl_coefficient": 1e-3, "correction_cap": 2.0, "clip": "matched"},
        training={
            "steps": 1,
            "evaluate_every": 1,
            "evaluation_samples": 2,
            "staleness": 1,
            "overlap": False,
            "dynamic_sampling": 1,
        },
    )
    directory = tmp_path_factory.mktemp("documented") / "run"
    tiny_run.make_trainer(config, directory).run()
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    others = [*lines_where_something_is_left_out(), *lines_of_another_task()]
    return {generalise(key) for line in [*lines, *others] for key in line}


def lines_where_something_is_left_out():
    """A run of its own for these would need a service that fails."""
    failed = Trajectory(
        id="t",
        group_id="g",
        question=Question(id="q", text="q", golden_answers=("a",)),
        stop_reason=StopReason.OPERATOR_FAILED,
    )
    left_out = EvaluationResult((failed,))
    return rollout_metrics([failed], operators=("Echo",)), evaluation_metrics(left_out), sampled_metrics([left_out])


def lines_of_another_task():
    asked = {"group_id": "g", "question": Question(id="q", text="q", golden_answers=())}
    played = ScoredTrajectory.of(
        Trajectory(id="t", stop_reason=StopReason.DONE, **asked), TaskReward(total=1, success=True, parts={"moves": 1})
    )
    failed = Trajectory(id="f", stop_reason=StopReason.TASK_FAILED, **asked)
    result = EvaluationResult((played, failed))
    return (
        rollout_metrics([played, failed], operators=()),
        evaluation_metrics(EvaluationResult((played,))),
        sampled_metrics([result]),
    )


def of_training(names):
    return {name for name in names if not name.startswith(("warmstart/", "held_out/", "time/total"))}


def test_what_a_run_writes_is_documented(written):
    assert written - documented() == set()


def test_what_is_documented_is_written(written):
    # The policy may leave a step without a learning signal, which has no ratios.
    if "update/ratio_mean" in written:
        assert of_training(documented()) - written == set()
