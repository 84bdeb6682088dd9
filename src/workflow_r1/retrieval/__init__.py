"""The seam to any search, and what stands behind it."""

from workflow_r1.retrieval.backend import Passage, SearchBackend
from workflow_r1.retrieval.doubles import ScriptedSearch, SearchRequest

__all__ = ["Passage", "ScriptedSearch", "SearchBackend", "SearchRequest"]
