"""``workflow-r1 train --processes 2`` as a person runs it: killed, resumed, interrupted, resumed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from workflow_r1.config.training import NewPolicyConfig
from workflow_r1.embedded import WARM_START
from workflow_r1.embedded.demonstrations import make_demonstrations
from workflow_r1.engines.native.embedded_policy import BuildSettings, new_policy
from workflow_r1.policy.model import save_policy

TINY = (
    "-o", "training.questions_per_step=3", "-o", "training.group_size=2", "-o", "training.mini_batch_questions=2",
    "-o", "training.evaluation_questions=3", "-o", "environment.max_response_tokens=96", "-o", "environment.max_turns=3",
    "-o", "sampling.max_turn_tokens=24", "-o", "policy.threads=1", "-o", "training.checkpoint_every=1",
)  # fmt: skip
WAIT_SECONDS = 300


def steps(run: Path) -> list[int]:
    file = run / "metrics.jsonl"
    return [json.loads(line)["step"] for line in file.read_text().splitlines()] if file.exists() else []


def start(*arguments: str | Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "workflow_r1.cli", "train", "--processes", "2", *map(str, arguments)]
    environment = {**os.environ, "COLUMNS": "200"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def wait_for_step(run: Path, step: int) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while step not in steps(run):
        assert time.monotonic() < deadline, "the step did not come"
        time.sleep(0.05)


def child_of_rank(launcher: int, rank: int) -> int:
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            environment = (process / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if parent == launcher and f"RANK={rank}".encode() in environment:
            return int(process.name)
    raise AssertionError(f"expected a child of rank {rank}")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds the children in /proc")
def test_killed_interrupted_and_resumed(tmp_path: Path) -> None:
    settings = BuildSettings(size=NewPolicyConfig(hidden_size=16, num_layers=1, num_heads=2, intermediate_size=32))
    policy, run = tmp_path / "tiny", tmp_path / "run"
    save_policy(*new_policy(settings, make_demonstrations(30, strategy=WARM_START)), policy)

    launched = start("--run-directory", run, "-o", f"policy.model={policy}", *TINY, "-o", "training.steps=1000")
    wait_for_step(run, 2)
    os.kill(child_of_rank(launched.pid, 1), signal.SIGKILL)
    output, _ = launched.communicate(timeout=WAIT_SECONDS)
    assert launched.returncode == 1, output
    assert "rank 1 (of 2 processes) was killed by SIGKILL; the others were stopped. The checkpoint step-00" in output
    assert f"continue with:  workflow-r1 train --processes 2 --resume {run}" in output
    assert "Traceback" not in output
    done = steps(run)[-1]

    launched = start("--resume", run)
    wait_for_step(run, done + 1)
    launched.send_signal(signal.SIGINT)
    output, _ = launched.communicate(timeout=WAIT_SECONDS)
    assert launched.returncode == 130, output
    assert output.count("stopping: this step ends") == 1
    assert f"continue with:  workflow-r1 train --processes 2 --resume {run}" in output
    assert steps(run) == list(range(len(steps(run))))

    more = len(steps(run))
    launched = start("--resume", run, "-o", f"training.steps={more}")
    output, _ = launched.communicate(timeout=WAIT_SECONDS)
    assert launched.returncode == 0, output
    assert steps(run) == list(range(more + 1))
    assert (run / "policy" / "config.json").is_file()


def test_what_is_wrong_is_told_once_before_anything_starts(call, tmp_path: Path) -> None:
    code, output, errors = call("train", "--processes", "2", "-o", "training.stepz=1")
    assert (code, output) == (2, "")
    assert "training.steps" in errors
    code, _, errors = call("train", "--processes", "2", "--engine", "verl")
    assert code == 2
    assert "expected --processes with the native engine alone" in errors
    assert not (tmp_path / "runs").exists()
