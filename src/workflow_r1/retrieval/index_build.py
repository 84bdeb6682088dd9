"""Builds an index directory in bounded memory, and resumes where an earlier attempt stopped.

.index.unfinished/     beside the directory that it becomes
progress.json          how far the corpus is read; written after each run
index/                 files of the index (``index_files``)
runs/00000.*           postings of consecutive passages, by token: raw arrays without a header

First the corpus is read: passages are stored, and whenever as many tokens as fit into memory are gathered, they are counted,
sorted and written as a run. Then the runs are merged, some tokens at a time, into scores. Memory holds the different tokens, a
number for each passage, and one run or part of a merge: about 150 bytes for each token, 24 for each passage, and 1 GB.
"""

import json
import os
import shutil
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from workflow_r1.errors import DataError, found_at
from workflow_r1.retrieval import index_files as files
from workflow_r1.retrieval.corpus import CorpusReader
from workflow_r1.retrieval.postings import LayeredPostings, count_tokens, idf_by_token, length_terms, score_postings
from workflow_r1.retrieval.tokens import TokenNumbers
from workflow_r1.store.lock import held_alone
from workflow_r1.trajectory.records import Record
from workflow_r1.trajectory.storage import write_atomically

PROGRESS_EVERY = 1000
"""Passages between two calls of ``on_progress``."""

TOKENS_AT_ONCE = 1 << 24
"""Tokens in a run, and postings in a part of the merge: what memory holds at a time."""

_PROGRESS = "progress.json"


@dataclass(frozen=True, slots=True)
class BuildProgress:
    """The progress of a build."""

    doing: Literal["reading", "scoring"]
    """``reading`` the corpus, then ``scoring`` its tokens."""
    num_passages: int
    """Passages read so far, those of earlier attempts included."""
    share: float
    """Share of what is done that is done."""


class _Progress(Record):
    """Contents of ``progress.json``: what the finished runs cover."""

    schema_version: int = files.SCHEMA_VERSION
    corpus: files.CorpusFile
    probe: list[str]
    versions: dict[str, str]
    num_runs: int = 0
    num_passages: int = 0
    num_tokens: int = 0
    line: int = 0
    """Lines of the corpus."""
    position: int = 0
    """Bytes of the corpus, decompressed."""
    passages_bytes: int = 0
    """Size of the stored passages."""
    tokens_bytes: int = 0
    """Size of the stored tokens."""
    is_read: bool = False
    """True where the runs cover the whole corpus."""


def build_index(
    corpus_path: Path, directory: Path, *, on_progress: Callable[[BuildProgress], None] | None = None
) -> None:
    """Build the index of a corpus; what an earlier attempt left is used.

    The directory appears, or is replaced, in one step when everything is written. An interruption or a full disk costs the
    passages since the last finished run.

    Args:
        corpus_path: see :func:`~workflow_r1.retrieval.corpus.iterate_corpus`.
        directory: directory of the new index.
        on_progress: called now and then.

    Raises:
        DataError: the corpus cannot be read, the directory holds something else, or the disk cannot take it.
        UserError: another process builds an index there.
    """
    if (
        directory.exists()
        and not (directory / files.META).is_file()
        and (not directory.is_dir() or any(directory.iterdir()))
    ):
        raise DataError(
            f"expected an index, an empty directory or nothing at {directory}, found other files; name another directory"
        )
    if not corpus_path.is_file():
        raise DataError(f"expected a corpus file, found {found_at(corpus_path)}")
    unfinished = directory.parent / f".{directory.name}.unfinished"
    try:
        with held_alone(directory.parent / f".{directory.name}.lock", place=directory), _keeping_runs(unfinished):
            build = _Build(corpus_path, unfinished, on_progress or (lambda _: None))
            build.read()
            build.merge()
            _put_in_place(unfinished / "index", directory)
            shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        kept = f"; what was read so far is kept in {unfinished} and used" if unfinished.exists() else ""
        raise DataError(
            f"expected to write an index to {directory}, which failed: {error.strerror or error}; make room and repeat the "
            f"command, or name another directory{kept}"
        ) from error


