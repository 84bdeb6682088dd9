"""``index``: what it shows, and that its interruption costs little."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Called

from workflow_r1.cli.index import _show
from workflow_r1.retrieval import BM25Index, index_build
from workflow_r1.retrieval.index_build import BuildProgress


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.jsonl"
    rows = [{"id": str(number), "title": "Jaws", "text": f"Film {number}."} for number in range(40)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_an_index_is_built_once(call: Callable[..., Called], corpus: Path) -> None:
    built = call("index", corpus, "--output", "indexes/mine")
    assert (built.returncode, built.stderr) == (0, "")
    assert "40 passages in indexes/mine, 0.00 GB" in built.stdout
    assert len(BM25Index.open("indexes/mine", corpus_path=corpus)) == 40
    before = Path("indexes/mine/meta.json").stat()
    assert "holds the index of" in call("index", corpus, "--output", "indexes/mine").stdout
    assert Path("indexes/mine/meta.json").stat() == before
    corpus.write_text('{"id": "1", "text": "another"}\n')
    assert "1 passages" in call("index", corpus, "--output", "indexes/mine").stdout


def test_an_index_of_an_earlier_release_is_replaced(call: Callable[..., Called], corpus: Path) -> None:
    Path("old").mkdir()
    Path("old/meta.json").write_text('{"schema_version": 2}')
    Path("old/data.csc.index.npy").touch()
    refused = call("serve-search", "--index", "old", "--port", "0")
    assert refused.returncode == 2
    assert "`workflow-r1 index CORPUS --output old`" in refused.stderr
    refused = call("serve-search", "--index", "old", "--corpus", corpus, "--port", "0")
    assert f"`workflow-r1 index {corpus} --output old`" in refused.stderr
    assert call("index", corpus, "--output", "old").returncode == 0
    assert len(BM25Index.open("old", corpus_path=corpus)) == 40
    assert not Path("old/data.csc.index.npy").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nothing.jsonl", "--output", "x"), "expected a corpus file, found nothing at nothing.jsonl"),
        (("corpus.jsonl", "--output", "."), "found other files"),
    ],
)
def test_mistakes_are_one_message(
    call: Callable[..., Called],
    corpus: Path,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    done = call("index", *arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_interrupted_it_resumes(
    call: Callable[..., Called],
    corpus: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(index_build, "TOKENS_AT_ONCE", 30)
    monkeypatch.setattr(index_build, "PROGRESS_EVERY", 1)
    with monkeypatch.context() as patch:
        patch.setattr("workflow_r1.cli.index._show", interrupt_after(30))
        done = call("index", corpus, "--output", "mine")
    assert done.returncode == 130
    assert "the same command resumes" in done.stdout
    assert not Path("mine").exists()
    done = call("index", corpus, "--output", "mine")
    assert done.returncode == 0
    assert len(BM25Index.open("mine")) == 40
    shown = [line for line in done.stdout.splitlines() if "passages read" in line]
    assert shown[0].startswith("building the index in mine: 2")
    assert len(shown) <= 20


def interrupt_after(number: int) -> Callable[..., str]:
    def show(progress: BuildProgress, seconds: float, first: float) -> str:
        if progress.num_passages == number:
            raise KeyboardInterrupt
        return _show(progress, seconds, first)

    return show


def test_a_signal_ends_a_build_of_its_own_process(corpus: Path, tmp_path: Path) -> None:
    with corpus.open("a") as file:
        for number in range(200_000):
            file.write(f'{{"id": "a{number}", "text": "word {number}"}}\n')
    command = [sys.executable, "-m", "workflow_r1.cli", "index", str(corpus), "--output", str(tmp_path / "index")]
    with subprocess.Popen(command, stdout=-1, stderr=-1, text=True, env=os.environ | {"COLUMNS": "200"}) as process:
        assert process.stdout is not None
        assert "passages read" in process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "")
    assert output.endswith("interrupted; the same command resumes\n")
    assert [path.name for path in tmp_path.iterdir()] == ["corpus.jsonl"]


def test_the_time_left_is_that_of_this_attempt() -> None:
    half = BuildProgress("reading", 1_500_000, 0.5)
    assert _show(half, 60.0, 0.25) == "1,500,000 passages read, 50%, 2 min left"
    assert _show(half, 5.0, 0.25) == "1,500,000 passages read, 50%"
    assert _show(BuildProgress("scoring", 7, 0.125), 60.0, 0.0) == "7 passages read, 12% scored"
