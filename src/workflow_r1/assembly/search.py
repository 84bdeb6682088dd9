"""The search backend of the Search operator, built from its settings."""

from collections.abc import Callable

from workflow_r1.accounting import Accounts
from workflow_r1.assembly.stored_search import is_stored
from workflow_r1.assembly.world import embedded_world
from workflow_r1.config.search import SearchConfig
from workflow_r1.embedded import EmbeddedConfig
from workflow_r1.errors import ConfigError
from workflow_r1.retrieval import (
    BM25Index,
    CallableSearch,
    MCPSearch,
    RetrievalServerConfig,
    RetrievalServerSearch,
    SearchBackend,
    WebSearch,
    WebSearchConfig,
)
from workflow_r1.retrieval.index_build import BuildProgress


def build_limited_search(config: SearchConfig, world: EmbeddedConfig, accounts: Accounts) -> SearchBackend:
    """Return the search of the Search operator, within the budget where a service does it."""
    search = build_search(config, world)
    return accounts.limit_search(search, endpoint=name_search(config)) if is_stored(config) else search


def name_search(config: SearchConfig) -> str:
    """Name of the search in the accounts."""
    return f"search: {config.kind}"


def build_search(
    config: SearchConfig, world: EmbeddedConfig, *, on_progress: Callable[[BuildProgress], None] | None = None
) -> SearchBackend:
    """Return the search of the Search operator. A missing index is built from its corpus first.

    Args:
        config: kind and settings of the search.
        world: the embedded world.
        on_progress: called now and then while an index is built.

    Raises:
        ConfigError: no search is configured, or something that it needs is missing.
        DataError: the corpus or index is missing or malformed.
        MissingExtraError: an MCP server is configured, and its package is not installed.
    """
    match config.kind:
        case "embedded":
            return embedded_world(world).search
        case "bm25":
            return _open_index(config, on_progress)
        case "server":
            return RetrievalServerSearch(config.server or RetrievalServerConfig())
        case "web":
            return WebSearch(config.web or WebSearchConfig())
        case "callable" if config.callable is not None:
            return CallableSearch(config.callable)
        case "mcp" if config.mcp is not None:
            return MCPSearch(config.mcp)
        case "none":
            raise ConfigError(
                'search.kind: expected a search such as "bm25" or "server", since an operator of the pool searches, '
                'received "none"; configure a search, or take Search out of the pool'
            )
        case kind:
            needed = {"callable": "function", "mcp": "tool and search.mcp.command or search.mcp.url"}[kind]
            raise ConfigError(
                f'search.{kind}: expected this section, since search.kind = "{kind}"; set search.{kind}.{needed}'
            )


def _open_index(config: SearchConfig, on_progress: Callable[[BuildProgress], None] | None) -> BM25Index:
    if config.index is None:
        raise ConfigError(
            'search.index: expected the index\'s directory, since search.kind = "bm25"; set search.index (it is built '
            "there from search.corpus where absent)"
        )
    if config.index.exists():
        corpus = config.corpus if config.corpus is not None and config.corpus.exists() else None
        return BM25Index.open(config.index, corpus_path=corpus)
    if config.corpus is None:
        raise ConfigError(
            f"search.corpus: expected a corpus to build the index from, since there is no index at {config.index}; set "
            "search.corpus to a JSONL of `id, title, text`, or search.index to an index that exists"
        )
    return BM25Index.build(config.corpus, config.index, on_progress=on_progress)
