"""The long run on a machine without a network: what arrives in pieces is whole again, or waited for."""

import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts" / "real_input"
NAMES = ("offline", "learn", "stages", "model", "answers")
PIECE_BYTES = 20_000


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.setenv("WORKFLOW_R1_DATA", str(tmp_path / "data"))
    for name in NAMES:
        sys.modules.pop(name, None)
    import offline

    def build_wheel(repository: Path, directory: Path) -> Path:
        with zipfile.ZipFile(directory / "package-1.whl", "w") as archive:
            archive.writestr("package/__init__.py", "")
        return directory / "package-1.whl"

    monkeypatch.setattr(offline, "build_wheel", build_wheel)
    monkeypatch.setattr(offline, "PIECE_BYTES", PIECE_BYTES)
    yield offline
    for name in NAMES:
        sys.modules.pop(name, None)


@pytest.fixture
def pieces(offline: ModuleType, tmp_path: Path) -> Path:
    """Pieces of a model of 50 kB and short files of data."""
    for name in (
        "train/hotpotqa.jsonl", "train/nq.jsonl", "eval/hotpotqa.jsonl", "eval/nq.jsonl", "eval/2wikimultihopqa.jsonl",
        "corpus/corpus.jsonl.gz",
    ):  # fmt: skip
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_text(name)
    for name in ("model", "index"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "numbers").write_bytes(bytes(range(250)) * 200)
    offline.pack(tmp_path / "pieces", model=tmp_path / "model", index=tmp_path / "index")
    return tmp_path / "pieces"


def test_what_was_packed_comes_out_again(offline: ModuleType, pieces: Path, tmp_path: Path) -> None:
    listed = json.loads((pieces / "pieces.json").read_text())
    assert len(listed) > 5 and all(each["bytes"] == PIECE_BYTES for each in listed[:-1])
    assert all((pieces / each["name"]).stat().st_size == each["bytes"] for each in listed)
    place = offline.unpack(pieces)
    assert (place / "model" / "numbers").read_bytes() == (tmp_path / "model" / "numbers").read_bytes()
    assert (place / "data" / "eval" / "nq.jsonl").read_text() == "eval/nq.jsonl"
    assert (place / "packages" / "package" / "__init__.py").is_file()
    assert (place / "scripts" / "learn.py").read_text() == (SCRIPTS / "learn.py").read_text()
    assert "torch==" in (place / "needed.txt").read_text()
    assert offline.unpack(pieces) == place


def test_pieces_that_are_not_there_or_not_whole_are_waited_for(pieces: Path) -> None:
    """By the copy of the script beside them, with nothing but Python."""
    last = (pieces / "piece-0003").read_bytes()
    (pieces / "piece-0001").rename(pieces / "later")
    (pieces / "piece-0003").write_bytes(last[:-1] + b"?")
    command = [sys.executable, "-I", str(pieces / "offline.py"), "run", str(pieces)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert "pieces, piece-0001, piece-0003; run the same command again" in done.stdout
    assert not (pieces / "unpacked").exists()


def test_learns_in_larger_steps_and_the_callers_arguments_win(
    offline: ModuleType, pieces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[list[str]] = []

    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        called.append(command)
        return subprocess.CompletedProcess(command, 7)

    monkeypatch.setattr(offline.subprocess, "run", run)
    monkeypatch.setattr(sys, "argv", ["offline.py", "run", str(pieces), "--arm", "grpo", "-o", "training.group_size=4"])
    assert offline.main() == 7
    (command,) = called
    assert command[command.index("--steps") + 1] == "30"
    sizes = [part for part in command if part.startswith("training.group_size")]
    assert sizes == ["training.group_size=8", "training.group_size=4"]
    assert command[-4:] == ["--arm", "grpo", "-o", "training.group_size=4"]
