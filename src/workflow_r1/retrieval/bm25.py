"""BM25 over a corpus, in memory or memory-mapped from a directory.

index/
meta.json         source and settings of the index; written last
passages.jsonl    [id, title, text] per line
offsets.npy       where each line starts, and where the last one ends (int64)
*.index.*         bm25s: scores as a sparse matrix, one column per token, and the vocabulary
"""

import asyncio
import hashlib
import json
import mmap
import os
import shutil
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from workflow_r1.errors import DataError, found_at
from workflow_r1.retrieval.backend import Passage
from workflow_r1.retrieval.corpus import iterate_corpus
from workflow_r1.retrieval.tokens import Tokenizer
from workflow_r1.trajectory.records import Record

if TYPE_CHECKING:
    import bm25s

SCHEMA_VERSION = 2
"""Version of the index directory's files and of its tokens; a directory of another version is refused."""

PROGRESS_EVERY = 1000
"""Passages between two calls of ``on_progress``."""

_META = "meta.json"
_PASSAGES = "passages.jsonl"
_OFFSETS = "offsets.npy"

_PROBE = (
    "The foxes' 1,976 running J.R.R. O'Brien C++17 \u0623\u062d\u0645\u062f\u0629 Beyonc\u00e9 \u0141\u00f3d\u017a \u0939\u093f\u0928\u094d\u0926\u0940 "
    "\u6771\u4eac\u90fd \uff76\uff9e \uc11c\uc6b8\uc740 \u0e20\u0e32\u0e29\u0e32"
)
"""Tokenised at building and at opening: an index whose tokens another version would spell otherwise is stale."""


class IndexMeta(Record):
    """Contents of an index's ``meta.json``."""

    schema_version: int = SCHEMA_VERSION
    """Version of the directory."""
    corpus_name: str
    """File name of the corpus."""
    corpus_bytes: int
    """Size of the corpus file."""
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
        self._offsets = np.load(directory / _OFFSETS, mmap_mode="r")
        with (directory / _PASSAGES).open("rb") as file:
            self._rows = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

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
            raise DataError(f"{self._directory / _PASSAGES}: passage {index} is damaged; {_REBUILD}") from None
        return Passage(id=identifier, title=title, text=text, score=0.0)


_REBUILD = "delete the directory and build the index again from its corpus"


