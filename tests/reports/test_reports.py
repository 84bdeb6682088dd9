import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest

from workflow_r1.config import RunConfig, dump_toml
from workflow_r1.config.run import LoggingConfig
from workflow_r1.config.training import ObjectiveConfig
from workflow_r1.errors import DataError, MissingExtraError
from workflow_r1.evaluation.usage import OperatorUsage
from workflow_r1.reports import draw_curve, open_trackers, read_run, write_summary
from workflow_r1.reports.curve import label_is_below
from workflow_r1.reports.services import operators_table, services_table
from workflow_r1.reports.summary import evaluation_table, markdown_table, show_trajectory, training_table
from workflow_r1.rewards import CostConfig, RewardConfig
from workflow_r1.trajectory import (
    AnswerReward,
    OperatorCall,
    Question,
    ScoredTrajectory,
    StopReason,
    TaskReward,
    Turn,
    Usage,
    append_trajectories,
)


def step_row(step: int, **quantities: float | None) -> dict[str, Any]:
    return {
        "step": step,
        "rollout/reward": 0.1 * step,
        "rollout/exact_match": 0.2 * step,
        "rollout/turns": 2.0,
        "rollout/num_failed": 0,
        "rollout/calls/Search": 1.0,
        "rollout/calls/Custom": 0.0,
        "time/step_seconds": 30.0,
        **quantities,
    }


def evaluation_row(step: int, rate: float) -> dict[str, Any]:
    row: dict[str, Any] = {"step": step, "evaluation/num_questions": 40}
    for prefix in ("evaluation", "evaluation/class/one-hop", "evaluation/class/two-hop"):
        row |= {
            f"{prefix}/exact_match": rate,
            f"{prefix}/exact_match_low": rate - 0.1,
            f"{prefix}/exact_match_high": rate + 0.1,
            f"{prefix}/num_scored": 20,
        }
    return row


