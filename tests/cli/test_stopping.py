"""A polite end of a job (SIGTERM) ends a command like the first Ctrl-C; a second Ctrl-C ends it at once, quietly."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

pytestmark = pytest.mark.slow

SMALL = (
    "-o", "training.questions_per_step=4", "-o", "training.group_size=4", "-o", "training.mini_batch_questions=2",
    "-o", "training.evaluation_questions=0", "-o", "training.steps=1000",
)  # fmt: skip


class Command:
    """A command that runs in a process of its own."""

    def __init__(self, folder: Path, *arguments: str, in_background: bool) -> None:
        # As a shell starts what ends in `&`.
        ctrl_c = signal.signal(signal.SIGINT, signal.SIG_IGN) if in_background else None
        self._out, self._err = folder / "out.txt", folder / "err.txt"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "workflow_r1.cli", *arguments],
                cwd=folder,
                stdout=out,
                stderr=err,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "COLUMNS": "200"},
            )
        if ctrl_c is not None:
            signal.signal(signal.SIGINT, ctrl_c)

    def when(self, is_time: Callable[[], bool], *signals: signal.Signals) -> tuple[int, str, str]:
        """Send signals once it is time, and return exit code, output and errors."""
        deadline = time.monotonic() + 120
        while not is_time():
            assert self.process.poll() is None, self._err.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        for number in signals:
            self.process.send_signal(number)
            time.sleep(0.3)
        return self.process.wait(timeout=120), self._out.read_text(), self._err.read_text()

    @property
    def output(self) -> str:
        return self._out.read_text()


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Callable[..., Command]]:
    started: list[Command] = []

    def start(*arguments: str, in_background: bool = False) -> Command:
        started.append(Command(tmp_path, *arguments, in_background=in_background))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait()


def has_lines(file: Path) -> bool:
    return file.is_file() and file.stat().st_size > 0


@pytest.mark.parametrize("in_background", [False, True])
def test_train_ends_with_a_checkpoint(command: Callable[..., Command], tmp_path: Path, in_background: bool) -> None:
    run = command("train", *SMALL, "--run-directory", "run", in_background=in_background)
    code, output, errors = run.when(lambda: has_lines(tmp_path / "run" / "metrics.jsonl"), signal.SIGTERM)
    assert code == 130, errors
    assert "continue with:  workflow-r1 train --resume run" in output
    assert list((tmp_path / "run" / "checkpoints").glob("step-*"))
    assert (tmp_path / "run" / "policy" / "config.json").is_file()
    assert not (tmp_path / "run" / ".lock").exists()
    assert errors == ""


def test_a_second_ctrl_c_is_quiet(command: Callable[..., Command], tmp_path: Path) -> None:
    run = command("train", *SMALL, "-o", "training.questions_per_step=64", "--run-directory", "run")
    code, output, errors = run.when(lambda: "from step 0" in run.output, signal.SIGINT, signal.SIGINT)
    assert code == 130, errors
    assert "aborted before the first checkpoint" in output
    assert errors == ""


@pytest.mark.parametrize("in_background", [False, True])
def test_the_warm_start_ends_with_a_checkpoint(
    command: Callable[..., Command], tmp_path: Path, in_background: bool
) -> None:
    run = command(
        "warmstart", "-o", "warmstart.num_demonstrations=400", "-o", "warmstart.epochs=50", "--run-directory", "w",
        in_background=in_background,
    )  # fmt: skip
    code, output, errors = run.when(lambda: has_lines(tmp_path / "w" / "metrics.jsonl"), signal.SIGTERM)
    assert code == 130, errors
    assert "continue with:  workflow-r1 warmstart --resume w" in output
    assert list((tmp_path / "w" / "checkpoints").glob("step-*"))
    assert errors == ""


@pytest.mark.parametrize(
    ("signals", "in_background"),
    [((signal.SIGTERM,), False), ((signal.SIGTERM,), True), ((signal.SIGINT, signal.SIGINT), False)],
)
def test_an_evaluation_can_be_continued(
    command: Callable[..., Command], tmp_path: Path, signals: tuple[signal.Signals, ...], in_background: bool
) -> None:
    run = command("evaluate", "--limit", "4000", "--output", "e", in_background=in_background)
    code, output, errors = run.when(lambda: has_lines(tmp_path / "e" / "rows.jsonl"), *signals)
    assert code == 130, errors
    assert "--output e" in output
    assert errors == ""


def test_a_rollout_says_what_is_kept(command: Callable[..., Command], tmp_path: Path) -> None:
    run = command("rollout", "--limit", "4000", "--output", "t.jsonl")
    code, output, errors = run.when(lambda: has_lines(tmp_path / "t.jsonl"), signal.SIGTERM)
    assert code == 130, errors
    assert "The trajectories that were finished are in t.jsonl" in output
    assert errors == ""
    assert not (tmp_path / ".t.jsonl.lock").exists()


def test_two_processes_in_the_background_end_with_a_checkpoint(command: Callable[..., Command], tmp_path: Path) -> None:
    run = command("train", *SMALL, "--processes", "2", "--output", "run", in_background=True)
    code, output, errors = run.when(lambda: has_lines(tmp_path / "run" / "metrics.jsonl"), signal.SIGTERM)
    assert code == 130, errors
    assert "--resume run" in output
    assert list((tmp_path / "run" / "checkpoints").glob("step-*"))


def test_a_study_in_two_processes_ends_with_checkpoints(command: Callable[..., Command], tmp_path: Path) -> None:
    overrides = [
        "training.steps=1000", "training.questions_per_step=2", "training.group_size=2", "training.mini_batch_questions=2",
        "training.evaluation_questions=2", "training.checkpoint_every=1000", "environment.max_turns=2",
    ]  # fmt: skip
    (tmp_path / "study.toml").write_text(
        f'name = "s"\nseeds = 1\noverrides = {overrides}\n[arms.one]\n[arms.other]\noverrides = ["objective.preset=grpo"]\n'
    )
    runs = [tmp_path / "out" / "runs" / "world" / arm / "seed-0" for arm in ("one", "other")]
    study = command("study", "study.toml", "--output", "out", "--jobs", "2")
    code, out, err = study.when(
        lambda: all(has_lines(run / "metrics.jsonl") and '"step": 1,' in (run / "metrics.jsonl").read_text() for run in runs),
        signal.SIGTERM,
    )  # fmt: skip
    assert code == 130, err
    assert "interrupted; the same command continues in out" in out
    assert "Traceback" not in err
    for run in runs:
        assert any((run / "checkpoints").iterdir())
        assert not (run / ".lock").exists()
