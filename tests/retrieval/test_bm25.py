"""BM25: the ranking against the formula, the directory, and what makes an index unfit."""

import asyncio
import json
import math
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

from workflow_r1.errors import DataError
from workflow_r1.retrieval import (
    BM25Index,
    Passage,
    ScriptedSearch,
    SearchBackend,
    SearchRequest,
    index_build,
    index_files,
)
from workflow_r1.retrieval import bm25 as module
from workflow_r1.retrieval.tokens import Tokenizer

ROWS = [
    ("p0", "Jaws", "A film directed by Steven Spielberg about a shark."),
    ("p1", "Steven Spielberg", "He was born in Cincinnati, Ohio."),
    ("p2", "Sharks", "Sharks are fish."),
    ("p3", "Cincinnati", "A city in Ohio."),
    ("p4", "Żółw", "Zwierzę: שלום 東京タワー."),
]
PASSAGES = [Passage(identifier, title, text, 0.0) for identifier, title, text in ROWS]


def find(index: SearchBackend, query: str, k: int = 5) -> list[Passage]:
    return asyncio.run(index(query, k=k))


def ids(index: SearchBackend, query: str, k: int = 5) -> list[str]:
    return [passage.id for passage in find(index, query, k)]


def write_corpus(path: Path, rows: list[tuple[str, str, str]] = ROWS) -> Path:
    path.write_text("".join(json.dumps({"id": i, "title": t, "text": x}) + "\n" for i, t, x in rows))
    return path


@pytest.fixture
def built(tmp_path: Path) -> Path:
    BM25Index.build(write_corpus(tmp_path / "corpus.jsonl"), tmp_path / "index")
    return tmp_path / "index"


# --------------------------------------------------------------------------------------------------------------- ranking


def test_scores_are_those_of_the_formula() -> None:
    tokenizer = Tokenizer()
    rows = [tokenizer(f"{title} {text}") for _, title, text in ROWS]
    mean_length = sum(map(len, rows)) / len(rows)

    def score(query: str, row: list[str]) -> float:
        total = 0.0
        for token in tokenizer(query):
            num_with = sum(token in other for other in rows)
            idf = math.log(1 + (len(rows) - num_with + 0.5) / (num_with + 0.5))
            frequency = row.count(token)
            total += idf * frequency / (frequency + 1.5 * (1 - 0.75 + 0.75 * len(row) / mean_length))
        return total

    query = "sharks and Spielberg in Ohio, sharks"
    index = BM25Index.from_passages(PASSAGES)
    expected = {identifier: score(query, row) for (identifier, _, _), row in zip(ROWS, rows, strict=True)}
    found = {passage.id: passage.score for passage in find(index, query)}
    assert found == pytest.approx({key: value for key, value in expected.items() if value > 0}, rel=1e-6)
    assert list(found) == sorted(found, key=lambda key: -expected[key])


def test_stopwords_stems_and_titles() -> None:
    index = BM25Index.from_passages(PASSAGES)
    assert ids(index, "jaws")[0] == "p0"
    assert set(ids(index, "shark")) == {"p0", "p2"}
    assert ids(index, "żółw 東京タワー") == ["p4"]


@pytest.mark.parametrize("query", ["", "   ", "the of a", "zzzz", "\x00\ud800", "?!", "<info></info>" * 3])
def test_nothing_in_common_finds_nothing(query: str) -> None:
    assert find(BM25Index.from_passages(PASSAGES), query) == []


def test_ties_come_in_the_order_of_the_corpus() -> None:
    index = BM25Index.from_passages([Passage(str(number), "", "same words here", 0.0) for number in range(50)])
    assert ids(index, "words", k=7) == ["0", "1", "2", "3", "4", "5", "6"]
    assert len(ids(index, "words", k=1000)) == 50


def test_k_is_at_least_one() -> None:
    with pytest.raises(ValueError, match="received 0"):
        find(BM25Index.from_passages(PASSAGES), "x", k=0)


def test_a_query_in_memory_is_quick() -> None:
    passages = [Passage(str(n), f"Name{n}", f"The director of Name{n} is Person{n % 99}.", 0.0) for n in range(5000)]
    index = BM25Index.from_passages(passages)

    async def main() -> float:
        best = float("inf")
        for number in range(50):
            started = time.perf_counter()
            found = await index(f"Who is the director of Name{number}?", k=5)
            best = min(best, time.perf_counter() - started)
            assert found[0].id == str(number)
        return best

    assert asyncio.run(main()) < 1e-3


