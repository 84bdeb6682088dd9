"""The search behind the operator Search."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from workflow_r1.retrieval import CallableSearchConfig, MCPSearchConfig, RetrievalServerConfig, WebSearchConfig
from workflow_r1.retrieval.excerpts import LEAST_CHARS
from workflow_r1.trajectory.records import Record


class SearchConfig(Record):
    """The search behind the operator Search (docs/how-to/search.md).

    A key or section of another kind is refused, except with ``none``.
    """

    kind: Literal["embedded", "bm25", "server", "web", "callable", "mcp", "none"] = "embedded"
    """``embedded``: the embedded world's passages. ``bm25``: an index over ``corpus``. ``server``: a retrieval server
    that speaks Search-R1's protocol. ``web``: a web search API in Serper's form. ``callable``: a Python function.
    ``mcp``: a tool of an MCP server. ``none``: no search."""
    corpus: Path | None = None
    """JSONL (optionally gzipped) of ``id, title, text`` or ``id, contents``."""
    index: Path | None = None
    """Directory of the saved index; built from ``corpus`` where absent."""
    k: int = Field(default=5, ge=1)
    """Passages per query. Paper: 5."""
    passage_chars: int | None = Field(default=None, ge=LEAST_CHARS)
    """Longest text of one passage, without its title: the sentences that tell most about the query stay. None leaves
    passages whole, and ``environment.max_observation_chars`` cuts all of them together in the middle."""
    server: RetrievalServerConfig | None = None
    web: WebSearchConfig | None = None
    callable: CallableSearchConfig | None = None
    mcp: MCPSearchConfig | None = None
