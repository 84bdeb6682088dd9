import pytest

from workflow_r1.recording.health import CollapseWatch, ContentionWatch


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
