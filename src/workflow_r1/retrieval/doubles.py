"""A stand-in for a search, for tests and dry runs. Part of the public API."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from workflow_r1.retrieval.backend import Passage


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """One request as a double received it."""

    query: str
    """Query of the search."""
    k: int
    """Passages that were asked for."""


class ScriptedSearch:
    """A ``SearchBackend`` that finds what a script says and keeps its requests.

    Args:
        results: passages by query, or a function of the query; a query that is not listed finds nothing.
        error: exception that every request raises instead.
    """

    def __init__(
        self,
        results: Mapping[str, Sequence[Passage]] | Callable[[str], Sequence[Passage]] | None = None,
        *,
        error: Exception | None = None,
    ) -> None:
        self._results = results or {}
        self._error = error
        self.requests: list[SearchRequest] = []
        """Every request so far, in order."""

    async def __call__(self, query: str, *, k: int) -> list[Passage]:
        """Return the first ``k`` passages that the script has for the query."""
        self.requests.append(SearchRequest(query, k))
        if self._error is not None:
            raise self._error
        found = self._results(query) if callable(self._results) else self._results.get(query, ())
        return list(found[:k])
