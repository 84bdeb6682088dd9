"""The runs that one page shows, and its questions about them as JSON: a server and a file on a disk answer alike."""

import threading
import time
from collections.abc import Sequence

from workflow_r1.errors import DataError
from workflow_r1.trajectory.storage import to_json_line
from workflow_r1.viewing.comparison import compare_sides, read_side, span_of
from workflow_r1.viewing.rows import rows_after
from workflow_r1.viewing.search import list_effects, search_texts
from workflow_r1.viewing.source import Json, Source, titles
from workflow_r1.viewing.summary import advantage_of, read_config, summarise
from workflow_r1.viewing.trajectory import describe

REFRESH_SECONDS = 1.0
"""Shortest time between two looks at the files, however many pages ask."""


class Reading:
    """Some runs and evaluations.

    Args:
        sources: the runs, in the order in which the page lists them.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = list(sources)
        self._titles = titles(self.sources)
        self._looked = time.monotonic()
        self._lock = threading.Lock()
        self._summaries: dict[int, tuple[object, Json]] = {}

    def state(self) -> list[Json]:
        """State of each source, by which a page sees whether anything is new."""
        self._refresh()
        states = []
        for number, source in enumerate(self.sources):
            with source.lock:
                states.append(
                    {
                        "title": self._titles[number],
                        "kind": source.kind,
                        "generation": source.generation,
                        "rows": [len(file.index.rows) for file in source.files],
                        "files": [file.label for file in source.files],
                        "span": span_of(source),
                        "version": str(source.state()),
                        "live": source.is_at_work,
                    }
                )
        return states

    def summary(self, number: int) -> Json:
        """Everything of a run but its trajectories."""
        source = self._source(number)
        state = source.state()
        known = self._summaries.get(number)
        if known is not None and not source.path.exists():
            # It is being deleted: what was read before is all that there is.
            return known[1] | {"problems": source.problems, "live": False}
        if known is None or known[0] != state:
            known = self._summaries[number] = (state, summarise(source, self._titles[number]))
        return known[1]

    def rows(self, number: int, starts: Sequence[int]) -> Json:
        """Rows of a list."""
        return rows_after(self._source(number), starts)

    def trajectories(self, number: int, places: Sequence[tuple[int, int]]) -> list[Json]:
        """Some trajectories; in place of one that cannot be read, the reason under ``error``."""
        source = self._source(number)
        advantage = advantage_of(read_config(source)) if source.kind == "training" else ""
        rewards: dict[str, list[float]] = {}
        shown: list[Json] = []
        for file, place in places:
            try:
                row, trajectory = source.read(file, place)
            except DataError as error:
                shown.append({"unreadable": str(error)})
                continue
            if row.group_id not in rewards:
                group = source.group_of(row)
                rewards[row.group_id] = [other.reward.total for other in group if other.reward is not None]
            shown.append(describe(trajectory, group_rewards=rewards[row.group_id], advantage=advantage))
        return shown

    def stored(self, number: int, place: tuple[int, int]) -> Json:
        """One trajectory as its file holds it, as text."""
        return {"text": to_json_line(self._source(number).read(*place)[1])}

    def search(self, number: int, words: str, file: int, start: int) -> Json:
        """A slice of a search."""
        return search_texts(self._source(number), words, file, start)

    def effects(self, number: int, file: int, start: int) -> Json:
        """A slice of what operators did to answers."""
        return list_effects(self._source(number), file, start)

    def compare(self, sides: Sequence[str]) -> Json:
        """Differences between sides; ``comparison`` says how one is written."""
        read = [read_side(text, self.sources, self._titles) for text in sides]
        return compare_sides(read)

    def _source(self, number: int) -> Source:
        if not 0 <= number < len(self.sources):
            raise DataError(f"expected a run below {len(self.sources)}, received {number}")
        return self.sources[number]

    def _refresh(self) -> None:
        with self._lock:
            if time.monotonic() - self._looked < REFRESH_SECONDS:
                return
            self._looked = time.monotonic()
            for source in self.sources:
                source.refresh()
