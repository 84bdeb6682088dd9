"""The wheel, installed into empty environments, does what the README promises, from any folder."""

import json
import os
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TORCH = os.environ.get("TORCH", "torch==2.13.0")

pytestmark = pytest.mark.slow

SMALL = (
    "-o", "training.steps=1", "-o", "training.questions_per_step=2", "-o", "training.mini_batch_questions=2",
    "-o", "training.group_size=2", "-o", "training.evaluation_questions=4", "-o", "policy.threads=1",
)  # fmt: skip


def run(*command: str | Path, folder: Path, home: Path) -> str:
    """Return the output of a command in an environment that knows nothing of the checkout; it must end with 0."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    environment |= {"HOME": str(home), "COLUMNS": "120"}
    done = subprocess.run(
        [str(part) for part in command], cwd=folder, env=environment, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("wheel")
    run(
        sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "-q", "--no-deps", "-w", place, ROOT,
        folder=place, home=place,
    )  # fmt: skip
    (found,) = place.glob("*.whl")
    return found


@pytest.fixture
def install(wheel: Path, tmp_path: Path) -> Callable[[str], Callable[..., str]]:
    """Make an environment with the wheel and an extra; gives what calls its programs from an empty folder."""

    def make(extra: str) -> Callable[..., str]:
        environment, folder = tmp_path / "environment", tmp_path / "folder"
        folder.mkdir()
        run(sys.executable, "-m", "venv", environment, folder=folder, home=tmp_path)

        def call(program: str, *arguments: str | Path) -> str:
            return run(environment / "bin" / program, *arguments, folder=folder, home=tmp_path)

        pip = ("-m", "pip", "--disable-pip-version-check", "install", "-q")
        if "train" in extra:
            # Before the rest: resolved from a range among the others it may be a build of several gigabytes.
            call("python", *pip, TORCH)
        call("python", *pip, "-c", ROOT / "constraints.txt", f"{wheel}{extra}")
        call("python", "-m", "pip", "--disable-pip-version-check", "check")
        return call

    return make


def test_the_wheel_holds_what_a_run_needs_and_its_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {f"workflow_r1/config/presets/{preset}.toml" for preset in ("embedded", "paper")} <= names
    assert {f"workflow_r1/embedded/policy/{name}" for name in ("model.safetensors", "tokenizer.json")} <= names
    pages = ("app.js", "style.css", "vendored/dagre.min.js", "vendored/dagre.LICENSE", "vendored/uPlot.iife.min.js")
    assert {f"workflow_r1/viewing/pages/{name}" for name in pages} <= names
    assert "workflow_r1/py.typed" in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert not [name for name in names if name.startswith(("tests/", "docs/"))]


def test_the_base_evaluates_without_torch(install: Callable) -> None:
    call = install("")
    assert "evaluate" in call("workflow-r1", "--help")
    assert "direct" in call("workflow-r1", "evaluate", "--method", "direct", "--limit", "8", "--output", "out")
    summary = json.loads(call("python", "-c", "print(open('out/summary.json').read())"))
    assert summary["figures"][0]["num_questions"] == 8
    installed = {row["name"] for row in json.loads(call("python", "-m", "pip", "list", "--format", "json"))}
    assert not installed & {"torch", "transformers", "openai"}


def test_the_extra_train_trains_asks_and_evaluates(install: Callable) -> None:
    call = install("[train]")
    call("workflow-r1", "train", *SMALL, "--run-directory", "run")
    assert "policy tokens" in call("workflow-r1", "ask", "-c", "run")
    assert "exact match" in call("workflow-r1", "evaluate", "run", "--limit", "4")


def test_the_extra_serve_serves(install: Callable, tmp_path: Path) -> None:
    call = install("[serve]")
    assert "serve" in call("workflow-r1", "serve", "--help")
    program = tmp_path / "environment" / "bin" / "workflow-r1"
    with subprocess.Popen(
        [program, "serve", "-m", "direct", "--port", "0"], cwd=tmp_path / "folder", stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    ) as server:  # fmt: skip
        try:
            assert server.stdout is not None
            address = next(
                word.strip() for line in server.stdout for word in line.split() if word.startswith("http://127.0.0.1:")
            )
            body = json.dumps({"model": "direct", "messages": [{"role": "user", "content": "Who?"}]}).encode()
            request = urllib.request.Request(
                f"{address.rstrip('/')}/chat/completions", data=body, headers={"Content-Type": "application/json"}
            )
            with urllib.request.urlopen(request, timeout=60) as reply:
                assert json.load(reply)["choices"][0]["message"]["content"]
        finally:
            server.terminate()
