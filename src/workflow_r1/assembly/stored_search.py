"""Puts a search service behind the store of calls."""

import hashlib
import json
from collections.abc import Callable

from pydantic import BaseModel

from workflow_r1.config.search import SearchConfig
from workflow_r1.retrieval import RetrievalServerConfig, SearchBackend, StoredSearch, WebSearchConfig
from workflow_r1.services.secrets import without_login
from workflow_r1.store import CallStore

_IN_THIS_PROCESS = ("embedded", "bm25", "none")
"""Kinds that cost nothing and never change."""

_PATIENCE = {
    "timeout_seconds", "idle_timeout_seconds", "max_retries", "backoff_seconds", "concurrency", "max_batch",
    "api_key_env", "environment",
}  # fmt: skip
"""Keys that change the way to a search but not its results."""


def is_stored(config: SearchConfig) -> bool:
    """Return True where the store of calls keeps the results of this search."""
    return config.kind not in _IN_THIS_PROCESS


def stored_search(config: SearchConfig, store: CallStore, build: Callable[[], SearchBackend]) -> StoredSearch:
    """Return the search behind the store; a replay does not build it, and so needs no key.

    Args:
        config: settings of the search.
        store: store of the results.
        build: builds the search itself.
    """
    inner = None if store.mode == "replay" else build()
    return StoredSearch(inner, store, identity=identity_of(config, by_address=store.by_address))


def identity_of(config: SearchConfig, *, by_address: bool = True) -> str:
    """Return the identity of a search: its kind, its address, and a digest of the settings that shape its results.

    It is a digest, since a command or a parameter may hold a secret that the store must not show.
    """
    defaults: dict[str, type[BaseModel]] = {"server": RetrievalServerConfig, "web": WebSearchConfig}
    section = getattr(config, config.kind) or (defaults[config.kind]() if config.kind in defaults else None)
    shaping = section.model_dump(mode="json", exclude=_PATIENCE) if isinstance(section, BaseModel) else {}
    address = without_login(shaping.pop("url", None) or "")
    parts = [config.kind, *([address] if address and by_address else [])]
    digest = hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()[:12]
    return " ".join([*parts, *([digest] if shaping else [])])
