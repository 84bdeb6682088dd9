import pytest

from workflow_r1.recording.alarms import Alarm, AlarmEnded
from workflow_r1.recording.health import ContentionWatch, RunWatch

HEALTHY = {
    "rollout/num_trajectories": 32,
    "rollout/reward": 0.5,
    "rollout/exact_match": 0.5,
    "rollout/think_chars": 40.0,
    "rollout/think_repetition": 0.02,
    "rollout/surprisal": 0.5,
    "rollout/surprisal_right": 0.3,
    "rollout/malformed_rate": 0.01,
    "rollout/workflow_share": 0.3,
    "rollout/num_groups": 4,
    "rollout/num_groups_without_signal": 1,
    "update/ratio_mean": 1.0,
    "update/approx_kl": 0.0,
    "update/clip_fraction_low": 0.0,
    "update/clip_fraction_high": 0.0,
    "update/later/ratio_mean": 0.999,
    "update/later/approx_kl": 1e-5,
    "update/later/clip_fraction_low": 0.0,
    "update/later/clip_fraction_high": 0.0,
    "update/later/right_logprob_change": 0.0002,
}
"""Figures as the quickstart's are."""


def observe(watch, *, steps, **figures):
    """Let the watch see steps of these figures, in place of healthy ones; a figure is named by its last part."""
    line = {key: figures.pop(key.rpartition("/")[2], value) for key, value in HEALTHY.items()} | figures
    return [change for _ in range(steps) for change in watch.observe(line)]


def later(**figures):
    return {f"update/later/{name}": value for name, value in figures.items()}


ILLNESSES = [
    ({"reward": -0.5}, "reward_fallen", "has fallen to"),
    ({"think_chars": 2.0}, "thoughts_shrunk", "has shrunk to"),
    ({"think_chars": 900.0}, "thoughts_grown", "has grown to"),
    ({"think_repetition": 0.9}, "thoughts_repeated", "have occurred before"),
    ({"surprisal": 0.001}, "surprisal_fallen", "stopped exploring"),
    ({"surprisal": 4.0}, "surprisal_risen", "erratic"),
    ({"malformed_rate": 0.6}, "malformed", "1% at best"),
    ({"workflow_share": 1.0}, "one_workflow", "follow one workflow, from 30%, and 50% succeed"),
    ({"surprisal_right": 0.9}, "right_less_likely", "nats per token from 0.300"),
    (later(right_logprob_change=-0.1), "right_less_likely", "while a step learns"),
    (later(ratio_mean=0.8), "ratio_below_1", "right or wrong"),
    (later(approx_kl=0.2), "clip_inactive", "stops nothing"),
    (later(clip_fraction_low=0.5, clip_fraction_high=0.5), "clip_everywhere", "removes the gradient of 9"),
]


@pytest.mark.parametrize(("change", "kind", "words"), ILLNESSES)
def test_each_illness_raises_one_alarm_and_its_end_is_told(change, kind, words):
    watch = RunWatch()
    assert observe(watch, steps=20) == []
    (alarm,) = observe(watch, steps=20, **change)
    assert isinstance(alarm, Alarm) and alarm.kind == kind and words in alarm.message and alarm.remedy
    (end,) = observe(watch, steps=30)
    assert isinstance(end, AlarmEnded) and end.kind == kind
    assert [each.kind for each in observe(watch, steps=20, **change)] == [kind]


def test_an_update_that_spoils_the_policy_raises_alarms_in_its_second_step():
    """Figures of a run at six times the quickstart's learning rate, without a clip; its exact match fell in step 3."""
    watch = RunWatch()
    first = later(ratio_mean=0.9706, right_logprob_change=-0.01522, approx_kl=0.02585)
    second = later(ratio_mean=0.802, right_logprob_change=-0.2221, approx_kl=0.2737)
    assert observe(watch, steps=1, **first) == []
    changes = observe(watch, steps=1, **second)
    assert [each.kind for each in changes] == ["right_less_likely", "ratio_below_1", "clip_inactive"]
    # 0.7 of the first and 0.3 of the second
    assert "0.077 nats per token" in changes[0].message and "0.920" in changes[1].message


def test_a_run_without_a_clip_is_asked_for_none():
    """Nothing is clipped on purpose, and the range that a remedy would narrow has no effect there."""
    watch = RunWatch(has_clip=False)
    assert observe(watch, steps=20) == []
    assert observe(watch, steps=20, **later(approx_kl=0.2)) == []
    (alarm,) = observe(watch, steps=20, **later(ratio_mean=0.8))
    assert "clip_low" not in alarm.remedy and 'objective.clip = "fixed"' in alarm.remedy
    (alarm,) = observe(watch, steps=20, surprisal=0.001)[-1:]
    assert "clip" not in alarm.remedy


def test_one_odd_step_raises_no_alarm():
    watch = RunWatch()
    observe(watch, steps=10)
    assert observe(watch, steps=1, reward=-0.4, think_chars=15.0, malformed_rate=0.5, surprisal=2.0) == []


def test_growth_is_no_illness():
    watch = RunWatch()
    for step in range(20):
        assert observe(watch, steps=1, reward=step / 20, think_chars=40 + step, surprisal=0.5 - step / 50) == []


def test_a_policy_that_learns_to_think_raises_no_alarm():
    watch = RunWatch()
    observe(watch, steps=10, think_chars=6.0)
    assert observe(watch, steps=30, think_chars=60.0) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"exact_match": 0.95}),  # The one workflow that its task needs.
        ({"workflow_share": 1.0}, {}),  # The only workflow from the start.
        ({"num_trajectories": 4}, {"num_trajectories": 4}),  # Too few to say.
    ],
)
def test_one_workflow_may_be_right(before, after):
    watch = RunWatch()
    observe(watch, steps=10, **before)
    assert observe(watch, steps=30, **{"workflow_share": 1.0, **after}) == []


