"""The files of an index directory, memory-mapped.

index/
meta.json              source, settings and sizes of the files; written last
passages.jsonl         [id, title, text] per line
offsets.npy            (N + 1,) int64: start of each line, and end of the last one
tokens.txt             different tokens in the order of first use, one a line
token_offsets.npy      (T + 1,) int64: start of each token's line, and end of the last one
buckets.npy            (2^b + 1,) int32: first place in ``bucket_tokens`` of each bucket, and T
bucket_tokens.npy      (T,) int32: tokens by bucket, the lowest b bits of a token's CRC-32
first_layers.npy, layer_starts.npy, layer_bounds.npy, posting_passages.npy, posting_scores.npy
                       the fields of ``Postings``
"""

import hashlib
import json
import mmap
import unicodedata
import zlib
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from workflow_r1.errors import DataError, found_at
from workflow_r1.retrieval.backend import Passage
from workflow_r1.retrieval.postings import Postings
from workflow_r1.retrieval.tokens import Tokenizer
from workflow_r1.trajectory.records import Record
from workflow_r1.trajectory.storage import write_atomically

SCHEMA_VERSION = 3
"""Version of the index directory's files and of its tokens; a directory of another version is refused."""

META = "meta.json"
PASSAGES = "passages.jsonl"
OFFSETS = "offsets.npy"
TOKENS = "tokens.txt"
TOKEN_OFFSETS = "token_offsets.npy"
BUCKETS = "buckets.npy"
BUCKET_TOKENS = "bucket_tokens.npy"
FIRST_LAYERS = "first_layers.npy"
LAYER_STARTS = "layer_starts.npy"
LAYER_BOUNDS = "layer_bounds.npy"
POSTING_PASSAGES = "posting_passages.npy"
POSTING_SCORES = "posting_scores.npy"

_PROBE = (
    "The foxes' 1,976 running J.R.R. O'Brien C++17 \u0623\u062d\u0645\u062f\u0629 Beyonc\u00e9 \u0141\u00f3d\u017a \u0939\u093f\u0928\u094d\u0926\u0940 "
    "\u6771\u4eac\u90fd \uff76\uff9e \uc11c\uc6b8\uc740 \u0e20\u0e32\u0e29\u0e32"
)
"""Tokenised at building and at opening: an index whose tokens another version would spell otherwise is stale."""


class CorpusFile(Record):
    """The marks by which a corpus is known again without reading it."""

    name: str
    """File name."""
    num_bytes: int
    """Size."""
    modified_ns: int
    """Time of its last change, in nanoseconds since 1970."""

    @classmethod
    def at(cls, path: Path) -> "CorpusFile":
        """Look at a file."""
        status = path.stat()
        return cls(name=path.name, num_bytes=status.st_size, modified_ns=status.st_mtime_ns)


class IndexMeta(Record):
    """Contents of an index's ``meta.json``."""

    schema_version: int = SCHEMA_VERSION
    """Version of the directory."""
    corpus_name: str
    """File name of the corpus."""
    corpus_bytes: int
    """Size of the corpus file."""
    corpus_modified_ns: int
    """Time of the corpus file's last change, when its contents were those of ``corpus_sha256``."""
    corpus_sha256: str
    """Fingerprint of the corpus file as it lies on the disk, compressed or not."""
    num_passages: int
    """Passages in the index."""
    num_tokens: int
    """Different tokens in the index."""
    versions: dict[str, str]
    """Packages that built it, and the version of Unicode."""
    probe: list[str]
    """Tokens of a fixed sentence."""
    files: dict[str, int]
    """Size in bytes of every other file of the directory."""


class StoredPassages(Sequence[Passage]):
    """The passages of an index directory, read one at a time from a memory-mapped file."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._offsets = load_array(directory / OFFSETS, np.int64)
        self._rows = _map(directory / PASSAGES)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, index: Any) -> Any:
        """Return one passage.

        Raises:
            DataError: its row cannot be read.
        """
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        row = self._rows[int(self._offsets[index]) : int(self._offsets[index + 1])]
        try:
            identifier, title, text = json.loads(row)
        except (ValueError, TypeError, RecursionError):
            raise DataError(
                f"{self._directory / PASSAGES}: passage {index} is damaged; {rebuild(self._directory)}"
            ) from None
        return Passage(id=identifier, title=title, text=text, score=0.0)


class StoredVocabulary:
    """The numbers of an index directory's tokens, looked up in memory-mapped files."""

    def __init__(self, directory: Path) -> None:
        self._rows = _map(directory / TOKENS)
        self._offsets = load_array(directory / TOKEN_OFFSETS, np.int64)
        self._buckets = load_array(directory / BUCKETS, np.int32)
        self._tokens = load_array(directory / BUCKET_TOKENS, np.int32)
        self._mask = len(self._buckets) - 2

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def get(self, token: str) -> int | None:
        """Return a token's number; None where no passage has it."""
        row = token.encode("utf-8", "surrogatepass") + b"\n"
        bucket = zlib.crc32(row) & self._mask
        for number in self._tokens[self._buckets[bucket] : self._buckets[bucket + 1]].tolist():
            if self._rows[int(self._offsets[number]) : int(self._offsets[number + 1])] == row:
                return int(number)
        return None


