import logging
from typing import get_args

import pytest

from workflow_r1.recording import events
from workflow_r1.recording.alarms import ALARM_TITLES, Alarm, AlarmEnded, AlarmKind, join_changes, read_alarms, to_row
from workflow_r1.recording.recorder import RunRecorder
from workflow_r1.recording.run_files import ALARMS, RunFiles

MALFORMED = Alarm("malformed", 5, "60% of the trajectories are malformed", "look at them")


def test_every_kind_has_its_title():
    assert ALARM_TITLES.keys() == set(get_args(AlarmKind))


def test_alarms_and_their_ends_are_joined_in_the_order_of_their_beginning():
    other = Alarm("reward_fallen", 6, "the reward has fallen", "look")
    again = Alarm("malformed", 11, "again", "look")
    changes = [MALFORMED, other, AlarmEnded("malformed", 9), again]
    assert [(each.kind, each.step, each.until) for each in join_changes(changes)] == [
        ("malformed", 5, 9),
        ("reward_fallen", 6, None),
        ("malformed", 11, None),
    ]


def test_an_alarm_with_more_to_say_takes_the_place_of_the_one_before():
    final = Alarm("malformed", 8, "to the end", "look")
    assert join_changes([MALFORMED, final]) == [
        Alarm("malformed", 5, MALFORMED.message, MALFORMED.remedy, until=8),
        final,
    ]


def test_alarms_are_read_as_they_were_written(tmp_path):
    files = RunFiles(tmp_path, resume=False)
    assert read_alarms(tmp_path) == []
    files.append(ALARMS, to_row(MALFORMED))
    assert read_alarms(tmp_path) == [MALFORMED]
    files.append(ALARMS, to_row(AlarmEnded("malformed", 7)))
    (alarm,) = read_alarms(tmp_path)
    assert alarm.until == 7


@pytest.mark.parametrize(
    "line",
    [
        '{"kind": "malformed", "ste',
        "[]",
        '{"kind": "from_the_future", "step": 1, "message": "a", "remedy": "b"}',
        '{"kind": "malformed", "step": true}',
        '{"kind": "malformed", "step": 1, "message": 3, "remedy": "b"}',
        '{"kind": ["malformed"], "step": 1}',
        "\xff",
    ],
)
def test_a_line_that_cannot_be_read_is_left_out_and_named(tmp_path, caplog, line):
    RunFiles(tmp_path, resume=False).append(ALARMS, to_row(MALFORMED))
    with (tmp_path / ALARMS).open("ab") as file:
        file.write(line.encode("latin-1"))
    with caplog.at_level(logging.WARNING):
        assert read_alarms(tmp_path) == [MALFORMED]
    assert f"{ALARMS}:2: expected an alarm" in caplog.text


def test_a_resume_forgets_the_alarms_of_steps_that_are_repeated(tmp_path):
    def row(step, reward):
        return {"step": step, "rollout/reward": reward}

    def play(recorder, steps):
        for step in steps:
            recorder.record_step(row(step, 1.0 if step < 8 else -1.0), num_steps=20)

    whole, told = RunRecorder(tmp_path / "whole"), []
    with whole.holding(resume=False):
        whole.continue_from({})
        play(whole, range(1, 13))
    stopped = RunRecorder(tmp_path / "stopped")
    with stopped.holding(resume=False):
        stopped.continue_from({})
        play(stopped, range(1, 8))
        lengths, watched = stopped.file_lengths, stopped.watched
        play(stopped, range(8, 12))
    assert read_alarms(tmp_path / "stopped")
    resumed = RunRecorder(tmp_path / "stopped", on_event=told.append)
    with resumed.holding(resume=True):
        resumed.continue_from(lengths, watched=watched)
        assert read_alarms(tmp_path / "stopped") == []
        play(resumed, range(8, 13))
    assert read_alarms(tmp_path / "stopped") == read_alarms(tmp_path / "whole") != []
    assert [type(each) for each in told].count(events.AlarmRaised) == 1
