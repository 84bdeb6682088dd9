"""A search whose results are kept in the store of calls."""

from dataclasses import asdict
from typing import Any

from workflow_r1.retrieval.backend import Passage, SearchBackend
from workflow_r1.store import Call, CallStore
from workflow_r1.store.refusals import keeping_refusals, raise_refusal


class RecalledPassages(list[Passage]):
    """Passages that came from the store of calls: nothing was searched, and nothing paid."""


class StoredSearch:
    """A ``SearchBackend`` that asks another one and keeps its results: for searches that cost something or may change.

    Args:
        inner: the search that is asked; None will do for a replay.
        store: store of the results.
        identity: identity of the search: its kind and address, without a key. Equal queries of one identity are one call.
    """

    def __init__(self, inner: SearchBackend | None, store: CallStore, *, identity: str) -> None:
        if inner is None and store.mode != "replay":
            raise ValueError(
                f'expected a search to ask, received none; only the mode "replay" asks none, not "{store.mode}"'
            )
        self.inner = inner
        self._store = store
        self._identity = identity

    async def __call__(self, query: str, *, k: int) -> list[Passage]:
        """Return at most ``k`` passages, :class:`RecalledPassages` where the store had them.

        Raises:
            ServiceError: the service was asked and failed after its retries.
            ReplayMissError: the passages were to come from the store, which lacks them.
        """

        async def ask() -> list[dict[str, Any]]:
            assert self.inner is not None, "a replay asks nobody"
            return [asdict(passage) for passage in await self.inner(query, k=k)]

        call = Call(
            service="search",
            model=self._identity,
            request={"search": self._identity, "query": query, "k": k},
            name=f"{self._identity}, the best {k}, asked {query!r}",
        )
        answer, is_stored = await self._store.answer(call, keeping_refusals(ask))
        raise_refusal(answer)
        passages = [Passage(**passage) for passage in answer]
        return RecalledPassages(passages) if is_stored else passages

    async def aclose(self) -> None:
        """Close the connections of the search that is asked, where it has any."""
        close = getattr(self.inner, "aclose", None)
        if close is not None:
            await close()