def test_a_clip_that_never_acts_is_no_illness_while_the_policy_hardly_moves():
    assert observe(RunWatch(), steps=30, **later(approx_kl=0.001)) == []


def test_without_later_mini_batches_those_of_the_whole_step_are_watched():
    watch = RunWatch()
    line = {key: value for key, value in HEALTHY.items() if "/later/" not in key}
    assert [change for _ in range(10) for change in watch.observe(line)] == []
    assert [change.kind for change in watch.observe(line | {"update/ratio_mean": 0.5})] == ["ratio_below_1"]


def test_figures_that_come_late_are_compared_with_their_own_first_values():
    """No trajectory is right at first."""
    watch = RunWatch()
    observe(watch, steps=20, surprisal_right=None)
    assert observe(watch, steps=10, surprisal_right=0.9) == []
    assert [each.kind for each in observe(watch, steps=10, surprisal_right=3.0)] == ["right_less_likely"]


def test_memory_survives_a_checkpoint():
    whole, first = RunWatch(), RunWatch()
    for watch in (whole, first):
        observe(watch, steps=10)
    second = RunWatch(first.remembered)
    for change, _, _ in ILLNESSES:
        assert observe(second, steps=5, **change) == observe(whole, steps=5, **change)
    assert second.remembered == whole.remembered


def test_a_step_without_figures_changes_nothing():
    watch = RunWatch()
    observe(watch, steps=10)
    before = watch.remembered
    assert watch.observe({}) == []
    assert observe(watch, steps=3) == []
    assert before.keys() == watch.remembered.keys()
    assert RunWatch().observe({}) == []


def test_contention_is_told_once_and_only_where_work_waits(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    watch = ContentionWatch()
    assert watch.observe(wall_seconds=60.0, cpu_seconds=58.0) is None  # One thread, a free machine.
    assert watch.observe(wall_seconds=60.0, cpu_seconds=110.0) is None  # Two threads.
    assert watch.observe(wall_seconds=9.0, cpu_seconds=1.0) is None  # Too short to say.
    message = watch.observe(wall_seconds=81.0, cpu_seconds=19.0)
    assert message is not None and "90 s for 20 s" in message and "load" in message and "OMP_NUM_THREADS=1" in message
    assert watch.observe(wall_seconds=90.0, cpu_seconds=9.0) is None


def test_one_thread_is_not_advised_to_who_has_it(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    message = ContentionWatch().observe(wall_seconds=90.0, cpu_seconds=20.0)
    assert message is not None and message.endswith("start fewer at once")


def silent(num_groups=4, **figures):
    return {"rollout/num_groups": num_groups, "rollout/num_groups_without_signal": num_groups} | {
        f"rollout/{name}": value for name, value in figures.items()
    }


HEARD = {"rollout/num_groups": 4, "rollout/num_groups_without_signal": 3}


@pytest.mark.parametrize(
    ("figures", "remedy"),
    [
        ({"exact_match": 1.0}, "harder tasks"),
        ({"exact_match": 0.0, "malformed_rate": 1.0, "no_answer_rate": 1.0}, "follows the grammar"),
        ({"exact_match": 0.0, "malformed_rate": 0.2, "no_answer_rate": 1.0}, "gives an answer"),
        ({"exact_match": 0.0, "malformed_rate": 0.2, "no_answer_rate": 0.2}, "training.group_size"),
        ({"success": 1.0}, "harder tasks"),
    ],
)
def test_a_first_step_without_signal_is_said_with_its_remedy(figures, remedy):
    (alarm,) = RunWatch().observe({"step": 1, **silent(**figures)})
    assert (alarm.kind, alarm.step) == ("no_signal", 1)
    assert "all 4 groups are equal" in alarm.message and remedy in alarm.remedy


def test_a_run_without_any_signal_says_so_at_its_end():
    watch = RunWatch()
    changes = [watch.observe({"step": step, **silent()}, is_last=step == 3) for step in (1, 2, 3)]
    assert [len(each) for each in changes] == [1, 0, 1]
    assert "this run could not learn: in all 3 steps" in changes[2][0].message


def test_a_run_of_one_step_without_signal_says_one_thing():
    (alarm,) = RunWatch().observe({"step": 1, **silent(num_groups=1)}, is_last=True)
    assert "in its only step" in alarm.message


def test_one_silent_step_among_others_is_not_said_and_ten_in_a_row_are():
    watch = RunWatch()
    assert [watch.observe(row) for row in (HEARD, silent(), HEARD)] == [[], [], []]
    changes = [watch.observe(silent()) for _ in range(12)]
    assert [index for index, each in enumerate(changes, start=1) if each] == [10]
    assert watch.observe(silent(), is_last=True) == []
    assert [type(each) for each in watch.observe(HEARD)] == [AlarmEnded]


def test_a_step_in_which_every_group_failed_says_nothing_about_signal():
    assert RunWatch().observe(silent(num_groups=0), is_last=True) == []
    watch = RunWatch()
    watch.observe(silent())
    assert watch.observe(silent(num_groups=0)) == []


def test_the_memory_of_signal_survives_a_checkpoint():
    watch = RunWatch()
    watch.observe(silent())
    (alarm,) = RunWatch(watch.remembered).observe(silent(), is_last=True)
    assert "in all 2 steps" in alarm.message