@pytest.mark.parametrize(
    "passages", [[], [Passage("0", "", "the of", 0.0)], [Passage("0", "", "?", 0.0), Passage("1", "", "a", 0.0)]]
)
def test_nothing_to_index(passages: list[Passage]) -> None:
    with pytest.raises(DataError, match="expected"):
        BM25Index.from_passages(passages)


# ------------------------------------------------------------------------------------------------------------- directory


def test_an_index_on_the_disk_finds_what_one_in_memory_finds(built: Path) -> None:
    on_disk, in_memory = BM25Index.open(built), BM25Index.from_passages(PASSAGES)
    assert len(on_disk) == len(in_memory) == len(ROWS)
    for query in ("sharks", "Spielberg Ohio", "שלום", "city film fish", "nothing"):
        assert find(on_disk, query) == find(in_memory, query)


def test_only_a_large_index_is_searched_in_a_thread(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[threading.Thread] = []
    find_words = BM25Index._find

    def spy(self: BM25Index, words: list[str], k: int) -> list[Passage]:
        threads.append(threading.current_thread())
        return find_words(self, words, k)

    monkeypatch.setattr(BM25Index, "_find", spy)
    ids(BM25Index.open(built), "sharks")
    monkeypatch.setattr(module, "AT_ONCE", len(ROWS) - 1)
    ids(BM25Index.open(built), "sharks")
    assert [thread is threading.main_thread() for thread in threads] == [True, False]


def test_many_queries_at_once(built: Path) -> None:
    async def main() -> list[list[Passage]]:
        index = BM25Index.open(built)
        return await asyncio.gather(*(index(query, k=2) for query in ["sharks", "Ohio"] * 20))

    found = asyncio.run(main())
    assert found == [found[0], found[1]] * 20


def test_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_build, "PROGRESS_EVERY", 2)
    seen: list[index_build.BuildProgress] = []
    BM25Index.build(write_corpus(tmp_path / "c.jsonl"), tmp_path / "index", on_progress=seen.append)
    assert [(each.doing, each.num_passages) for each in seen] == [
        ("reading", 2),
        ("reading", 4),
        ("reading", 5),
        ("scoring", 5),
    ]
    assert [each.share for each in seen][2:] == [1.0, 1.0]
    assert 0 < seen[0].share <= 1


def test_building_replaces_an_index_but_nothing_else(built: Path) -> None:
    corpus = write_corpus(built.parent / "other.jsonl", ROWS[:2])
    assert len(BM25Index.build(corpus, built)) == 2
    assert sorted(path.name for path in built.parent.iterdir()) == ["corpus.jsonl", "index", "other.jsonl"]
    mine = built.parent / "mine"
    mine.mkdir()
    assert len(BM25Index.build(corpus, mine)) == 2
    (mine / "meta.json").unlink()
    with pytest.raises(DataError, match="found other files"):
        BM25Index.build(corpus, mine)
    with pytest.raises(DataError, match="found other files"):
        BM25Index.build(corpus, corpus)


