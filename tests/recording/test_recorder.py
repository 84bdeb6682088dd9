"""The recorder of the engines: files, watch, accounts and events together."""

import json

import pytest

from workflow_r1.accounting import Accounts, Budget, BudgetConfig, Spent
from workflow_r1.errors import CheckpointError, ServiceUnavailableError, UserError
from workflow_r1.recording import events
from workflow_r1.recording.alarms import read_alarms
from workflow_r1.recording.recorder import RunRecorder
from workflow_r1.trajectory import Question, StopReason, Trajectory


def trajectory(stop_reason=StopReason.ANSWERED, error=None):
    return Trajectory(
        id="t",
        group_id="g",
        question=Question(id="q", text="?", golden_answers=("x",)),
        turns=(),
        stop_reason=stop_reason,
        error=error,
    )


def row(step, reward=0.5):
    return {"step": step, "rollout/reward": reward, "rollout/think_chars": 40.0, "rollout/surprisal": 0.5}


def lines(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.fixture
def told():
    return []


def test_a_step_is_written_before_it_is_told(tmp_path, told):
    def receive(event):
        told.append((event, lines(tmp_path / "metrics.jsonl")))

    recorder = RunRecorder(tmp_path, on_event=receive)
    with recorder.holding(resume=False):
        recorder.continue_from({})
        recorder.record_step(row(1), num_steps=3)
    assert told == [(events.StepFinished(1, 3, row(1)), [row(1)])]


def test_the_line_before_the_first_step_needs_figures(tmp_path):
    recorder = RunRecorder(tmp_path)
    with recorder.holding(resume=False):
        recorder.record_start({})
        assert not (tmp_path / "metrics.jsonl").exists()
        recorder.record_start({"evaluation/exact_match": 0.5})
    assert lines(tmp_path / "metrics.jsonl") == [{"step": 0, "evaluation/exact_match": 0.5}]


@pytest.mark.parametrize("remembered", [True, False])
def test_the_watch_continues_where_it_was(tmp_path, told, remembered):
    """Seven good steps, a resume, and a fall: without its memory the watch would be too young to see it."""
    recorder = RunRecorder(tmp_path)
    with recorder.holding(resume=False):
        recorder.continue_from({})
        recorder.record_start({"evaluation/exact_match": 0.5})
        for step in range(1, 8):
            recorder.record_step(row(step), num_steps=9)
        lengths, watched = recorder.file_lengths, recorder.watched
        recorder.record_step(row(8), num_steps=9)
    again = RunRecorder(tmp_path, on_event=told.append)
    with again.holding(resume=True):
        again.continue_from(lengths, watched=watched if remembered else None)
        assert again.watched == watched
        again.record_step(row(8, reward=-1.5), num_steps=9)
    assert [type(event) for event in told] == [events.AlarmRaised, events.StepFinished]
    assert "the reward has fallen" in told[0].alarm.message
    assert read_alarms(tmp_path) == [told[0].alarm] and told[0].alarm.step == 8
    assert [each["step"] for each in lines(tmp_path / "metrics.jsonl")] == list(range(9))


@pytest.mark.parametrize("line", ['{"step": 1', "[]", '{"no": 1}', '{"step": "one"}'])
def test_metrics_that_cannot_be_read_are_named(tmp_path, line):
    (tmp_path / "metrics.jsonl").write_text(f'{{"step": 0}}\n{line}\n')
    recorder = RunRecorder(tmp_path)
    with recorder.holding(resume=True), pytest.raises(CheckpointError, match=r"metrics\.jsonl:2: expected"):
        recorder.continue_from({"metrics.jsonl": (tmp_path / "metrics.jsonl").stat().st_size})


def test_failures_are_told_and_an_outage_is_raised(tmp_path, told):
    recorder = RunRecorder(tmp_path, on_event=told.append)
    failed = trajectory(StopReason.SAMPLER_FAILED, "gone")
    recorder.report_failures([trajectory()], 1)
    assert told == []
    with pytest.raises(ServiceUnavailableError, match=r"all 2 trajectories of step 1 failed, the first with: gone"):
        recorder.report_failures([failed, failed], 1)
    with pytest.raises(ServiceUnavailableError, match="and no other called one"):
        recorder.report_failures([failed, trajectory()], 1)


def test_what_was_spent_is_written_however_the_run_ends(tmp_path):
    Spent(calls=3).write(tmp_path / "spent.json")
    accounts = Accounts(budget=Budget(BudgetConfig()))
    recorder = RunRecorder(tmp_path, accounts=accounts)
    with pytest.raises(UserError, match="stop"), recorder.holding(resume=True):
        recorder.continue_from({})
        accounts.budget.restart(Spent(calls=5))
        raise UserError("stop")
    assert Spent.read(tmp_path / "spent.json").calls == 5


def test_a_run_that_never_began_leaves_what_was_spent(tmp_path):
    Spent(calls=3).write(tmp_path / "spent.json")
    recorder = RunRecorder(tmp_path, accounts=Accounts(budget=Budget(BudgetConfig())))
    with pytest.raises(UserError, match="no model"), recorder.holding(resume=True):
        raise UserError("no model")
    assert Spent.read(tmp_path / "spent.json").calls == 3


def test_a_process_that_leaves_the_files_to_another_writes_and_tells_nothing(tmp_path, told):
    first = RunRecorder(tmp_path)
    other = RunRecorder(tmp_path, on_event=told.append, writes=False)
    with first.holding(resume=False), other.holding(resume=False):
        other.continue_from({})
        other.record_step(row(1), num_steps=2)
        other.record_trajectories([trajectory()], step=1)
        other.warn("unheard")
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    assert told == []