def bucket_tokens(rows: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Return the arrays by which :class:`StoredVocabulary` finds a token.

    Args:
        rows: tokens in UTF-8, each with its line end.

    Returns:
        ``buckets`` and ``bucket_tokens``.
    """
    num_buckets = 1 << max(1, len(rows) - 1).bit_length()
    buckets = np.fromiter(map(zlib.crc32, rows), dtype=np.uint32, count=len(rows)) & np.uint32(num_buckets - 1)
    order = np.argsort(buckets, kind="stable")
    starts = np.searchsorted(buckets[order], np.arange(num_buckets + 1))
    return starts.astype(np.int32), order.astype(np.int32)


def load_array(path: Path, dtype: Any) -> np.ndarray:
    """Map a one-dimensional array from a file.

    Raises:
        ValueError: the file holds something else.
    """
    array = np.load(path, mmap_mode="r")
    if array.dtype != dtype or array.ndim != 1:
        raise ValueError(
            f"{path.name}: expected a row of {np.dtype(dtype)}, found {array.dtype} of shape {array.shape}"
        )
    # A plain array over the same memory: a map is many times as slow to index.
    return np.asarray(array)


def load_postings(directory: Path, num_passages: int) -> Postings:
    """Map the postings of an index directory."""
    return Postings(
        num_passages=num_passages,
        passages=load_array(directory / POSTING_PASSAGES, np.int32),
        scores=load_array(directory / POSTING_SCORES, np.float32),
        first_layers=load_array(directory / FIRST_LAYERS, np.int64),
        layer_starts=load_array(directory / LAYER_STARTS, np.int64),
        layer_bounds=load_array(directory / LAYER_BOUNDS, np.float32),
    )


def read_index_meta(directory: Path, corpus_path: Path | None = None) -> IndexMeta:
    """Read and check ``meta.json`` and the sizes of the files that it names.

    Args:
        directory: directory of an index.
        corpus_path: corpus to name in the command that builds it.

    Raises:
        DataError: there is no index, it is damaged, or another version wrote it; names the command that builds it.
    """
    path = directory / META
    if not path.is_file():
        raise DataError(
            f"expected an index, found no {META} in {directory}; build it first: {build_command(directory, corpus_path)}"
        )
    try:
        row = json.loads(path.read_bytes())
        found = row.get("schema_version") if isinstance(row, dict) else None
        if found != SCHEMA_VERSION:
            raise DataError(_explain_version(path, found, corpus_path))
        meta = IndexMeta.model_validate(row)
    except DataError:
        raise
    except ValueError as error:
        raise DataError(
            f"{path}: the index is damaged ({str(error).splitlines()[0]}); {rebuild(directory, corpus_path)}"
        ) from None
    for name, size in meta.files.items():
        file = directory / name
        actual = file.stat().st_size if file.is_file() else None
        if actual != size:
            raise DataError(
                f"{file}: the index is damaged: expected {size} bytes, found {actual or 'none'}; {rebuild(directory, corpus_path)}"
            )
    return meta


def _explain_version(path: Path, found: object, corpus_path: Path | None) -> str:
    earlier = {1: " (an earlier release built it, whose search found less)", 2: " (an earlier release built it)"}
    another = earlier.get(found, "") if isinstance(found, int) else ""
    return f"{path}: expected schema_version {SCHEMA_VERSION}, found {found!r}{another}; {rebuild(path.parent, corpus_path)}"


def check_tokens(meta: IndexMeta, directory: Path) -> None:
    """Check that the installed versions spell tokens as those did that built the index.

    Raises:
        DataError: they do not.
    """
    if meta.probe == probe():
        return
    installed = versions()
    found = (
        "another version of this program built it, which spells"
        if meta.versions == installed
        else f"it was built with {_show_versions(meta.versions)}, and the installed versions "
        f"({_show_versions(installed)}) spell"
    )
    raise DataError(f"{directory}: the index is stale: {found} tokens otherwise; {rebuild(directory)}")


def check_corpus(corpus_path: Path, meta: IndexMeta, directory: Path) -> None:
    """Check that an index was built from a corpus.

    A corpus of the size and the time of last change that the index knows is not read. One of another time, such as a copy,
    is read once, and its time is noted where the index can be written.

    Raises:
        DataError: the corpus is missing, or another one.
    """
    if not corpus_path.is_file():
        raise DataError(f"expected a corpus file, found {found_at(corpus_path)}")
    file = CorpusFile.at(corpus_path)
    if file.num_bytes == meta.corpus_bytes:
        if file.modified_ns == meta.corpus_modified_ns:
            return
        if fingerprint(corpus_path) == meta.corpus_sha256:
            noted = meta.model_copy(update={"corpus_modified_ns": file.modified_ns})
            try:
                write_meta(noted, directory)
            except OSError:
                return
            return
    raise DataError(
        f"{directory}: the index is stale: it was built from {meta.corpus_name} with SHA-256 "
        f"{meta.corpus_sha256[:12]}..., and {corpus_path} is another file; {rebuild(directory, corpus_path)}"
    )


def write_meta(meta: IndexMeta, directory: Path) -> None:
    """Write ``meta.json``."""
    write_atomically(directory / META, meta.model_dump_json(indent=2) + "\n")


def build_command(directory: Path, corpus_path: Path | None = None) -> str:
    """Return the command that builds an index."""
    return f"`workflow-r1 index {corpus_path or 'CORPUS'} --output {directory}`"


def rebuild(directory: Path, corpus_path: Path | None = None) -> str:
    """Return what to do about an index that cannot be used."""
    return f"build the index again from its corpus: {build_command(directory, corpus_path)}"


def fingerprint(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def probe() -> list[str]:
    """Return the tokens of a fixed sentence."""
    return Tokenizer()(_PROBE)


def versions() -> dict[str, str]:
    """Return the versions of what tokens depend on."""
    packages = {name: version(name) for name in ("PyStemmer", "numpy")}
    return packages | {"Unicode": unicodedata.unidata_version}


def _show_versions(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in versions.items())


def _map(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def sizes(directory: Path) -> dict[str, int]:
    """Return the sizes of a directory's files by name."""
    files: Iterable[Path] = sorted(directory.iterdir())
    return {path.name: path.stat().st_size for path in files}
