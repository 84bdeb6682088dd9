"""``workflow-r1 frontier``: every setting and seed trained once, all asked together, and nothing done twice."""

import json
from pathlib import Path

import pytest

from workflow_r1.config import load_run_config
from workflow_r1.errors import UserError
from workflow_r1.running.frontier import plan_frontier
from workflow_r1.running.planned import is_trained

SMALL = [
    *("-o", "training.steps=1", "-o", "training.questions_per_step=2", "-o", "training.mini_batch_questions=2"),
    *("-o", "training.group_size=2", "-o", "training.evaluation_questions=2", "-o", "policy.threads=1"),
]


def plan(tmp_path, **changes):
    settings = {"dials": (0.0, 0.5), "seeds": (0, 1), "directory": tmp_path / "frontier"} | changes
    return plan_frontier(load_run_config(), **settings)


def test_runs_differ_in_seed_and_dial_alone(tmp_path):
    made = plan(tmp_path)
    assert made.runs == [(0.0, 0), (0.5, 0), (0.0, 1), (0.5, 1)]
    settings = made.settings(0.5, 1)
    assert (settings.seed, settings.reward.cost.dial, settings.objective.advantage) == (1, 0.5, "group_centred")
    assert settings.model_copy(update={"seed": 0, "reward": made.settings(0.0, 0).reward}) == made.settings(0.0, 0)
    assert made.place(0.5, 1) == tmp_path / "frontier" / "dial-0.5" / "seed-1"


def test_an_advantage_that_the_dial_can_use_stays(tmp_path):
    config = load_run_config(None, ["objective.advantage=leave_one_out"])
    made = plan_frontier(config, dials=(0.5,), seeds=(0,), directory=tmp_path / "frontier")
    assert made.settings(0.5, 0).objective.advantage == "leave_one_out"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dials": (0.5, 0.5)}, "dial: expected every dial once"),
        ({"dials": ()}, "dial: expected every dial once, received none"),
        ({"dials": (1.0,)}, "reward.cost.dial: expected a value less than 1"),
        ({"seeds": (1, 1)}, "seed: expected every seed once"),
        ({"methods": ("cots",)}, "did you mean 'cot'"),
        ({"directory": Path("a,b")}, "output: expected a directory without a comma"),
    ],
)
def test_a_plan_that_cannot_be_carried_out_is_refused_before_anything_is_trained(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        plan(tmp_path, **changes)


def test_every_run_once_one_report_and_nothing_twice(call, tmp_path):
    """One setting, one seed and a fixed method; the second call trains and asks nothing; another plan is refused."""
    command = ("frontier", *SMALL, "--dial", "0.5", "--seed", "3", "-m", "direct", "--output", "f")
    done = call(*command)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "f" / "dial-0.5" / "seed-3"
    (row,) = (json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines() if '"step": 1,' in line)
    assert row["rollout/part/cost"] <= 0
    assert (tmp_path / "f" / "evaluation" / "report" / "frontier.png").is_file()
    report = json.loads((tmp_path / "f" / "evaluation" / "report" / "report.json").read_text())
    assert report["methods"] == ["dial 0.5", "direct"]
    assert report["sources"][0]["card"]["seeds"] == [3]

    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    rows = (tmp_path / "f" / "evaluation" / "rows.jsonl").read_bytes()
    again = call(*command)
    assert again.returncode == 0, again.stderr
    assert "run 1 of 1" in done.stdout and "run 1 of 1" not in again.stdout
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()} == before
    assert (tmp_path / "f" / "evaluation" / "rows.jsonl").read_bytes() == rows

    other = call(*command, "-o", "optimiser.learning_rate=1e-4")
    assert other.returncode == 2
    assert "to have the settings of this plan, but it has others" in other.stderr


def test_a_run_that_has_just_begun_is_not_trained(tmp_path):
    made = plan(tmp_path)
    assert not is_trained(made.planned(0.5, 0))
