"""``workflow-r1 serve`` as a real process, asked by curl."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from workflow_r1.installation import install_command
from workflow_r1.trajectory import load_trajectories

FIXED = ("-m", "cot", "-o", "data.limit=4")
"""A fixed workflow needs no torch, so its server is there at once."""


class Serving:
    """A running server."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        assert process.stdout is not None
        self.head = ""
        while "Ctrl-C" not in self.head:
            line = process.stdout.readline()
            assert line, f"the server ended: {process.stderr.read() if process.stderr else ''}"
            self.head += line
        self.address = re.search(r"http://[\d.]+:\d+", self.head).group()  # type: ignore[union-attr]

    def end(self, number: signal.Signals) -> tuple[int, str, str]:
        self.process.send_signal(number)
        output, errors = self.process.communicate(timeout=30)
        return self.process.returncode, output, errors


@contextmanager
def serving(*arguments: str | Path, cwd: Path, **environment: str) -> Iterator[Serving]:
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "workflow_r1.cli", "serve", "--port", "0", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", "NO_COLOR": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    try:
        yield Serving(process)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
def test_the_printed_curl_line_gets_an_answer(tmp_path: Path) -> None:
    with serving(*FIXED, "--save", "kept/t.jsonl", cwd=tmp_path) as server:
        assert "embedded world (a simulation)" in server.head
        line = next(line.strip() for line in server.head.splitlines() if line.strip().startswith("curl"))
        done = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=30, check=True)
        reply = json.loads(done.stdout)
        streamed = subprocess.run(
            line.replace('"messages"', '"stream": true, "messages"').replace("curl -s", "curl -sN"),
            shell=True,
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        code, output, errors = server.end(signal.SIGINT)
    assert reply["choices"][0]["message"]["content"]
    assert reply["workflow_r1"]["turns"][0]["calls"][0]["operator"] == "AnswerGenerate"
    assert streamed.stdout.startswith("data: ")
    assert streamed.stdout.endswith("data: [DONE]\n\n")
    assert (code, errors) == (0, "")
    assert output.count("answered: 2 turns") == 2
    assert output.endswith("stopped\n")
    (first, _second) = load_trajectories(tmp_path / "kept" / "t.jsonl")
    assert first.answer == reply["choices"][0]["message"]["content"]
    assert first.id == reply["workflow_r1"]["trajectory_id"]


def test_a_termination_ends_it_as_cleanly_and_the_key_is_asked_for(tmp_path: Path) -> None:
    with serving(*FIXED, "--api-key-env", "KEY", "--model-name", "mine", cwd=tmp_path, KEY="s3cret") as server:
        assert "s3cret" not in server.head
        assert '-H "Authorization: Bearer $KEY"' in server.head
        assert httpx2.get(f"{server.address}/v1/models").status_code == 401
        models = httpx2.get(f"{server.address}/v1/models", headers={"Authorization": "Bearer s3cret"}).json()
        assert [model["id"] for model in models["data"]] == ["mine"]
        code, output, errors = server.end(signal.SIGTERM)
    assert (code, errors) == (0, "")
    assert output.endswith("stopped\n")
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_is_not_there_and_a_port_that_is_taken(call: Callable, tmp_path: Path) -> None:
    done = call("serve", *FIXED, "--api-key-env", "WORKFLOW_R1_NO_SUCH_KEY")
    assert (done.returncode, list(tmp_path.iterdir())) == (2, [])
    assert "WORKFLOW_R1_NO_SUCH_KEY" in done.stderr
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = call("serve", *FIXED, "--port", str(taken.getsockname()[1]))
    assert done.returncode == 2
    assert "choose another --port" in done.stderr


def test_without_the_extra_its_name_is_told(call: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "uvicorn" else find(name, *rest)
    )
    done = call("serve")
    assert done.returncode == 2
    assert install_command("serve") in done.stderr