@contextmanager
def _keeping_runs(unfinished: Path) -> Iterator[None]:
    """Leave nothing of a build that fails before its first run is finished, or because of its corpus."""
    try:
        yield
    except DataError:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    except BaseException:
        if not (unfinished / _PROGRESS).is_file():
            shutil.rmtree(unfinished, ignore_errors=True)
        raise


def _put_in_place(built: Path, directory: Path) -> None:
    replaced = directory.parent / f".{directory.name}.replaced"
    shutil.rmtree(replaced, ignore_errors=True)
    try:
        if directory.exists():
            directory.rename(replaced)
        built.rename(directory)
    finally:
        if replaced.exists() and not directory.exists():
            replaced.rename(directory)
        shutil.rmtree(replaced, ignore_errors=True)


class _Build:
    """One attempt to build an index."""

    def __init__(self, corpus_path: Path, unfinished: Path, on_progress: Callable[[BuildProgress], None]) -> None:
        self._corpus_path = corpus_path
        self._unfinished = unfinished
        self._index = unfinished / "index"
        self._runs = unfinished / "runs"
        self._on_progress = on_progress
        fresh = _Progress(corpus=files.CorpusFile.at(corpus_path), probe=files.probe(), versions=files.versions())
        done = _read_progress(unfinished, fresh)
        if done is None:
            shutil.rmtree(unfinished, ignore_errors=True)
            self._index.mkdir(parents=True)
            self._runs.mkdir()
        self._done = done or fresh

    # -------------------------------------------------------------------------------------------------------------- read

    def read(self) -> None:
        """Read the corpus into runs, from where the finished ones end."""
        if self._done.is_read:
            return
        rows_path, tokens_path = self._index / files.PASSAGES, self._index / files.TOKENS
        with (
            CorpusReader(self._corpus_path) as reader,
            _opened_at(rows_path, self._done.passages_bytes) as rows,
            _opened_at(tokens_path, self._done.tokens_bytes) as tokens,
        ):
            vocabulary = _read_vocabulary(tokens_path)
            numbers = TokenNumbers(vocabulary)
            reader.skip(line=self._done.line, position=self._done.position)
            run = _Run()
            for number, passage in enumerate(reader, start=self._done.num_passages + 1):
                row = json.dumps([passage.id, passage.title, passage.text], ensure_ascii=False) + "\n"
                run.add(numbers.of(f"{passage.title} {passage.text}"), rows.write(row.encode("utf-8")))
                if number % PROGRESS_EVERY == 0:
                    self._on_progress(BuildProgress("reading", number, reader.share))
                if len(run.tokens) >= TOKENS_AT_ONCE:
                    self._finish_run(run, reader, vocabulary, rows, tokens)
                    run = _Run()
            self._finish_run(run, reader, vocabulary, rows, tokens, is_read=True)
        if files.CorpusFile.at(self._corpus_path) != self._done.corpus:
            raise DataError(f"{self._corpus_path}: the corpus changed while it was read; build the index again")
        if not self._done.num_passages:
            raise DataError(f"{self._corpus_path}: expected at least one passage, found none")
        if not self._done.num_tokens:
            raise DataError(f"{self._corpus_path}: expected words to index, found none but stop words")
        self._on_progress(BuildProgress("reading", self._done.num_passages, 1.0))

    def _finish_run(
        self,
        run: "_Run",
        reader: CorpusReader,
        vocabulary: dict[str, int],
        rows: BinaryIO,
        tokens: BinaryIO,
        *,
        is_read: bool = False,
    ) -> None:
        run.write(self._runs / f"{self._done.num_runs:05}", first_passage=self._done.num_passages)
        tokens.writelines(f"{token}\n".encode() for token in islice(vocabulary, self._done.num_tokens, None))
        for file in (rows, tokens):
            file.flush()
            os.fsync(file.fileno())
        self._done = self._done.model_copy(
            update={
                "num_runs": self._done.num_runs + 1,
                "num_passages": self._done.num_passages + len(run.lengths),
                "num_tokens": len(vocabulary),
                "line": reader.line,
                "position": reader.position,
                "passages_bytes": rows.tell(),
                "tokens_bytes": tokens.tell(),
                "is_read": is_read,
            }
        )
        write_atomically(self._unfinished / _PROGRESS, self._done.model_dump_json(indent=2) + "\n")

    # ------------------------------------------------------------------------------------------------------------- merge

    def merge(self) -> None:
        """Score the runs' postings, token by token, and write the rest of the index."""
        done = self._done
        runs = [_StoredRun(self._runs / f"{number:05}") for number in range(done.num_runs)]
        self._write_offsets(runs)
        counts = np.zeros(done.num_tokens, dtype=np.int64)
        for run in runs:
            counts[run.tokens] += run.counts
        idf = idf_by_token(counts, done.num_passages)
        terms = length_terms(np.concatenate([run.read("lengths", np.int32) for run in runs]))
        ends = np.cumsum(counts)
        num_layers, layer_sizes, layer_bounds = [], [], []
        with (
            _array_file(self._index / files.POSTING_PASSAGES, np.int32, int(ends[-1])) as passages_file,
            _array_file(self._index / files.POSTING_SCORES, np.float32, int(ends[-1])) as scores_file,
        ):
            first = 0
            while first < done.num_tokens:
                before = int(ends[first] - counts[first])
                last = max(first + 1, int(np.searchsorted(ends, before + TOKENS_AT_ONCE, side="right")))
                passages, frequencies = _gather(runs, first, counts[first:last])
                scores = score_postings(
                    idf=np.repeat(idf[first:last], counts[first:last]),
                    frequencies=frequencies,
                    length_terms=terms[passages],
                )
                layered = LayeredPostings.of(passages, scores, counts[first:last])
                # Not ``tofile``, which hides why it failed.
                passages_file.write(layered.passages.data)
                scores_file.write(layered.scores.data)
                num_layers.append(layered.num_layers)
                layer_sizes.append(layered.layer_sizes)
                layer_bounds.append(layered.layer_bounds)
                first = last
                self._on_progress(BuildProgress("scoring", done.num_passages, float(ends[last - 1] / ends[-1])))
        self._save(files.FIRST_LAYERS, _starts(np.concatenate(num_layers)))
        self._save(files.LAYER_STARTS, _starts(np.concatenate(layer_sizes)))
        self._save(files.LAYER_BOUNDS, np.concatenate(layer_bounds))
        meta = files.IndexMeta(
            corpus_name=done.corpus.name,
            corpus_bytes=done.corpus.num_bytes,
            corpus_modified_ns=done.corpus.modified_ns,
            corpus_sha256=files.fingerprint(self._corpus_path),
            num_passages=done.num_passages,
            num_tokens=done.num_tokens,
            versions=done.versions,
            probe=done.probe,
            files={name: size for name, size in files.sizes(self._index).items() if name != files.META},
        )
        files.write_meta(meta, self._index)

    def _write_offsets(self, runs: "list[_StoredRun]") -> None:
        self._save(files.OFFSETS, _starts(np.concatenate([run.read("rows", np.int64) for run in runs])))
        rows = [row + b"\n" for row in (self._index / files.TOKENS).read_bytes().split(b"\n")[:-1]]
        self._save(files.TOKEN_OFFSETS, _starts(np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))))
        buckets, bucket_tokens = files.bucket_tokens(rows)
        self._save(files.BUCKETS, buckets)
        self._save(files.BUCKET_TOKENS, bucket_tokens)

    def _save(self, name: str, values: np.ndarray) -> None:
        with _array_file(self._index / name, values.dtype, len(values)) as file:
            file.write(values.data)


