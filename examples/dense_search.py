"""Dense retrieval behind the operator Search, in ten lines around a library that does it.

    pip install sentence-transformers
    CORPUS=corpus.jsonl workflow-r1 operators my.toml Search --call "Who directed Jaws?"

with, in ``my.toml``::

    [environment]
    operators = ["AnswerGenerate", "Search"]

    [search]
    kind = "callable"

    [search.callable]
    function = "dense_search.py:find"       # relative to my.toml
    concurrency = 1                         # the encoder is one

For hybrid retrieval merge two rankings here. For an index that several runs share, or one on a GPU elsewhere, serve it:
``workflow-r1 serve-search my.toml`` makes this very function a retrieval server.
"""

import functools
import os
from typing import Any

from sentence_transformers import SentenceTransformer

from workflow_r1.retrieval import Passage, iterate_corpus

CORPUS = os.environ.get("CORPUS", "corpus.jsonl")
"""JSONL of ``id, title, text`` or ``id, contents``."""

MODEL = os.environ.get("ENCODER", "intfloat/e5-base-v2")
"""Any model of sentence-transformers, by name or directory. E5's texts begin with their kind."""


@functools.cache
def load() -> tuple[Any, list[Passage], Any]:
    """The encoder, the passages and their vectors, (N, D) float32 of length 1; made at the first query."""
    encoder = SentenceTransformer(MODEL)
    passages = list(iterate_corpus(CORPUS))
    vectors = encoder.encode([f"passage: {p.title} {p.text}" for p in passages], normalize_embeddings=True)
    return encoder, passages, vectors


def find(query: str, k: int) -> list[dict[str, Any]]:
    """Return the ``k`` passages whose vectors are nearest to the query's."""
    encoder, passages, vectors = load()
    scores = vectors @ encoder.encode(f"query: {query}", normalize_embeddings=True)
    return [
        {"id": passages[i].id, "title": passages[i].title, "text": passages[i].text, "score": float(scores[i])}
        for i in (-scores).argsort(kind="stable")[:k]
    ]
