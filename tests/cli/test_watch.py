"""``watch``: a server, a file, a view in the terminal."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from viewed_runs import make_evaluation, make_run


def test_the_terminal_shows_figures_and_the_newest_trajectories(call, tmp_path: Path) -> None:
    make_run(tmp_path / "run")
    shown = call("watch", "run", "--terminal")
    assert shown.returncode == 0
    assert "3 of 4 steps, 24 trajectories, not at work" in shown.stdout
    assert re.search(r"right, greedy +0.25 +▁▄█|right, greedy +0.25 +▁▅█", shown.stdout)
    assert "Where was the director of film 1 born?" in shown.stdout
    assert "a simulation" in shown.stdout


def test_the_page_is_written_as_one_file(call, tmp_path: Path) -> None:
    make_run(tmp_path / "run")
    make_evaluation(tmp_path / "evaluation", right={"direct": 1})
    done = call("watch", "run", "evaluation", "--export", "page.html")
    assert re.fullmatch(r"page\.html: 28 trajectories, 0\.\d MB\n", done.stdout)
    assert (tmp_path / "page.html").read_text().startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere",), "found nothing"),
        (("run", "--terminal", "--export", "x.html"), "received both"),
    ],
)
def test_mistakes_are_told_in_a_line(call, tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    make_run(tmp_path / "run", steps=1)
    done = call("watch", *arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_the_server_serves_until_it_is_interrupted(tmp_path: Path) -> None:
    pytest.importorskip("uvicorn")
    make_run(tmp_path / "run", steps=1)
    command = [sys.executable, "-m", "workflow_r1.cli", "watch", str(tmp_path / "run"), "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | {"COLUMNS": "200"}
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            address = re.search(r"8 trajectories at (http://127\.0\.0\.1:\d+)", line)
            assert address is not None, line
            with urllib.request.urlopen(f"{address[1]}/api/state", timeout=10) as reply:
                assert json.load(reply)[0]["rows"] == [8]
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=20) == 0
        finally:
            process.kill()