class BM25Index:
    """A ``SearchBackend`` that ranks by BM25 (Lucene's variant, k1 = 1.5, b = 0.75: the defaults of bm25s).

    Title and text are searched together. Passages of equal score come in the order of the corpus; one that shares no
    token with the query is never returned. Made by :meth:`build`, :meth:`open` or :meth:`from_passages`.
    """

    def __init__(
        self, *, matrix: "bm25s.BM25", tokenizer: Tokenizer, passages: Sequence[Passage], is_on_disk: bool
    ) -> None:
        self._matrix = matrix
        self._vocabulary: dict[str, int] = matrix.vocab_dict
        self._tokenize = tokenizer
        self._passages = passages
        self._is_on_disk = is_on_disk

    def __len__(self) -> int:
        """Return the number of passages."""
        return len(self._passages)

    @classmethod
    def from_passages(cls, passages: Iterable[Passage]) -> Self:
        """Index passages in memory.

        Args:
            passages: at least one; their scores are ignored.

        Raises:
            DataError: there are no passages, or none of them holds a word.
        """
        kept = tuple(passages)
        tokenizer = Tokenizer()
        matrix = _score(_tokenize_all(kept, tokenizer), "the passages")
        return cls(matrix=matrix, tokenizer=tokenizer, passages=kept, is_on_disk=False)

    @classmethod
    def build(
        cls,
        corpus_path: Path | str,
        directory: Path | str,
        *,
        on_progress: Callable[[int], None] | None = None,
    ) -> Self:
        """Build an index from a corpus and open it. An index that stands there already is replaced.

        The directory appears in one step when everything is written; an interruption leaves nothing of it.

        Args:
            corpus_path: see :func:`~workflow_r1.retrieval.corpus.iterate_corpus`.
            directory: directory of the new index.
            on_progress: called with the number of passages read so far.

        Raises:
            DataError: the corpus cannot be read, the directory holds something else, or the disk cannot take it.
        """
        corpus_path, directory = Path(corpus_path), Path(directory).absolute()
        if (
            directory.exists()
            and not (directory / _META).is_file()
            and (not directory.is_dir() or any(directory.iterdir()))
        ):
            raise DataError(
                f"expected an index, an empty directory or nothing at {directory}, found other files; name another directory"
            )
        if not corpus_path.is_file():
            raise DataError(f"expected a corpus file, found {found_at(corpus_path)}")
        unfinished = directory.parent / f".{directory.name}.{os.getpid()}.unfinished"
        replaced = directory.parent / f".{directory.name}.{os.getpid()}.replaced"
        try:
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            _write_index(corpus_path, unfinished, on_progress)
            if directory.exists():
                directory.rename(replaced)
            unfinished.rename(directory)
        except OSError as error:
            raise DataError(
                f"expected to write an index to {directory}, which failed: {error.strerror or error}; make room or name "
                "another directory"
            ) from error
        finally:
            if replaced.exists() and not directory.exists():
                replaced.rename(directory)
            shutil.rmtree(unfinished, ignore_errors=True)
            shutil.rmtree(replaced, ignore_errors=True)
        return cls.open(directory)

    @classmethod
    def open(cls, directory: Path | str, *, corpus_path: Path | str | None = None) -> Self:
        """Open an index: scores and passages stay on the disk until they are read.

        Args:
            directory: directory that :meth:`build` wrote.
            corpus_path: the corpus that it must have been built from; None does not ask.

        Raises:
            DataError: there is no index, it is damaged, or it is stale; says how to get a good one.
        """
        directory = Path(directory)
        meta = read_index_meta(directory)
        tokenizer = Tokenizer()
        if tokenizer(_PROBE) != meta.probe:
            installed = _versions()
            found = (
                "another version of this program built it, which spells"
                if meta.versions == installed
                else f"it was built with {_show_versions(meta.versions)}, and the installed versions "
                f"({_show_versions(installed)}) spell"
            )
            raise DataError(f"{directory}: the index is stale: {found} tokens otherwise; {_REBUILD}")
        if corpus_path is not None:
            _check_corpus(Path(corpus_path), meta, directory)
        import bm25s

        try:
            matrix = bm25s.BM25.load(directory, mmap=True, show_progress=False)
            passages = StoredPassages(directory)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{directory}: the index is damaged ({error}); {_REBUILD}") from error
        # bm25s gives its vocabulary an empty token of its own.
        num_tokens = len(matrix.vocab_dict.keys() - {""})
        counts = (len(passages), matrix.scores["num_docs"], num_tokens, len(matrix.scores["indptr"]) - 1)
        if counts != (meta.num_passages, meta.num_passages, meta.num_tokens, meta.num_tokens):
            raise DataError(
                f"{directory}: the index is damaged: expected {meta.num_passages} passages and {meta.num_tokens} tokens "
                f"throughout, found {counts}; {_REBUILD}"
            )
        return cls(matrix=matrix, tokenizer=tokenizer, passages=passages, is_on_disk=True)

    async def __call__(self, query: str, *, k: int) -> list[Passage]:
        """Return at most ``k`` passages, best first.

        An index on the disk is searched in a thread, since a page may have to be read first; one in memory at once,
        which takes less time than the hand-over.

        Raises:
            ValueError: ``k`` is less than 1.
        """
        if k < 1:
            raise ValueError(f"expected k of at least 1, received {k}")
        tokens = [
            self._vocabulary[token] for token in self._tokenize(query, is_query=True) if token in self._vocabulary
        ]
        if not tokens:
            return []
        if self._is_on_disk:
            return await asyncio.to_thread(self._rank, tokens, k)
        return self._rank(tokens, k)

    def _rank(self, tokens: list[int], k: int) -> list[Passage]:
        scores = self._matrix.get_scores_from_ids(tokens)
        ranked = []
        for index in best_first(scores, k):
            passage = self._passages[index]
            ranked.append(Passage(passage.id, passage.title, passage.text, float(scores[index])))
        return ranked


def best_first(scores: np.ndarray, k: int) -> list[int]:
    """Return the indices of the at most ``k`` greatest scores above 0, greatest first, equal ones by index.

    Args:
        scores: (N,) float.
        k: at least 1.
    """
    candidates = np.flatnonzero(scores)
    values = scores[candidates]
    if len(candidates) > k:
        # Many passages may tie with the last one taken (they share only common words): do not sort them. Selecting from
        # the small end of the negated values is 20 times quicker than from the large end when most are equal.
        least = -np.partition(-values, k - 1)[k - 1]
        above = candidates[values > least]
        candidates = np.concatenate([above, candidates[values == least][: k - len(above)]])
        values = scores[candidates]
    indices: list[int] = candidates[np.argsort(-values, kind="stable")].tolist()
    return indices


