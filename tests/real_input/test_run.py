"""The whole run on real input: a real model, a real server, real questions, a real corpus. Tens of minutes on two cores."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SCRIPT = REPOSITORY / "scripts" / "real_input" / "run.py"
DATA = Path(os.environ.get("WORKFLOW_R1_DATA", REPOSITORY.parent / "shared" / "data"))


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_skips_where_there_is_no_data(tmp_path: Path) -> None:
    done = run("--directory", str(tmp_path / "run"), WORKFLOW_R1_DATA=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("skipped: no ") and "WORKFLOW_R1_DATA" in done.stdout
    assert not (tmp_path / "run").exists()


COMMAND = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, signal.default_int_handler)  # As workflow-r1 does.
pathlib.Path(sys.argv[1], "started").touch()
try:
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(1)
    pathlib.Path(sys.argv[1], "checkpoint").touch()
"""

CALLER = """
import signal, sys
sys.path.insert(0, sys.argv[1])
import stages
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
stages.finish([sys.executable, "-c", sys.argv[2], sys.argv[3]])
"""


@pytest.mark.parametrize(("by_terminal", "in_background"), [(True, False), (False, False), (False, True)])
def test_a_stopped_run_lets_its_command_save_a_checkpoint(
    tmp_path: Path, by_terminal: bool, in_background: bool
) -> None:
    """Ctrl-C reaches caller and command, SIGTERM the caller alone; both wait for the command's checkpoint."""
    # A shell starts what ends in `&` so.
    ctrl_c = signal.signal(signal.SIGINT, signal.SIG_IGN) if in_background else None
    caller = subprocess.Popen(
        [sys.executable, "-c", CALLER, str(SCRIPT.parent), COMMAND, str(tmp_path)],
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    )
    if ctrl_c is not None:
        signal.signal(signal.SIGINT, ctrl_c)
    deadline = time.monotonic() + 60
    while not (tmp_path / "started").exists():
        assert caller.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.2)
    if by_terminal:
        os.killpg(caller.pid, signal.SIGINT)
    else:
        os.kill(caller.pid, signal.SIGTERM)
    assert caller.wait(30) == (-signal.SIGINT if by_terminal else 143)
    assert (tmp_path / "checkpoint").exists()


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.server
@pytest.mark.skipif(not (DATA / "corpus" / "corpus.jsonl.gz").is_file(), reason=f"no corpus in {DATA}")
def test_trains_a_real_model_on_real_questions(tmp_path: Path) -> None:
    done = run("--directory", str(tmp_path / "run"), "--demonstrations", "16", "--steps", "1")
    assert done.returncode == 0, done.stderr
    (before, step) = [
        json.loads(line) for line in (tmp_path / "run" / "train" / "metrics.jsonl").read_text().splitlines()
    ]
    assert before["step"] == 0 and step["step"] == 1
    assert step["rollout/num_trajectories"] == 16
    assert step["rollout/num_failed"] == 0
    assert "server: stopped" in done.stdout
