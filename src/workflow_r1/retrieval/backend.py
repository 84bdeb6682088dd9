"""The seam to any search: a query in, ranked passages out."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Passage:
    """One search result."""

    id: str
    """Identifier within its corpus."""
    title: str
    """Title of the page it belongs to; may be empty."""
    text: str
    """The passage without its title."""
    score: float
    """Score of the backend: higher is better, comparable only within one query."""


class SearchBackend(Protocol):
    """Anything that finds passages."""

    async def __call__(self, query: str, *, k: int) -> list[Passage]:
        """Return at most ``k`` passages, best first; an empty list where nothing matches.

        Raises:
            ServiceError: the search service failed after its retries.
        """
        ...