def _tokenize_all(passages: Iterable[Passage], tokenizer: Tokenizer) -> tuple[list[list[int]], dict[str, int]]:
    """Return the token ids of each passage, and the vocabulary in the order of first use."""
    vocabulary: dict[str, int] = {}
    rows = [
        [vocabulary.setdefault(token, len(vocabulary)) for token in tokenizer(f"{passage.title} {passage.text}")]
        for passage in passages
    ]
    return rows, vocabulary


def _score(tokenized: tuple[list[list[int]], dict[str, int]], source: str) -> "bm25s.BM25":
    rows, vocabulary = tokenized
    if not rows:
        raise DataError(f"{source}: expected at least one passage, found none")
    if not vocabulary:
        raise DataError(f"{source}: expected words to index, found none but stop words")
    import bm25s

    # No compiled backend: whether numba or scipy happens to be installed must not change a score.
    matrix = bm25s.BM25(backend="numpy", csc_backend="numpy", auto_compile=False)
    matrix.index((rows, vocabulary), show_progress=False)
    return matrix


def _write_index(corpus_path: Path, directory: Path, on_progress: Callable[[int], None] | None) -> None:
    """Write all files of an index, ``meta.json`` last."""
    tokenizer = Tokenizer()
    offsets = [0]

    with (directory / _PASSAGES).open("wb") as file:

        def store() -> Iterable[Passage]:
            for number, passage in enumerate(iterate_corpus(corpus_path), start=1):
                row = json.dumps([passage.id, passage.title, passage.text], ensure_ascii=False) + "\n"
                offsets.append(offsets[-1] + file.write(row.encode("utf-8")))
                yield passage
                if on_progress is not None and number % PROGRESS_EVERY == 0:
                    on_progress(number)

        tokenized = _tokenize_all(store(), tokenizer)
    num_passages, num_tokens = len(tokenized[0]), len(tokenized[1])
    if on_progress is not None:
        on_progress(num_passages)
    np.save(directory / _OFFSETS, np.array(offsets, dtype=np.int64))
    _score(tokenized, str(corpus_path)).save(directory, show_progress=False)
    meta = IndexMeta(
        corpus_name=corpus_path.name,
        corpus_bytes=corpus_path.stat().st_size,
        corpus_sha256=_fingerprint(corpus_path),
        num_passages=num_passages,
        num_tokens=num_tokens,
        versions=_versions(),
        probe=tokenizer(_PROBE),
        files={path.name: path.stat().st_size for path in sorted(directory.iterdir())},
    )
    (directory / _META).write_text(meta.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read_index_meta(directory: Path) -> IndexMeta:
    """Read and check ``meta.json`` and the sizes of the files that it names."""
    path = directory / _META
    if not path.is_file():
        raise DataError(f"expected an index, found no {_META} in {directory}; build the index from a corpus first")
    try:
        row = json.loads(path.read_bytes())
        found = row.get("schema_version") if isinstance(row, dict) else None
        if found != SCHEMA_VERSION:
            another = " (an earlier release built it, whose search found less)" if found == 1 else ""
            raise DataError(f"{path}: expected schema_version {SCHEMA_VERSION}, found {found!r}{another}; {_REBUILD}")
        meta = IndexMeta.model_validate(row)
    except DataError:
        raise
    except ValueError as error:
        raise DataError(f"{path}: the index is damaged ({str(error).splitlines()[0]}); {_REBUILD}") from None
    for name, size in meta.files.items():
        file = directory / name
        actual = file.stat().st_size if file.is_file() else None
        if actual != size:
            raise DataError(
                f"{file}: the index is damaged: expected {size} bytes, found {actual or 'none'}; {_REBUILD}"
            )
    return meta


def _check_corpus(corpus_path: Path, meta: IndexMeta, directory: Path) -> None:
    if not corpus_path.is_file():
        raise DataError(f"expected a corpus file, found {found_at(corpus_path)}")
    if corpus_path.stat().st_size != meta.corpus_bytes or _fingerprint(corpus_path) != meta.corpus_sha256:
        raise DataError(
            f"{directory}: the index is stale: it was built from {meta.corpus_name} with SHA-256 "
            f"{meta.corpus_sha256[:12]}..., and {corpus_path} is another file; {_REBUILD}"
        )


def _fingerprint(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _versions() -> dict[str, str]:
    packages = {name: version(name) for name in ("bm25s", "PyStemmer", "numpy")}
    return packages | {"Unicode": unicodedata.unidata_version}


def _show_versions(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in versions.items())
