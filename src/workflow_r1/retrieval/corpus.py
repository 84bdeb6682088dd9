r"""Reads a corpus: one JSON object per line, plain or gzipped, in either of two layouts.

{"id": "7", "title": "Jaws", "text": "Jaws is a film ..."}           our own
{"id": "7", "contents": "\"Jaws\"\nJaws is a film ..."}              Search-R1, FlashRAG
"""

import gzip
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Self, cast

from workflow_r1.errors import DataError, found_at
from workflow_r1.retrieval.backend import Passage
from workflow_r1.retrieval.passages import split_contents
from workflow_r1.services.attempts import encodable


class CorpusReader:
    """Reads the passages of a corpus one at a time, and can continue where another reader stopped.

    Args:
        path: a JSONL file; one whose name ends in ``.gz`` is decompressed.

    Raises:
        DataError: the file is missing.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)
        if not self._path.is_file():
            raise DataError(f"expected a corpus file, found {found_at(self._path)}")
        self._size = self._path.stat().st_size
        self._file = self._path.open("rb")
        self._lines: IO[bytes] = (
            cast(IO[bytes], gzip.GzipFile(fileobj=self._file)) if self._path.suffix == ".gz" else self._file
        )
        self.line = 0
        """Lines read so far."""
        self.position = 0
        """Bytes read so far, after decompression."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        self._file.close()

    @property
    def share(self) -> float:
        """Share of the file that is read."""
        return min(1.0, self._file.tell() / self._size) if self._size else 1.0

    def skip(self, *, line: int, position: int) -> None:
        """Continue where :attr:`line` and :attr:`position` had these values; a compressed file is read up to there."""
        with self._damage_explained():
            self._lines.seek(position)
        self.line, self.position = line, position

    def __iter__(self) -> Iterator[Passage]:
        """Yield the passages in the order of the file, with score 0. A title may be empty, a text never is.

        Raises:
            DataError: the file is empty, is not UTF-8 or not gzip, or a line holds no passage; names the line.
        """
        with self._damage_explained():
            # Not `for line in file`, which forbids to ask for the position.
            while line := self._lines.readline():
                self.line += 1
                self.position += len(line)
                if line.strip():
                    yield _read_passage(line, f"{self._path}:{self.line}")
        if self.line == 0:
            raise DataError(f"{self._path}: expected at least one passage, found an empty file")

    @contextmanager
    def _damage_explained(self) -> Iterator[None]:
        try:
            yield
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise DataError(
                f"{self._path}: expected gzip data, found it damaged after line {self.line} ({error})"
            ) from None


def iterate_corpus(path: Path | str) -> Iterator[Passage]:
    """Read passages one at a time, so that a corpus larger than memory can be read.

    Args:
        path: a JSONL file; one whose name ends in ``.gz`` is decompressed.

    Yields:
        The passages in the order of the file, with score 0. A title may be empty, a text never is.

    Raises:
        DataError: the file is missing or empty, is not UTF-8 or not gzip, or a line holds no passage; names the line.
    """
    with CorpusReader(path) as reader:
        yield from reader


def _read_passage(line: bytes, place: str) -> Passage:
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DataError(f"{place}: expected UTF-8 text, found {error.reason} at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise DataError(
            f"{place}: expected one JSON object per line, found text that is not JSON ({error.msg})"
        ) from None
    except (RecursionError, ValueError) as error:
        raise DataError(f"{place}: expected a small JSON object, found one that cannot be read ({error})") from None
    if not isinstance(row, dict):
        raise DataError(f"{place}: expected a JSON object, found a {type(row).__name__}")
    identifier = row.get("id")
    if isinstance(identifier, bool) or not isinstance(identifier, str | int) or identifier == "":
        raise DataError(f"{place}: field 'id': expected text or a whole number, found {_show(row, 'id')}")
    if "text" in row:
        title, text = row.get("title"), row["text"]
        title = "" if title is None else title
        field = "text"
    else:
        contents = row.get("contents")
        if not isinstance(contents, str):
            raise DataError(f"{place}: expected `id, title, text` or `id, contents`, found fields {_show_fields(row)}")
        title, text = split_contents(contents)
        field = "contents"
    if not isinstance(title, str):
        raise DataError(f"{place}: field 'title': expected text, found {_show(row, 'title')}")
    if not isinstance(text, str) or not text.strip():
        raise DataError(f"{place}: field {field!r}: expected the passage's text, found none; add it or remove the line")
    return Passage(
        id=encodable(str(identifier)), title=encodable(title.strip()), text=encodable(text.strip()), score=0.0
    )


def _show(row: dict[str, Any], field: str) -> str:
    return repr(row[field])[:60] if field in row else "no such field"


def _show_fields(row: dict[str, Any]) -> str:
    return ", ".join(sorted(row))[:120] or "(none)"
