"""BM25 over a corpus, in memory or memory-mapped from a directory."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol, Self

import numpy as np

from workflow_r1.errors import DataError
from workflow_r1.retrieval.backend import Passage
from workflow_r1.retrieval.index_build import BuildProgress, build_index
from workflow_r1.retrieval.index_files import (
    IndexMeta,
    StoredPassages,
    StoredVocabulary,
    check_corpus,
    check_tokens,
    load_postings,
    read_index_meta,
    rebuild,
)
from workflow_r1.retrieval.postings import Postings, make_postings
from workflow_r1.retrieval.ranking import Ranking
from workflow_r1.retrieval.tokens import Tokenizer, TokenNumbers

AT_ONCE = 1 << 20
"""Passages up to which an index on the disk is searched at once: later ones in a thread."""


class Vocabulary(Protocol):
    """The numbers of tokens."""

    def get(self, token: str, /) -> int | None:
        """Return a token's number; None where no passage has it."""
        ...


class BM25Index:
    """A ``SearchBackend`` that ranks by BM25 (Lucene's variant, k1 = 1.5, b = 0.75: the defaults of bm25s).

    Title and text are searched together. Passages of equal score come in the order of the corpus; one that shares no
    token with the query is never returned. Made by :meth:`build`, :meth:`open` or :meth:`from_passages`.
    """

    def __init__(
        self,
        *,
        postings: Postings,
        vocabulary: Vocabulary,
        tokenizer: Tokenizer,
        passages: Sequence[Passage],
        directory: Path | None = None,
    ) -> None:
        self._directory = directory
        self._ranking = Ranking(postings)
        self._vocabulary = vocabulary
        self._tokenize = tokenizer
        self._passages = passages

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
        if not kept:
            raise DataError("the passages: expected at least one passage, found none")
        vocabulary: dict[str, int] = {}
        numbers = TokenNumbers(vocabulary)
        rows = [numbers.of(f"{passage.title} {passage.text}") for passage in kept]
        if not vocabulary:
            raise DataError("the passages: expected words to index, found none but stop words")
        tokens = np.frombuffer(b"".join(rows), dtype=np.int32)
        lengths = np.array([len(row) // tokens.itemsize for row in rows], dtype=np.int32)
        postings = make_postings(tokens, lengths, len(vocabulary))
        return cls(postings=postings, vocabulary=vocabulary, tokenizer=Tokenizer(), passages=kept)

    @classmethod
    def build(
        cls,
        corpus_path: Path | str,
        directory: Path | str,
        *,
        on_progress: Callable[[BuildProgress], None] | None = None,
    ) -> Self:
        """Build an index from a corpus and open it. An index that stands there already is replaced.

        The directory appears in one step when everything is written. A build that was interrupted, or whose disk was full,
        resumes at the next call (:func:`~workflow_r1.retrieval.index_build.build_index`).

        Args:
            corpus_path: see :func:`~workflow_r1.retrieval.corpus.iterate_corpus`.
            directory: directory of the new index.
            on_progress: called now and then.

        Raises:
            DataError: the corpus cannot be read, the directory holds something else, or the disk cannot take it.
            UserError: another process builds an index there.
        """
        build_index(Path(corpus_path), Path(directory).absolute(), on_progress=on_progress)
        return cls.open(directory)

    @classmethod
    def open(cls, directory: Path | str, *, corpus_path: Path | str | None = None) -> Self:
        """Open an index: scores and passages stay on the disk until they are read.

        Args:
            directory: directory that :meth:`build` wrote.
            corpus_path: the corpus that it must have been built from; None does not ask. It is read only where its time of
                last change is another than the index knows.

        Raises:
            DataError: there is no index, it is damaged, or it is stale; names the command that builds a good one.
        """
        directory = Path(directory)
        corpus_path = None if corpus_path is None else Path(corpus_path)
        meta = read_index_meta(directory, corpus_path)
        check_tokens(meta, directory)
        if corpus_path is not None:
            check_corpus(corpus_path, meta, directory)
        try:
            postings = load_postings(directory, meta.num_passages)
            passages = StoredPassages(directory)
            vocabulary = StoredVocabulary(directory)
        except (OSError, ValueError) as error:
            raise DataError(f"{directory}: the index is damaged ({error}); {rebuild(directory)}") from error
        _check_counts(postings, passages, vocabulary, meta, directory)
        return cls(
            postings=postings,
            vocabulary=vocabulary,
            tokenizer=Tokenizer(),
            passages=passages,
            directory=directory,
        )

    async def __call__(self, query: str, *, k: int) -> list[Passage]:
        """Return at most ``k`` passages, best first.

        A large index is searched in a thread, since that takes a while and pages may have to be read first; a small one at
        once, which takes less time than the hand-over.

        Raises:
            DataError: the index is damaged.
            ValueError: ``k`` is less than 1.
        """
        if k < 1:
            raise ValueError(f"expected k of at least 1, received {k}")
        words = self._tokenize(query, is_query=True)
        if len(self) > AT_ONCE:
            return await asyncio.to_thread(self._find, words, k)
        return self._find(words, k)

    def _find(self, words: list[str], k: int) -> list[Passage]:
        try:
            tokens = [token for word in words if (token := self._vocabulary.get(word)) is not None]
            best = self._ranking.best(tokens, k) if tokens else []
        except (IndexError, ValueError) as error:
            if self._directory is None:
                raise
            raise DataError(f"{self._directory}: the index is damaged ({error}); {rebuild(self._directory)}") from error
        ranked = []
        for index, score in best:
            passage = self._passages[index]
            ranked.append(Passage(passage.id, passage.title, passage.text, score))
        return ranked


def _check_counts(
    postings: Postings, passages: StoredPassages, vocabulary: StoredVocabulary, meta: IndexMeta, directory: Path
) -> None:
    counts = (len(passages), len(vocabulary), len(postings.first_layers) - 1)
    expected = (meta.num_passages, meta.num_tokens, meta.num_tokens)
    if counts != expected or not postings.is_whole():
        raise DataError(
            f"{directory}: the index is damaged: expected {meta.num_passages} passages and {meta.num_tokens} tokens "
            f"throughout, found {counts}; {rebuild(directory)}"
        )