def make_run(directory: Path, *rows: dict[str, Any], config: RunConfig | None = None) -> Path:
    directory.mkdir(exist_ok=True)
    (directory / "config.toml").write_text(dump_toml(config or RunConfig(name="test")))
    (directory / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return directory


@pytest.fixture
def run(tmp_path: Path) -> Path:
    directory = make_run(
        tmp_path / "run", {"step": 0, "evaluation/exact_match": 0.3}, *(step_row(step) for step in (1, 2, 3, 4))
    )
    evaluations = [evaluation_row(0, 0.3), evaluation_row(4, 0.8)]
    (directory / "evaluations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in evaluations))
    append_trajectories(directory / "trajectories.jsonl", [trajectory("t1", "Paris"), trajectory("t2", "Rome")])
    return directory


def trajectory(id: str, answer: str) -> ScoredTrajectory:
    right = float(answer == "Paris")
    call = OperatorCall(
        operator="Search", input="France | capital", observation="```` a fence\n# no heading", valid=True
    )
    return ScoredTrajectory(
        id=id,
        group_id="g",
        question=Question(id="q", text="Capital of France?\n# مرحبا", golden_answers=("Paris",)),
        turns=(
            Turn(index=1, text="<think>look</think><tool>Search: France | capital</tool>", well_formed=True, calls=(call,), observation="<info>x</info>"),
            Turn(index=2, text=f"<think>seen</think><answer>{answer}</answer>", well_formed=True),
        ),
        answer=answer,
        stop_reason=StopReason.ANSWERED,
        reward=AnswerReward(total=right, answer=right, format=0.0, exact_match=right, f1=right),
    )  # fmt: skip


def test_read_run(run: Path) -> None:
    record = read_run(run)
    assert [row["step"] for row in record.metrics] == [1, 2, 3, 4]
    assert record.series("rollout/reward") == ([1, 2, 3, 4], pytest.approx([0.1, 0.2, 0.3, 0.4]))
    assert record.minutes_at(0) == 0.0
    assert record.minutes_at(3) == 1.5
    assert record.config.title == "test: embedded world (a simulation)"
    assert [t.id for t in record.last_trajectories(1)] == ["t2"]


@pytest.mark.parametrize("end", ['{"step": 5, "rollout', "\0\0\0"])
def test_a_row_that_is_being_written_is_left_out(run: Path, end: str, caplog: pytest.LogCaptureFixture) -> None:
    with (run / "metrics.jsonl").open("a") as file:
        file.write(end)
    assert len(read_run(run).metrics) == 4
    assert "metrics.jsonl:6: left out the last row, which is cut off" in caplog.text


def test_a_whole_last_row_counts_without_its_line_end_and_blank_lines_do_not(run: Path) -> None:
    path = run / "metrics.jsonl"
    path.write_bytes(b"\n" + path.read_bytes().replace(b"\n", b"\r\n\r\n").strip())
    assert len(read_run(run).metrics) == 4


@pytest.mark.parametrize(
    ("line", "message"),
    [("{nonsense", "metrics.jsonl:2: expected one JSON object"), ("[1]", "metrics.jsonl:2"), ('{"a": 1}', "`step`")],
)
def test_malformed_rows_name_the_line(tmp_path: Path, line: str, message: str) -> None:
    directory = make_run(tmp_path / "run", step_row(1))
    with (directory / "metrics.jsonl").open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(DataError, match=message):
        read_run(directory)


def test_a_damaged_middle_line_is_never_passed_over(run: Path) -> None:
    path = run / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    damaged = {
        b"".join([lines[0], b"\xff\xfe" + lines[1], *lines[2:]]): "metrics.jsonl:2: expected one JSON object",
        b"".join([lines[0], lines[1].strip() + lines[2], *lines[3:]]): "metrics.jsonl:2: expected one JSON object",
        b"".join([lines[0], *lines[2:]]): "expected step 1 after step 0, found 2: a line is missing",
        b"".join([*lines[:2], *lines[1:]]): "expected step 2 after step 1, found 1",
    }
    for content, message in damaged.items():
        path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            read_run(run)


def test_what_is_no_run_directory(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found nothing at"):
        read_run(tmp_path / "absent")
    (tmp_path / "a.txt").touch()
    with pytest.raises(DataError, match="expected a run directory, found a file at"):
        read_run(tmp_path / "a.txt")
    (tmp_path / "a.txt").unlink()
    with pytest.raises(DataError, match=r"config\.toml, but .* holds nothing"):
        read_run(tmp_path)
    with pytest.raises(DataError, match="no step yet"):
        read_run(make_run(tmp_path / "run", {"step": 0}))


def test_curve_is_drawn_and_is_the_same_again(run: Path) -> None:
    png, svg = draw_curve(read_run(run))
    assert png.read_bytes().startswith(b"\x89PNG")
    first = svg.read_bytes()
    assert b"<svg" in first
    draw_curve(read_run(run))
    assert svg.read_bytes() == first


def test_curve_says_whose_it_is_and_how_answers_are_drawn(run: Path) -> None:
    (run / "environment.json").write_text(json.dumps({"started": "2026-11-28T10:19:07+00:00"}))
    svg = next(path for path in draw_curve(read_run(run)) if path.suffix == ".svg").read_text()
    assert f"<!-- {run.name}, begun on 28 November 2026, 4 of 38 steps -->" in svg
    assert "drawn at temperature 1, on training questions.  Greedy: each token is the likeliest one" in svg
    assert "<!-- single steps -->" in svg and "<!-- moving average -->" in svg


@pytest.mark.parametrize("started", ["yesterday", None, 7])
def test_curve_of_a_run_without_a_date(run: Path, started: object) -> None:
    (run / "environment.json").write_text(json.dumps({"started": started}))
    svg = next(path for path in draw_curve(read_run(run)) if path.suffix == ".svg").read_text()
    assert f"<!-- {run.name}, 4 of 38 steps -->" in svg


@pytest.mark.parametrize(
    ("values", "first", "last"),
    [([0.4, 0.9], True, False), ([0.9, 0.4], False, True), ([0.4, 0.95, 0.9], True, True), ([0.5], False, False)],
)
def test_labels_stand_where_the_curve_does_not(values: list[float], first: bool, last: bool) -> None:
    assert (label_is_below(values, 0), label_is_below(values, len(values) - 1)) == (first, last)


@pytest.mark.parametrize("rows", [[step_row(1)], [step_row(1), step_row(2, **{"rollout/reward": None})]])
def test_curve_of_a_short_run_without_evaluation(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    assert all(path.exists() for path in draw_curve(read_run(make_run(tmp_path / "run", *rows))))


def test_without_matplotlib_the_picture_names_the_extra(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"\[train\]"):
        draw_curve(read_run(run))
    assert not (run / "curve.png").exists()


def test_tables(run: Path) -> None:
    record = read_run(run)
    header, rows = evaluation_table(record)
    assert header == ["class", "questions", "step 0", "step 4", "change"]
    assert rows[0] == ["all", "20", "0.300 [0.200, 0.400]", "0.800 [0.700, 0.900]", "+0.500"]
    assert [row[0] for row in rows] == ["all", "one-hop", "two-hop"]
    header, rows = training_table(record)
    assert header == ["mean per trajectory or step", "first 2 steps", "last 2 steps"]
    assert ["reward", "0.15", "0.35"] in rows
    assert not any("Custom" in row[0] for row in rows)


def test_the_figure_if_left_out_were_wrong_is_over_the_same_steps_as_the_figure(tmp_path: Path) -> None:
    """A step that left nothing out writes none: its own figure is the lower bound."""
    left_out = {"rollout/num_failed": 4, "rollout/exact_match": 0.5, "rollout/exact_match_if_left_out_wrong": 0.25}
    plain = {"rollout/exact_match": 0.9}
    rows = [step_row(step, **(left_out if step == 8 else plain)) for step in range(1, 9)]
    _, table = training_table(read_run(make_run(tmp_path / "run", *rows)))
    # Four steps each: .9 throughout, then .9, .9, .9 and .5, or .25.
    assert ["exact match, sampled", "0.9", "0.8"] in table
    assert ["exact match, sampled, if left out were wrong", "0.9", "0.738"] in table
    _, table = training_table(read_run(make_run(tmp_path / "whole", *rows[:7])))
    assert not any("left out" in name for name, *_ in table)


def test_summary(run: Path) -> None:
    text = write_summary(read_run(run), pictures=["curve.png"])
    assert "a simulation" in text
    assert "![Curve](curve.png)" in text
    assert "| all | 20 | 0.300 [0.200, 0.400] | 0.800 [0.700, 0.900] | +0.500 |" in text
    assert "مرحبا" in text
    assert "4 of 38 steps, 2.0 minutes" in text


def test_real_questions_are_not_called_a_simulation(tmp_path: Path) -> None:
    config = RunConfig.model_validate(
        {"name": "real", "data": {"source": "files"}, "llm": {"kind": "openai", "model": "m"}}
    )
    text = write_summary(read_run(make_run(tmp_path / "run", step_row(1), config=config)))
    assert text.startswith("# real\n")
    assert "simulation" not in text


def test_a_fence_cannot_be_closed_from_inside() -> None:
    text = show_trajectory(trajectory("t", "Paris"))
    assert "`````text" in text
    assert "**Capital of France? # مرحبا**" in text


def test_markdown_cells_are_harmless() -> None:
    assert markdown_table(["a"], [["x | y\nz"]]).splitlines()[-1] == "| x \\| y z |"


class FakeWandb:
    def __init__(self) -> None:
        self.told: list[Any] = []

    def init(self, **settings: Any) -> "FakeWandb":
        self.told.append(settings)
        return self

    def log(self, metrics: dict[str, float], *, step: int) -> None:
        self.told.append((step, metrics))

    def finish(self) -> None:
        self.told.append("finished")


def test_wandb_is_told_the_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    config = RunConfig.model_validate({"logging": {"wandb_project": "p"}})
    (tracker,) = open_trackers(config.logging, tmp_path / "run-1", configuration=config.model_dump(mode="json"))
    tracker.log({"step": 3, "rollout/reward": 0.5, "loss/kl": None}, step=3)
    tracker.close()
    assert (fake.told[0]["project"], fake.told[0]["id"], fake.told[0]["resume"]) == ("p", "run-1", "allow")
    assert fake.told[1:] == [(3, {"rollout/reward": 0.5}), "finished"]


@pytest.mark.parametrize(
    ("module", "logging", "extra"),
    [("wandb", {"wandb_project": "p"}, "wandb"), ("torch.utils.tensorboard", {"tensorboard": True}, "tensorboard")],
)
def test_absent_tracker_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, logging: dict[str, Any], extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"\[{extra}\]"):
        open_trackers(LoggingConfig.model_validate(logging), tmp_path, configuration={})


def test_no_tracker_by_default(tmp_path: Path) -> None:
    assert open_trackers(LoggingConfig(), tmp_path, configuration={}) == []


def test_minutes_ignore_rows_without_time(tmp_path: Path) -> None:
    record = read_run(make_run(tmp_path / "run", step_row(1, **{"time/step_seconds": None}), step_row(2)))
    assert math.isclose(record.minutes_at(2), 0.5)


def services_row(step: int, **quantities: float | None) -> dict[str, Any]:
    names = (
        "calls", "stored_calls", "prompt_tokens", "completion_tokens", "searches", "stored_searches", "cost", "paid",
        "seconds_p50",
    )  # fmt: skip
    values = {f"{account}/{name}": 1 for account in ("total", "operator/Custom") for name in names}
    return {"step": step, "stage": "training", **values, **quantities}


def test_services_are_summed_up_over_the_run(run: Path) -> None:
    rows = [
        services_row(1, **{"total/paid": 0.25, "total/seconds_p50": 3.0, "total/failures/ServiceTimeoutError": 2}),
        services_row(
            2,
            **{
                "total/unreported_calls": 1,
                "operator/Custom/cost": None,
                "endpoint/gpt-x/calls": 0,
                "total/seconds_p50": None,
            },
        ),
    ]
    (run / "services.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    header, table = services_table(read_run(run))
    shown = {line[0]: dict(zip(header, line, strict=True)) for line in table}
    assert list(shown) == ["total", "endpoint gpt-x", "operator Custom"]
    total = shown["total"]
    assert (total["LLM calls"], total["stored"], total["paid"], total["failed"]) == ("2", "4", "1.25", "2")
    assert total["seconds"] == "3.000"
    assert shown["operator Custom"]["cost (USD)"] == "unknown"
    assert (total["tokens in"], shown["operator Custom"]["tokens in"]) == ("unknown", "2")
    assert "## Services" in write_summary(read_run(run))


def test_operators_are_shown_per_trajectory() -> None:
    usage = Usage(llm_calls=4, prompt_tokens=400, completion_tokens=40, stored_calls=2, cost=0.5, paid=None)
    header, table = operators_table({"Custom": OperatorUsage(calls=2, usage=usage, seconds=3.0)}, num=2, currency="EUR")
    assert "cost (EUR)" in header
    assert table[0] == ["Custom", "1.00", "2.00", "1.00", "200", "20", "0.25", "unknown", "1.50"]
    assert table[1] == ["all", *table[0][1:]]
    uncounted = OperatorUsage(calls=1, usage=usage + Usage(llm_calls=1))
    assert operators_table({"Custom": uncounted}, num=1, currency="EUR")[1][0][4:6] == ["unknown", "unknown"]


def test_the_parts_of_a_reward_are_shown(tmp_path: Path) -> None:
    weights = {"f1": 1.0, "mine.py:brevity": 0.5}
    config = RunConfig(
        name="test",
        reward=RewardConfig(weights=weights, cost=CostConfig(dial=0.3, kind="calls")),
        objective=ObjectiveConfig(advantage="group_centred"),
    )
    parts = {"answer": 1.0, "f1": 1.0, "brevity": -0.2, "cost": -0.1}
    rows = [step_row(step, **{"rollout/part/brevity": -0.2 * step, "rollout/part/cost": -0.1}) for step in (1, 2)]
    directory = make_run(tmp_path / "run", *rows, config=config)
    scored = trajectory("t1", "Paris").model_copy(update={"reward": TaskReward(total=0.8, success=True, parts=parts)})
    append_trajectories(directory / "trajectories.jsonl", [scored])
    page = write_summary(read_run(directory))
    assert "| Reward | 1 f1 + 0.5 mine.py:brevity, less the cost in calls of right trajectories, dial 0.3 |" in page
    assert "| part brevity | -0.2 | -0.4 |" in page
    assert "reward 0.8 (answer 1, f1 1, brevity -0.2, cost -0.1)" in page
    svg = next(path for path in draw_curve(read_run(directory)) if path.suffix == ".svg")
    assert svg.stat().st_size > 1000


def test_the_papers_reward_is_shown_by_its_terms(run: Path) -> None:
    page = write_summary(read_run(run))
    assert "reward 1 (answer 1, format 0)" in page
    assert "| Reward |" not in page


@pytest.mark.parametrize("key", ["rollout/part/$\\frac$", "rollout/calls/$\\frac$", "rollout/part/_x"])
def test_a_name_that_means_something_to_the_picture_is_drawn_as_it_stands(tmp_path: Path, key: str) -> None:
    draw_curve(read_run(make_run(tmp_path / "run", *(step_row(step, **{key: 1.0}) for step in (1, 2)))))
