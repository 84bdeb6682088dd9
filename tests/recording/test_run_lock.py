"""One process at a time in a run directory, however the ones before have ended."""

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict, replace

import pytest

from workflow_r1.config import load_run_config
from workflow_r1.errors import UserError
from workflow_r1.recording.recorder import RunRecorder
from workflow_r1.recording.run_lock import LOCK, hold_run_directory
from workflow_r1.running.run_directory import make_run_directory
from workflow_r1.store.lock import Owner

FIFTY = """
import os, sys
from pathlib import Path

{imports}

directory = Path(sys.argv[1])
gate, opened = os.pipe()
told, tell = os.pipe()
for _ in range(50):
    if os.fork() == 0:
        os.close(opened)
        os.read(gate, 1)  # Until all are there.
        try:
            {act}
        except Exception as error:
            os.write(tell, (type(error).__name__ + chr(10)).encode())
        os._exit(0)
os.close(opened)
os.close(tell)
answers = b""
while part := os.read(told, 4096):
    answers += part
print(answers.decode())
"""

HOLD = """
import os, sys, time
from pathlib import Path
from workflow_r1.recording.run_lock import hold_run_directory

with hold_run_directory(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def run(script, *arguments):
    done = subprocess.run([sys.executable, "-c", script, *map(str, arguments)], capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def test_of_fifty_that_start_at_once_one_is_alone(tmp_path):
    """The winner stays until the last of the others has been refused: only the number of answers tells it."""
    act = """
            import time
            with hold_run_directory(directory):
                os.write(tell, b"won" + chr(10).encode())
                time.sleep(2)"""
    imports = "from workflow_r1.recording.run_lock import hold_run_directory"
    answers = run(FIFTY.format(imports=imports, act=act.strip()), tmp_path)
    assert sorted(answers.split()) == ["UserError"] * 49 + ["won"]
    assert list(tmp_path.iterdir()) == []


def test_of_fifty_that_choose_one_directory_one_gets_it(tmp_path):
    imports = """
from workflow_r1.config import load_run_config
from workflow_r1.running.run_directory import make_run_directory
config = load_run_config("embedded", [])"""
    act = 'make_run_directory(config, directory); os.write(tell, b"won" + chr(10).encode())'
    answers = run(FIFTY.format(imports=imports, act=act), tmp_path / "run")
    assert sorted(answers.split()) == ["UserError"] * 49 + ["won"]
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"config.toml", "environment.json"}


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_who_holds_it_is_named_with_the_remedy(holder, tmp_path):
    with pytest.raises(UserError) as caught, hold_run_directory(tmp_path):
        pass
    message = str(caught.value)
    assert f"process {holder.pid} on {platform.node()}" in message and "Wait until it ends" in message
    assert "\n" not in message


def test_a_killed_process_holds_nothing_and_is_told_of(holder, tmp_path):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    (tmp_path / ".unfinished-policy").mkdir()
    with hold_run_directory(tmp_path) as left:
        assert left is not None and left.pid == holder.pid
        assert [path.name for path in tmp_path.iterdir()] == [LOCK]
    assert list(tmp_path.iterdir()) == []
    with hold_run_directory(tmp_path) as left:
        assert left is None


def test_a_copy_of_a_held_directory_is_free_and_nobody_was_killed(tmp_path):
    with hold_run_directory(tmp_path / "run"):
        shutil.copytree(tmp_path / "run", tmp_path / "copy")
        assert Owner.read(tmp_path / "copy" / LOCK) is not None
        with hold_run_directory(tmp_path / "copy") as left:
            assert left is None


def test_the_recorder_says_who_was_killed(holder, tmp_path):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    events = []
    with RunRecorder(tmp_path, on_event=events.append).holding(resume=True):
        pass
    assert f"process {holder.pid}" in events[0].message and "killed" in events[0].message


def test_a_run_that_is_held_is_refused_before_it_is_touched(tmp_path):
    with (
        RunRecorder(tmp_path).holding(resume=False),
        pytest.raises(UserError, match="is at work there"),
        RunRecorder(tmp_path).holding(resume=True),
    ):
        pass


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ({}, True),  # This very process.
        ({"pid": 2**22 + 1}, False),  # No such process can exist.
        ({"boot": "before"}, False),  # The machine has started anew since.
        ({"host": "elsewhere", "pid": 2**22 + 1}, True),  # It cannot be seen from here.
    ],
)
def test_where_the_disk_has_no_locks_the_file_decides(tmp_path, monkeypatch, changes, refused):
    def no_locks(file, operation):
        raise OSError("No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    owner = replace(Owner.current(), **changes)
    (tmp_path / LOCK).write_text(json.dumps(asdict(owner)))
    if refused:
        with pytest.raises(UserError, match=f"delete {tmp_path / LOCK}"), hold_run_directory(tmp_path):
            pass
        assert Owner.read(tmp_path / LOCK) == owner
        return
    with hold_run_directory(tmp_path) as left:
        assert left == owner
        assert Owner.read(tmp_path / LOCK) == replace(Owner.current(), since=Owner.read(tmp_path / LOCK).since)


def test_secrets_of_the_command_line_are_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["workflow-r1", "train", "-o", "llm.base_url=https://me:secret@host", "runs/one"])
    with hold_run_directory(tmp_path):
        assert "secret" not in (tmp_path / LOCK).read_text()
        assert Owner.read(tmp_path / LOCK).command == "workflow-r1 train -o runs/one"


def test_a_directory_that_is_held_is_not_another_runs_place(tmp_path):
    with hold_run_directory(tmp_path), pytest.raises(UserError, match="holds something"):
        make_run_directory(load_run_config("embedded", []), tmp_path)
