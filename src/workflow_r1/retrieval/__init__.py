"""The seam to any search, and what stands behind it."""

from workflow_r1.retrieval.backend import Passage, SearchBackend
from workflow_r1.retrieval.bm25 import BM25Index
from workflow_r1.retrieval.corpus import iterate_corpus
from workflow_r1.retrieval.doubles import ScriptedSearch, SearchRequest
from workflow_r1.retrieval.store import RecalledPassages, StoredSearch

__all__ = [
    "BM25Index",
    "Passage",
    "RecalledPassages",
    "ScriptedSearch",
    "SearchBackend",
    "SearchRequest",
    "StoredSearch",
    "iterate_corpus",
]