class _Run:
    """Tokens of consecutive passages, gathered in memory."""

    def __init__(self) -> None:
        self.tokens = array("i")
        """Numbers of the tokens of one passage after another."""
        self.lengths = array("i")
        """Tokens of each passage."""
        self.rows = array("q")
        """Bytes of each passage as it is stored."""

    def add(self, tokens: bytes, num_bytes: int) -> None:
        """Add a passage."""
        self.tokens.frombytes(tokens)
        self.lengths.append(len(tokens) // self.tokens.itemsize)
        self.rows.append(num_bytes)

    def write(self, stem: Path, *, first_passage: int) -> None:
        """Write the postings by token, and the numbers of each passage."""
        lengths = np.frombuffer(self.lengths, dtype=np.int32)
        numbers, passages, frequencies = count_tokens(np.frombuffer(self.tokens, dtype=np.int32), lengths)
        tokens, counts = np.unique(numbers, return_counts=True)
        values = {
            "tokens": tokens,
            "counts": counts.astype(np.int32),
            "passages": passages + np.int32(first_passage),
            "frequencies": frequencies,
            "lengths": lengths,
            "rows": np.frombuffer(self.rows, dtype=np.int64),
        }
        for name, value in values.items():
            with stem.with_suffix(f".{name}").open("wb") as file:
                file.write(value.data)
                file.flush()
                os.fsync(file.fileno())


class _StoredRun:
    """A run on the disk."""

    def __init__(self, stem: Path) -> None:
        self._stem = stem
        self.tokens = self.read("tokens", np.int32)
        """Its tokens, ascending."""
        self.counts = self.read("counts", np.int32)
        """Postings of each."""
        self._starts = _starts(self.counts)

    def read(self, name: str, dtype: type[np.generic], start: int = 0, end: int | None = None) -> np.ndarray:
        """Read a part of an array."""
        size = np.dtype(dtype).itemsize
        count = -1 if end is None else end - start
        return np.fromfile(self._stem.with_suffix(f".{name}"), dtype=dtype, count=count, offset=start * size)

    def postings(self, first: int, last: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return tokens from ``first`` to before ``last``, their counts, and the passages and frequencies of their postings."""
        low, high = np.searchsorted(self.tokens, [first, last])
        start, end = int(self._starts[low]), int(self._starts[high])
        passages, frequencies = (self.read(name, np.int32, start, end) for name in ("passages", "frequencies"))
        return self.tokens[low:high], self.counts[low:high], passages, frequencies


def _gather(runs: list[_StoredRun], first: int, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return passages and frequencies of consecutive tokens' postings, by token and then by passage.

    Args:
        runs: runs in the order of their passages.
        first: first token.
        counts: (T,) postings of each token.
    """
    free = np.cumsum(counts) - counts
    passages = np.empty(int(counts.sum()), dtype=np.int32)
    frequencies = np.empty_like(passages)
    for run in runs:
        tokens, of_run, *values = run.postings(first, first + len(counts))
        places = np.repeat(free[tokens - first] - (np.cumsum(of_run) - of_run), of_run) + np.arange(len(values[0]))
        passages[places], frequencies[places] = values
        free[tokens - first] += of_run
    return passages, frequencies


def _starts(sizes: np.ndarray) -> np.ndarray:
    """Return where each of consecutive parts starts, and where the last one ends."""
    return np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])


