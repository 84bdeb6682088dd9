"""The seam to any search, and the searches behind it."""

from workflow_r1.retrieval.backend import Passage, SearchBackend
from workflow_r1.retrieval.bm25 import BM25Index
from workflow_r1.retrieval.callable_search import CallableSearch, CallableSearchConfig
from workflow_r1.retrieval.corpus import iterate_corpus
from workflow_r1.retrieval.doubles import ScriptedSearch, SearchRequest
from workflow_r1.retrieval.embeddings import EmbeddingModel, EmbeddingsConfig, OpenAIEmbeddings
from workflow_r1.retrieval.mcp_search import MCPSearch, MCPSearchConfig
from workflow_r1.retrieval.server_search import RetrievalServerConfig, RetrievalServerSearch
from workflow_r1.retrieval.store import RecalledPassages, StoredSearch
from workflow_r1.retrieval.web_search import WebSearch, WebSearchConfig

__all__ = [
    "BM25Index",
    "CallableSearch",
    "CallableSearchConfig",
    "EmbeddingModel",
    "EmbeddingsConfig",
    "MCPSearch",
    "MCPSearchConfig",
    "OpenAIEmbeddings",
    "Passage",
    "RecalledPassages",
    "RetrievalServerConfig",
    "RetrievalServerSearch",
    "ScriptedSearch",
    "SearchBackend",
    "SearchRequest",
    "StoredSearch",
    "WebSearch",
    "WebSearchConfig",
    "iterate_corpus",
]
