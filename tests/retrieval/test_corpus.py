"""Reading a corpus in both layouts, and what is wrong with a line."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from workflow_r1.errors import DataError
from workflow_r1.retrieval import Passage, iterate_corpus


def write(path: Path, *rows: Any) -> Path:
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    data = text.encode("utf-8", errors="surrogatepass")
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("name", ["corpus.jsonl", "corpus.jsonl.gz"])
def test_both_layouts(tmp_path: Path, name: str) -> None:
    path = write(
        tmp_path / name,
        {"id": "a", "title": "Jaws", "text": " A film. ", "sources": ["x"]},
        {"id": 7, "contents": '"Jaws 2"\nA second film.\nWith two lines.'},
        "",
        {"id": "c", "contents": "No title at all."},
        {"id": "d", "title": None, "text": "ספר"},
        '{"id": "e", "text": "broken \\ud800 pair"}',
    )
    assert list(iterate_corpus(path)) == [
        Passage("a", "Jaws", "A film.", 0.0),
        Passage("7", "Jaws 2", "A second film.\nWith two lines.", 0.0),
        Passage("c", "", "No title at all.", 0.0),
        Passage("d", "", "ספר", 0.0),
        Passage("e", "", "broken ? pair", 0.0),
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": "b", "title": "T", "text": ""}, "2: field 'text': expected the passage's text"),
        ({"id": "b", "title": "T", "text": None}, "2: field 'text'"),
        ({"id": "b", "title": "T"}, "2: expected `id, title, text` or `id, contents`, found fields id, title"),
        ({"id": "b", "contents": '"T"\n '}, "2: field 'contents'"),
        ({"title": "T", "text": "x"}, "2: field 'id': .* no such field"),
        ({"id": True, "text": "x"}, "2: field 'id'"),
        ({"id": "b", "title": 5, "text": "x"}, "2: field 'title'"),
        ([1], "2: expected a JSON object, found a list"),
        ("{oops", "2: expected one JSON object per line"),
        ("[" * 100_000, "2: expected"),
        ("\udcff", "2: expected UTF-8 text"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, row: Any, message: str) -> None:
    path = write(tmp_path / "corpus.jsonl", {"id": "a", "text": "fine"}, row)
    with pytest.raises(DataError, match=message):
        list(iterate_corpus(path))


def test_missing_empty_and_damaged_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found nothing at"):
        list(iterate_corpus(tmp_path / "none.jsonl"))
    with pytest.raises(DataError, match="found an empty file"):
        list(iterate_corpus(write(tmp_path / "empty.jsonl")))
    plain = tmp_path / "plain.jsonl.gz"
    plain.write_text('{"id": "a", "text": "x"}\n')
    with pytest.raises(DataError, match="expected gzip data"):
        list(iterate_corpus(plain))
    whole = write(tmp_path / "cut.jsonl.gz", *[{"id": str(number), "text": f"text {number}"} for number in range(500)])
    whole.write_bytes(whole.read_bytes()[:-200])
    with pytest.raises(DataError, match="damaged after line"):
        list(iterate_corpus(whole))
