"""Building an index: in pieces, interrupted, on a full disk, by two processes."""

import errno
import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from workflow_r1.errors import DataError, UserError
from workflow_r1.retrieval import BM25Index, index_build, index_files
from workflow_r1.retrieval.index_build import BuildProgress, build_index

NUM_PASSAGES = 60


@pytest.fixture(params=["corpus.jsonl", "corpus.jsonl.gz"])
def corpus(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    rows = [
        {"id": str(n), "title": f"Name{n % 7}", "text": f"Żółw {n} of {n % 5} and {'word ' * (n % 4)}東京."}
        for n in range(NUM_PASSAGES)
    ]
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path = tmp_path / str(request.param)
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    return path


@pytest.fixture(autouse=True)
def small_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_build, "TOKENS_AT_ONCE", 50)
    monkeypatch.setattr(index_build, "PROGRESS_EVERY", 1)


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def fail_at(number: int, error: BaseException) -> Callable[[BuildProgress], None]:
    """A listener that raises when so many passages are read."""

    def listen(progress: BuildProgress) -> None:
        if progress.num_passages == number:
            raise error

    return listen


def test_pieces_make_no_difference(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_index(corpus, tmp_path / "pieces")
    monkeypatch.setattr(index_build, "TOKENS_AT_ONCE", 1 << 20)
    build_index(corpus, tmp_path / "whole")
    assert contents(tmp_path / "pieces") == contents(tmp_path / "whole")
    assert names(tmp_path) == sorted([corpus.name, "pieces", "whole"])


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
@pytest.mark.parametrize("replacing", [False, True])
def test_a_build_resumes_where_it_stopped(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, replacing: bool
) -> None:
    build_index(corpus, tmp_path / "whole")
    index = tmp_path / "index"
    if replacing:
        (tmp_path / "other.jsonl").write_text('{"id": "1", "text": "other"}\n')
        build_index(tmp_path / "other.jsonl", index)
    before = contents(index) if replacing else None
    for number in (25, 45):
        with pytest.raises(
            (KeyboardInterrupt, DataError), match="kept in .*unfinished" if isinstance(error, OSError) else None
        ):
            build_index(corpus, index, on_progress=fail_at(number, error))
        assert (contents(index) if replacing else None) == before
    read: list[int] = []
    build_index(corpus, index, on_progress=lambda progress: read.append(progress.num_passages))
    assert 30 < read[0] <= 45
    assert contents(index) == contents(tmp_path / "whole")
    assert {name for name in names(tmp_path) if name.startswith(".")} == set()


@pytest.mark.parametrize("what", ["_put_in_place", "LayeredPostings"])
def test_a_corpus_that_is_read_is_not_read_again(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    with monkeypatch.context() as patch:
        patch.delattr(index_build, what)
        with pytest.raises(NameError):
            build_index(corpus, tmp_path / "index")
    seen: list[BuildProgress] = []
    build_index(corpus, tmp_path / "index", on_progress=seen.append)
    assert {progress.doing for progress in seen} == {"scoring"}
    build_index(corpus, tmp_path / "whole")
    assert contents(tmp_path / "index") == contents(tmp_path / "whole")


def test_nothing_stays_of_a_build_without_a_finished_run(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        build_index(corpus, tmp_path / "index", on_progress=fail_at(1, KeyboardInterrupt()))
    assert names(tmp_path) == [corpus.name]


def test_another_corpus_starts_anew(corpus: Path, tmp_path: Path) -> None:
    index = tmp_path / "index"
    with pytest.raises(KeyboardInterrupt):
        build_index(corpus, index, on_progress=fail_at(45, KeyboardInterrupt()))
    corpus.write_bytes(gzip.compress(LINE) if corpus.suffix == ".gz" else LINE)
    build_index(corpus, index)
    assert len(BM25Index.open(index, corpus_path=corpus)) == 1


LINE = b'{"id": "1", "text": "another"}\n'


def test_a_bad_line_late_in_the_corpus_leaves_nothing(corpus: Path, tmp_path: Path) -> None:
    bad = b'{"id": "x", "title": "T", "text": ""}\n'
    with corpus.open("ab") as file:
        file.write(gzip.compress(bad) if corpus.suffix == ".gz" else bad)
    with pytest.raises(DataError, match=rf"{corpus.name}:{NUM_PASSAGES + 1}: field 'text'"):
        build_index(corpus, tmp_path / "index")
    assert names(tmp_path) == [corpus.name]


def test_a_corpus_that_changes_meanwhile_is_refused(corpus: Path, tmp_path: Path) -> None:
    def change(progress: BuildProgress) -> None:
        if progress.num_passages == NUM_PASSAGES:
            os.utime(corpus, ns=(1, 1))

    with pytest.raises(DataError, match="the corpus changed while it was read"):
        build_index(corpus, tmp_path / "index", on_progress=change)
    assert names(tmp_path) == [corpus.name]


@pytest.mark.parametrize(
    ("text", "found"), [("\n", "at least one passage, found none"), ('{"id": 1, "text": "the"}', "words")]
)
def test_nothing_to_index(tmp_path: Path, text: str, found: str) -> None:
    (tmp_path / "corpus.jsonl").write_text(text)
    with pytest.raises(DataError, match=found):
        build_index(tmp_path / "corpus.jsonl", tmp_path / "index")
    assert names(tmp_path) == ["corpus.jsonl"]


def test_one_process_builds_at_a_time(corpus: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from workflow_r1.store.lock import held_alone\n"
        f"with held_alone(Path({str(tmp_path / '.index.lock')!r}), place=Path('index')): print('held', flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UserError, match="is at work there"):
            build_index(corpus, tmp_path / "index")
        other.communicate("\n")
    build_index(corpus, tmp_path / "index")


def test_tokens_are_found_by_their_buckets(corpus: Path, tmp_path: Path) -> None:
    build_index(corpus, tmp_path / "index")
    tokens = (tmp_path / "index" / index_files.TOKENS).read_text(encoding="utf-8").split("\n")[:-1]
    vocabulary = index_files.StoredVocabulary(tmp_path / "index")
    assert [vocabulary.get(token) for token in tokens] == list(range(len(vocabulary)))
    assert "東京" in tokens
    for absent in ("", "zolws", "zol", "olw", "\n", "\ud800", f"{tokens[0]}\n{tokens[1]}"):
        assert vocabulary.get(absent) is None
