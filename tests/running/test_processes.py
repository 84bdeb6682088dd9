"""Several processes: started, watched, named when one dies, stopped together."""

import os
import signal
import subprocess
import sys
import time

import pytest

from workflow_r1.errors import ConfigError
from workflow_r1.running import processes


@pytest.fixture
def launched(monkeypatch):
    """Launch a piece of Python in place of the command line; it knows its rank as ``rank``."""

    def run(code: str, num: int = 2, told: float = 30.0) -> tuple[int, list[str]]:
        def start(arguments, rank, environment):
            program = f"import os, sys, time, signal\nrank = int(os.environ['RANK'])\n{code}"
            return subprocess.Popen(
                [sys.executable, "-c", program], env=environment, stdin=subprocess.PIPE, start_new_session=True
            )

        lines: list[str] = []
        monkeypatch.setattr(processes, "_start", start)
        monkeypatch.setattr(processes, "TOLD_SECONDS", told)
        return processes.launch(["train"], num=num, tell=lines.append, go_on=lambda: "Go on."), lines

    return run


def test_all_that_end_together_say_so_themselves(launched):
    assert launched("assert os.environ['WORLD_SIZE'] == '3'", num=3) == (0, [])
    assert launched("sys.exit(130)") == (130, [])
    assert launched("time.sleep(rank); sys.exit(2)") == (2, [])


def test_a_killed_process_is_named_and_the_others_are_stopped(launched):
    started = time.monotonic()
    code, lines = launched("os.kill(os.getpid(), signal.SIGKILL) if rank == 1 else time.sleep(60)")
    assert (code, lines) == (1, ["rank 1 (of 2 processes) was killed by SIGKILL; the others were stopped. Go on."])
    assert time.monotonic() - started < 30


def test_who_was_told_of_the_loss_is_not_named(launched):
    _, lines = launched("time.sleep(0.3)\nsys.exit(4) if rank == 0 else os.kill(os.getpid(), signal.SIGABRT)")
    assert lines[0].startswith("rank 1 (of 2 processes) was killed by SIGABRT")


def test_a_process_that_fails_alone_is_named(launched):
    code, lines = launched("sys.exit(1) if rank == 1 else time.sleep(60)", told=0.5)
    assert code == 1
    assert lines[0].startswith("rank 1 (of 2 processes) ended with exit code 1")


def test_a_process_that_hangs_is_named_when_the_others_give_up(launched):
    code, lines = launched("sys.exit(4) if rank == 0 else time.sleep(60)", told=0.5)
    assert (code, lines) == (1, ["rank 1 (of 2 processes) stopped answering; the others were stopped. Go on."])


def test_a_process_that_ignores_the_end_is_killed(launched, monkeypatch):
    monkeypatch.setattr(processes, "TERM_SECONDS", 0.5)
    program = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nsys.exit(5) if rank == 1 else time.sleep(60)"
    code, _ = launched(program, told=1.0)
    assert code == 1


def test_ctrl_c_reaches_every_process_once(launched):
    program = """
def stop(*_):
    sys.exit(130)
signal.signal(signal.SIGINT, stop)
os.kill(os.getppid(), signal.SIGINT) if rank == 0 and not time.sleep(1) else None
time.sleep(60)
"""
    before = signal.getsignal(signal.SIGINT)
    assert launched(program) == (130, [])
    assert signal.getsignal(signal.SIGINT) is before


def test_a_process_ends_with_its_launcher():
    program = "from workflow_r1.running import processes; processes._end_with_launcher()"
    child = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE)
    assert child.stdin is not None
    assert child.poll() is None
    child.stdin.close()
    assert child.wait(timeout=60) == -signal.SIGTERM


def test_torchrun_and_processes_exclude_each_other(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="not both"):
        processes.launch([], num=2, tell=print, go_on=str)


def test_the_command_that_goes_on_is_the_one_that_was_given(monkeypatch):
    assert processes.command_of("--resume runs/x", 1) == "workflow-r1 train --resume runs/x"
    assert processes.command_of("--resume runs/x", 2) == "workflow-r1 train --processes 2 --resume runs/x"
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert processes.command_of("--resume runs/x", 2) == "torchrun ... -m workflow_r1.cli train --resume runs/x"
    monkeypatch.setenv(processes.LAUNCHED, "1")
    assert processes.command_of("--resume runs/x", 2) == "workflow-r1 train --processes 2 --resume runs/x"


def test_every_process_has_its_rank_and_one_place_to_meet():
    environments = processes._environments(3)
    assert [one["RANK"] for one in environments] == ["0", "1", "2"]
    assert len({one["MASTER_PORT"] for one in environments}) == 1
    assert all(int(one["OMP_NUM_THREADS"]) >= 1 and one["PATH"] == os.environ["PATH"] for one in environments)