@contextmanager
def _array_file(path: Path, dtype: "np.dtype | type[np.generic]", length: int) -> Iterator[BinaryIO]:
    """Open a ``.npy`` file of known length, to be filled piece by piece.

    Not a memory map: a full disk would kill the process that writes to one.
    """
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": (length,)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        yield file


@contextmanager
def _opened_at(path: Path, size: int) -> Iterator[BinaryIO]:
    """Open a file to continue it after its first bytes; what follows them is cut off."""
    with path.open("r+b" if path.exists() else "wb") as file:
        file.truncate(size)
        file.seek(size)
        yield file


def _read_vocabulary(path: Path) -> dict[str, int]:
    tokens = path.read_text(encoding="utf-8").split("\n")[:-1]
    return {token: number for number, token in enumerate(tokens)}


def _read_progress(unfinished: Path, fresh: _Progress) -> _Progress | None:
    """Return the progress of an earlier attempt at the same index; None where no such attempt can be used."""
    try:
        done = _Progress.model_validate_json((unfinished / _PROGRESS).read_bytes())
    except (OSError, ValueError):
        return None
    is_same = (done.corpus, done.probe, done.versions) == (fresh.corpus, fresh.probe, fresh.versions)
    sizes = {files.PASSAGES: done.passages_bytes, files.TOKENS: done.tokens_bytes}
    try:
        is_whole = all((unfinished / "index" / name).stat().st_size >= size for name, size in sizes.items())
    except OSError:
        return None
    return done if is_same and is_whole and done.schema_version == fresh.schema_version else None