def test_a_bad_corpus_builds_nothing(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus.jsonl")
    corpus.write_text(corpus.read_text() + '{"id": "x", "title": "T", "text": ""}\n')
    with pytest.raises(DataError, match=r"corpus\.jsonl:6: field 'text'"):
        BM25Index.build(corpus, tmp_path / "index")
    with pytest.raises(DataError, match="found nothing at"):
        BM25Index.build(tmp_path / "none.jsonl", tmp_path / "index")
    assert [path.name for path in tmp_path.iterdir()] == ["corpus.jsonl"]


def edit_meta(built: Path, **changes: object) -> None:
    meta = json.loads((built / "meta.json").read_text())
    (built / "meta.json").write_text(json.dumps(meta | changes))


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda built: (built / "meta.json").unlink(), "expected an index, found no meta.json"),
        (lambda built: (built / "meta.json").write_text("{"), "the index is damaged"),
        (lambda built: (built / "meta.json").write_text("[]"), "expected schema_version 3, found None"),
        (lambda built: edit_meta(built, schema_version=1), "found 1 .an earlier release built it"),
        (lambda built: edit_meta(built, schema_version=2), "found 2 .an earlier release built it"),
        (lambda built: edit_meta(built, schema_version=99), "expected schema_version 3, found 99"),
        (lambda built: edit_meta(built, num_passages="many"), "the index is damaged"),
        (lambda built: edit_meta(built, num_passages=6), "expected 6 passages"),
        (lambda built: edit_meta(built, probe=["run"]), "the index is stale: another version of this program built it"),
        (
            lambda built: edit_meta(built, probe=["run"], versions={"PyStemmer": "0"}),
            "it was built with PyStemmer 0, and the installed",
        ),
        (lambda built: (built / "offsets.npy").unlink(), "offsets.npy: the index is damaged: .* found none"),
        (lambda built: truncate(built / "passages.jsonl"), "passages.jsonl: the index is damaged"),
        (lambda built: truncate(built / "posting_scores.npy"), "the index is damaged"),
        (lambda built: truncate(built / "tokens.txt"), "the index is damaged"),
    ],
)
def test_an_unfit_index_is_refused_with_a_remedy(built: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(built)
    with pytest.raises(DataError, match=f"(?s){message}.*`workflow-r1 index CORPUS --output .*index`"):
        BM25Index.open(built)


@pytest.mark.parametrize("name", ["posting_passages.npy", "first_layers.npy", "offsets.npy", "buckets.npy"])
def test_a_file_of_the_right_size_and_the_wrong_content(built: Path, name: str) -> None:
    (built / name).write_bytes(b"x" * (built / name).stat().st_size)
    with pytest.raises(DataError, match="damaged"):
        BM25Index.open(built)


@pytest.mark.parametrize("name", ["posting_passages.npy", "bucket_tokens.npy", "first_layers.npy"])
def test_numbers_out_of_range_are_damage(built: Path, name: str) -> None:
    array = np.load(built / name)
    array[:-1] = 10**6
    np.save(built / name, array)
    with pytest.raises(DataError, match="damaged"):
        find(BM25Index.open(built), "fish")


def test_a_damaged_passage_is_no_result(built: Path) -> None:
    path = built / "passages.jsonl"
    path.write_bytes(b"x" * path.stat().st_size)
    index = BM25Index.open(built)
    with pytest.raises(DataError, match="passage 2 is damaged"):
        find(index, "fish")


def test_the_corpus_can_be_asked_for(built: Path) -> None:
    corpus = built.parent / "corpus.jsonl"
    assert len(BM25Index.open(built, corpus_path=corpus)) == len(ROWS)
    corpus.write_text(corpus.read_text().replace("fish", "FISH"))
    with pytest.raises(
        DataError, match=r"stale: it was built from corpus\.jsonl.*`workflow-r1 index .*corpus.jsonl --out"
    ):
        BM25Index.open(built, corpus_path=corpus)
    corpus.unlink()
    with pytest.raises(DataError, match="expected a corpus file"):
        BM25Index.open(built, corpus_path=corpus)


@pytest.mark.parametrize("writable", [True, False])
def test_a_corpus_is_read_only_where_its_time_changed(
    built: Path, monkeypatch: pytest.MonkeyPatch, writable: bool
) -> None:
    corpus = built.parent / "corpus.jsonl"
    read: list[Path] = []
    fingerprint = index_files.fingerprint
    monkeypatch.setattr(index_files, "fingerprint", lambda path: read.append(path) or fingerprint(path))
    BM25Index.open(built, corpus_path=corpus)
    assert read == []
    os.utime(corpus, ns=(1, 1))
    if not writable:
        monkeypatch.setattr(index_files, "write_atomically", Mock(side_effect=PermissionError))
    for _ in range(3):
        BM25Index.open(built, corpus_path=corpus)
    assert read == [corpus] * (1 if writable else 3)


# ----------------------------------------------------------------------------------------------------------------- double


def test_the_double() -> None:
    search = ScriptedSearch({"q": PASSAGES})
    assert ids(search, "q", k=2) == ["p0", "p1"]
    assert ids(search, "other") == []
    assert search.requests == [SearchRequest("q", 2), SearchRequest("other", 5)]
