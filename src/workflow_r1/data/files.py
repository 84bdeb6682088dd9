"""Rows of the file formats in which questions come, each with the place to name when something is wrong with it."""

import csv
import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Literal, cast

from workflow_r1.errors import DataError, MissingExtraError
from workflow_r1.installation import install_command

FileFormat = Literal["auto", "jsonl", "json", "csv", "tsv", "parquet"]
"""``auto`` goes by the name: ``.jsonl``, ``.json``, ``.csv``, ``.tsv``, ``.parquet``; text may be gzipped (``.jsonl.gz``)."""

SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
"""Ends of names, and the formats they stand for."""

_LONGEST_CELL = 2**31 - 1
"""Passages may stand in a cell; Python's csv stops at 131,072 characters otherwise. A C long holds it everywhere."""

Row = dict[str, Any]
"""Column names to values."""


def read_rows(path: Path, format: FileFormat = "auto") -> Iterator[tuple[str, Row]]:
    """Read a file row by row.

    Args:
        path: the file.
        format: format of the file.

    Yields:
        The row's place (``file:line``, or ``file, row n`` where lines mean nothing), and the row.

    Raises:
        DataError: the file is missing, cannot be read, or a row does not follow the format.
        MissingExtraError: it is a parquet file and pyarrow is not installed.
    """
    if path.is_dir():
        inside = ", ".join(sorted(child.name for child in path.iterdir())[:8])
        raise DataError(f"expected a file of questions, found a folder at {path}: name one of its files ({inside})")
    if not path.is_file():
        raise DataError(f"expected a file of questions, found nothing at {path}: check the path")
    chosen = _format_of(path) if format == "auto" else format
    if chosen == "parquet":
        yield from _read_parquet(path)
        return
    try:
        with _open_text(path) as file:
            if chosen == "jsonl":
                yield from _read_jsonl(path, file)
            elif chosen == "json":
                yield from _read_json(path, file, may_be_lines=format == "auto")
            elif chosen in ("csv", "tsv"):
                yield from _read_table(path, file, delimiter="," if chosen == "csv" else "\t")
            else:
                raise ValueError(
                    f"expected a format among {', '.join(sorted(set(SUFFIXES.values())))}; received {format!r}"
                )
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: expected UTF-8 text, found byte {error.object[error.start]:#04x}: convert it"
        ) from None
    except (OSError, EOFError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error


def is_table(path: Path, format: FileFormat = "auto") -> bool:
    """True for CSV and TSV, whose cells hold nothing but text."""
    return (_format_of(path) if format == "auto" else format) in ("csv", "tsv")


def _format_of(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    if not suffixes or suffixes[-1] not in SUFFIXES:
        raise DataError(
            f"{path}: expected a name that ends in {', '.join(sorted(SUFFIXES))} (or one of the text forms with .gz); "
            "rename the file or give its format"
        )
    return SUFFIXES[suffixes[-1]]


def _open_text(path: Path) -> IO[str]:
    # utf-8-sig drops a byte order mark. newline="" leaves line ends inside quoted CSV cells as they are.
    if path.suffix.lower() == ".gz":
        return cast(IO[str], gzip.open(path, "rt", encoding="utf-8-sig", newline=""))
    return path.open(encoding="utf-8-sig", newline="")


def _read_jsonl(path: Path, file: IO[str]) -> Iterator[tuple[str, Row]]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        place = f"{path}:{number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:  # Also a number of too many digits.
            raise DataError(
                f"{place}: expected one JSON object per line, found text that is not JSON ({error})"
            ) from None
        yield place, _as_row(row, place)


def _read_json(path: Path, file: IO[str], *, may_be_lines: bool) -> Iterator[tuple[str, Row]]:
    text = file.read()
    if not text.strip():
        return
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        if may_be_lines and error.msg == "Extra data" and error.lineno > 1:
            # Some publish one object per line under the name .json.
            yield from _read_jsonl(path, io.StringIO(text, newline="\n"))
            return
        raise DataError(
            f"{path}:{error.lineno}: expected one JSON document, found text that is not JSON ({error.msg}); a file with one "
            "object per line is read with the format jsonl"
        ) from None
    except RecursionError:
        raise DataError(f"{path}: expected a list of rows, found JSON that is nested too deep") from None
    except ValueError as error:  # A number of too many digits.
        raise DataError(f"{path}: expected a list of rows, found JSON that cannot be read ({error})") from None
    if isinstance(document, dict):
        document = document.get("Data", document.get("data"))
    if not isinstance(document, list):
        raise DataError(f"{path}: expected a JSON list of rows, or an object that holds one under 'Data' or 'data'")
    for number, row in enumerate(document, start=1):
        place = f"{path}, row {number}"
        yield place, _as_row(row, place)


def _read_table(path: Path, file: IO[str], *, delimiter: str) -> Iterator[tuple[str, Row]]:
    csv.field_size_limit(_LONGEST_CELL)
    reader = csv.reader(file, delimiter=delimiter, strict=True)
    try:
        header = next(reader, None)
        if header is None:
            return
        header = [name.strip() for name in header]
        repeated = sorted({name for name in header if header.count(name) > 1})
        if repeated:
            raise DataError(f"{path}:1: expected column names that differ, found {', '.join(repeated)} more than once")
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            place = f"{path}:{reader.line_num}"
            if len(cells) != len(header):
                raise DataError(f"{place}: expected {len(header)} cells, as in the header, found {len(cells)}")
            yield place, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: not a well-quoted table ({error})") from None


def _read_parquet(path: Path) -> Iterator[tuple[str, Row]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtraError(
            f"{path}: reading parquet needs pyarrow, which is not installed; run: {install_command('data')}"
        ) from None
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=256):
                for row in _with_shortest_floats(batch).to_pylist():
                    number += 1
                    yield f"{path}, row {number}", row
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: expected a parquet file, found one that cannot be read ({error})") from error


def _with_shortest_floats(batch: Any) -> Any:
    """Return a batch whose floats of 32 bits became the doubles of their shortest digits: 1.95 in 32 bits is not 1.9500000476837158."""
    import pyarrow

    for at, field in enumerate(batch.schema):
        inner, wrap = field.type, lambda kind: kind
        if pyarrow.types.is_list(inner) or pyarrow.types.is_large_list(inner):
            inner, wrap = inner.value_type, pyarrow.list_
        if pyarrow.types.is_float32(inner):
            digits = batch.column(at).cast(wrap(pyarrow.string()))
            batch = batch.set_column(at, field.name, digits.cast(wrap(pyarrow.float64())))
    return batch


def _as_row(value: object, place: str) -> Row:
    if not isinstance(value, dict):
        raise DataError(f"{place}: expected a JSON object, found a {type(value).__name__}")
    return value
