import pytest

from workflow_r1.recording.health import CollapseWatch, ContentionWatch, SignalWatch


def observe(watch, *, steps, reward=0.5, think=40.0, surprisal=0.5):
    line = {"rollout/reward": reward, "rollout/think_chars": think, "rollout/surprisal": surprisal}
    return [message for _ in range(steps) for message in watch.observe(line)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"reward": -0.5}, "reward has fallen"),
        ({"think": 2.0}, "think text has shrunk"),
        ({"think": 900.0}, "think text has grown"),
        ({"surprisal": 0.001}, "stopped exploring"),
    ],
)
def test_each_illness_is_said_once(change, words):
    watch = CollapseWatch()
    assert observe(watch, steps=20) == []
    messages = observe(watch, steps=20, **change)
    assert len(messages) == 1 and words in messages[0]


def test_one_odd_step_raises_no_alarm():
    watch = CollapseWatch()
    observe(watch, steps=10)
    assert observe(watch, steps=1, reward=-0.4, think=15.0) == []


def test_growth_is_no_illness():
    watch = CollapseWatch()
    for reward in range(20):
        assert observe(watch, steps=1, reward=reward / 20, think=40 + reward, surprisal=0.5 - reward / 50) == []


def test_a_relapse_is_said_again():
    watch = CollapseWatch()
    observe(watch, steps=10)
    assert len(observe(watch, steps=10, think=2.0)) == 1
    assert observe(watch, steps=20) == []
    assert len(observe(watch, steps=10, think=2.0)) == 1


def test_memory_survives_a_checkpoint():
    whole, first = CollapseWatch(), CollapseWatch()
    for watch in (whole, first):
        observe(watch, steps=10)
    second = CollapseWatch(first.remembered)
    assert observe(second, steps=10, reward=-1.0) == observe(whole, steps=10, reward=-1.0)
    assert second.remembered == whole.remembered


def test_a_step_without_figures_changes_nothing():
    watch = CollapseWatch()
    observe(watch, steps=10)
    assert watch.observe({}) == []
    assert observe(watch, steps=3) == []


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
    message = SignalWatch().observe(silent(**figures), is_last=False)
    assert "all 4 groups are equal" in message and remedy in message


def test_a_run_without_any_signal_says_so_at_its_end():
    watch = SignalWatch()
    messages = [watch.observe(silent(), is_last=step == 3) for step in (1, 2, 3)]
    assert messages[1] is None
    assert "this run could not learn: in all 3 steps" in messages[2]


def test_one_silent_step_among_others_is_not_said_and_ten_in_a_row_are():
    watch = SignalWatch()
    assert [watch.observe(row, is_last=False) for row in (HEARD, silent(), HEARD)] == [None, None, None]
    messages = [watch.observe(silent(), is_last=False) for _ in range(12)]
    assert [index for index, message in enumerate(messages, start=1) if message] == [10]
    assert watch.observe(silent(), is_last=True) is None


def test_a_step_in_which_every_group_failed_is_no_silence():
    assert SignalWatch().observe(silent(num_groups=0), is_last=True) is None


def test_the_memory_of_signal_survives_a_checkpoint():
    watch = SignalWatch()
    watch.observe(silent(), is_last=False)
    resumed = SignalWatch(watch.remembered)
    assert "in all 2 steps" in resumed.observe(silent(), is_last=True)
