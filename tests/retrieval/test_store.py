"""A search behind the store of calls."""

import asyncio
from pathlib import Path

import pytest

from workflow_r1.errors import ReplayMissError, ServiceUnavailableError
from workflow_r1.retrieval import Passage, RecalledPassages, ScriptedSearch, StoredSearch
from workflow_r1.store import CallStore

JAWS = [Passage("1", "Jaws", "Jaws was directed by Zoë.", 1.5), Passage("2", "", "A fish.", 0.1)]


def test_passages_come_back_as_they_were_by_search_query_and_number(tmp_path: Path) -> None:
    async def main() -> None:
        inner = ScriptedSearch({"jaws": JAWS})
        with CallStore(tmp_path / "calls.sqlite3") as store:
            search = StoredSearch(inner, store, identity="web")
            first = await search("jaws", k=2)
            assert (first, isinstance(first, RecalledPassages)) == (JAWS, False)
            again = await search("jaws", k=2)
            assert (again, isinstance(again, RecalledPassages)) == (JAWS, True)
            assert await search("jaws", k=1) == JAWS[:1]
            assert isinstance(await search("nothing", k=1), list)
            assert await search("nothing", k=1) == RecalledPassages()
            await StoredSearch(inner, store, identity="another")("jaws", k=2)
            await search.aclose()
        assert [(request.query, request.k) for request in inner.requests] == [
            ("jaws", 2), ("jaws", 1), ("nothing", 1), ("jaws", 2),
        ]  # fmt: skip
        with CallStore(tmp_path / "calls.sqlite3", mode="replay") as store:
            search = StoredSearch(None, store, identity="web")
            assert await search("jaws", k=2) == JAWS
            with pytest.raises(ReplayMissError, match="web, the best 3, asked 'shark'"):
                await search("shark", k=3)

    asyncio.run(main())


def test_failures_are_not_stored(tmp_path: Path) -> None:
    async def main() -> None:
        with CallStore(tmp_path / "calls.sqlite3") as store:
            with pytest.raises(ServiceUnavailableError):
                await StoredSearch(ScriptedSearch(error=ServiceUnavailableError("down")), store, identity="web")(
                    "a", k=1
                )
            assert await StoredSearch(ScriptedSearch({"a": JAWS}), store, identity="web")("a", k=1) == JAWS[:1]
            with pytest.raises(ValueError, match='only the mode "replay" asks none'):
                StoredSearch(None, store, identity="web")

    asyncio.run(main())
