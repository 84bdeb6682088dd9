"""Slices of work over all trajectories of a run: a search of their texts, and what their operators did to answers.

A run may have 50,000 trajectories. One request works for at most :data:`SLICE_SECONDS` and says where the next begins,
so that a page shows what was found so far, a search can be given up, and nothing is kept in memory.
"""

import json
import time
from collections.abc import Callable, Iterator

from workflow_r1.errors import DataError
from workflow_r1.trajectory.storage import parse_trajectory
from workflow_r1.viewing.source import Json, Source, read_everything
from workflow_r1.workflows import trace_effects
from workflow_r1.workflows.selection import texts_of

SLICE_SECONDS = 0.12
"""Longest work for one request."""


def search_texts(source: Source, words: str, file: int, start: int, *, seconds: float = SLICE_SECONDS) -> Json:
    """Find the trajectories in whose texts some words stand as they are, in capitals or not.

    Args:
        source: the run.
        words: the words.
        file: number of the file to begin with.
        start: row to begin with.
        seconds: longest work.

    Returns:
        ``found``: places ``[file, row]``; ``next``: the place at which the next slice begins, None at the end.
    """
    wanted = words.strip().lower()
    escaped = json.dumps(wanted, ensure_ascii=False)[1:-1]

    def find(place: int, line: bytes) -> Iterator[list[int]]:
        if not wanted or escaped not in line.decode("utf-8", "replace").lower():
            return
        # The line also holds names of fields and figures.
        trajectory = parse_trajectory(line, source.name)
        names = trajectory.id, trajectory.question.id, trajectory.answer or ""
        if any(wanted in text.lower() for text in (*names, *texts_of(trajectory))):
            yield [file, place]

    return _work(source, file, start, find, seconds)


def list_effects(source: Source, file: int, start: int, *, seconds: float = SLICE_SECONDS) -> Json:
    """Say what each call of each trajectory did to the answer.

    Returns:
        ``found``: ``[file, row, [[operator, effect, right after it], ...]]`` for the trajectories with valid calls; ``next`` as in
        :func:`search_texts`.
    """

    def find(place: int, line: bytes) -> Iterator[list[object]]:
        effects = trace_effects(parse_trajectory(line, source.name))
        if effects:
            yield [file, place, [[effect.operator, effect.kind, effect.after] for effect in effects]]

    return _work(source, file, start, find, seconds)


def _work(
    source: Source, file: int, start: int, find: Callable[[int, bytes], Iterator[object]], seconds: float
) -> Json:
    end = time.monotonic() + seconds
    found: list[object] = []
    with source.lock:
        if file >= len(source.files):
            return {"found": found, "next": None, "generation": source.generation}
        try:
            for place, line in read_everything(source, file, start):
                if time.monotonic() > end and place > start:
                    return {"found": found, "next": [file, place], "generation": source.generation}
                try:
                    found += find(place, line)
                except DataError:
                    continue  # The list names it already.
        except OSError:
            pass
        following = [file + 1, 0] if file + 1 < len(source.files) else None
        return {"found": found, "next": following, "generation": source.generation}
