import pytest
import torch

from workflow_r1.policy import threads


@pytest.fixture
def machine(monkeypatch):
    """Return a function that sets what the machine offers; the number of threads that torch is given is kept in a list."""
    given = []
    monkeypatch.setattr(torch, "set_num_threads", given.append)
    monkeypatch.setattr(torch, "get_num_threads", lambda: given[-1] if given else 8)
    monkeypatch.setattr(threads, "LOOK_SECONDS", 0.0)

    def offer(*, processors=8, allowed=8, quota=10**6, busy=0.0, variable=None):
        threads.free_processors.cache_clear()
        monkeypatch.setattr(threads, "_threads_of_torch", lambda: 8)
        monkeypatch.setattr("os.cpu_count", lambda: processors)
        monkeypatch.setattr("os.sched_getaffinity", lambda pid: range(allowed), raising=False)
        monkeypatch.setattr(threads, "_quota", lambda: quota)
        monkeypatch.setattr(threads, "_busy_processors", lambda: busy)
        if variable is None:
            monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        else:
            monkeypatch.setenv("OMP_NUM_THREADS", variable)
        return given

    yield offer
    threads.free_processors.cache_clear()


@pytest.mark.parametrize(
    ("most", "offered", "expected"),
    [
        (2, {}, 2),
        (None, {}, 8),
        (2, {"variable": "1"}, 1),  # The variable holds, whatever a preset says ...
        (2, {"variable": "1", "busy": 8.0}, 1),
        (2, {"variable": "6"}, 2),  # ... and so does the preset.
        (4, {"variable": "4", "busy": 8.0}, 4),  # Who sets it has chosen: the load is not looked at.
        (2, {"variable": "many"}, 2),
        (4, {"allowed": 3}, 3),
        (4, {"quota": 2}, 2),
        (4, {"busy": 5.9}, 2),
        (2, {"processors": 2, "allowed": 2, "busy": 1.6}, 1),
        (2, {"processors": 2, "allowed": 2, "busy": 2.0}, 1),
        (2, {"processors": 64, "allowed": 64, "quota": 2, "busy": 30.0}, 2),  # The others use other processors.
    ],
)
def test_as_many_threads_as_are_free(machine, most, offered, expected):
    given = machine(**offered)
    threads.choose_threads(most)
    assert given[-1] == expected


def test_the_choice_is_made_once_in_a_process(machine, monkeypatch):
    given = machine()
    threads.choose_threads(2)
    monkeypatch.setattr(threads, "_busy_processors", lambda: 8.0)  # By then this process is the load.
    threads.choose_threads(2)
    assert given == [2, 2]


def test_fewer_threads_are_explained(machine):
    machine(busy=7.0)
    threads.choose_threads(2)
    assert "1 of 2 CPU threads" in (threads.explain_threads(2) or "")
    machine(variable="1")
    threads.choose_threads(2)
    assert threads.explain_threads(2) is None


def test_quotas_of_control_groups(tmp_path):
    own = tmp_path / "cgroup"
    own.write_text("0::/jobs/one\n")
    root = tmp_path / "fs"
    (root / "jobs" / "one").mkdir(parents=True)
    assert threads._quota(root, own) > 1000
    (root / "jobs" / "one" / "cpu.max").write_text("max 100000\n")
    (root / "jobs" / "cpu.max").write_text("150000 100000\n")
    assert threads._quota(root, own) == 2
    (root / "jobs" / "one" / "cpu.max").write_text("50000 100000\n")
    assert threads._quota(root, own) == 1
    assert threads._quota(root, tmp_path / "absent") > 1000
