"""The rows of a list of trajectories as columns: half a hundred bytes each, so that a browser holds all of a run's."""

from collections.abc import Iterable, Sequence

from workflow_r1.trajectory.index import IndexRow
from workflow_r1.viewing.source import Json, Source

MAX_ROWS = 20_000
"""Most rows of one reply."""

FIRST_ROWS = 1_000
"""Most rows of the first reply, which a page waits for before it shows anything."""


class _Strings:
    """Numbers for texts, each kept once."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def __call__(self, text: str | None) -> int:
        return -1 if text is None else self._numbers.setdefault(text, len(self._numbers))

    def all(self) -> list[str]:
        return list(self._numbers)


def rows_after(source: Source, starts: Sequence[int]) -> Json:
    """Return the next rows of a run as columns.

    Args:
        source: the run.
        starts: rows of each file that are known already.
    """
    with source.lock:
        totals = [len(file.index.rows) for file in source.files]
        limit = MAX_ROWS if any(starts) else FIRST_ROWS
        return as_columns(source, list(source.rows(starts, limit)), totals)


def as_columns(source: Source, parts: Iterable[tuple[int, int, Sequence[IndexRow]]], totals: Sequence[int]) -> Json:
    """Return rows as columns; ``strings`` holds every text once, -1 stands for none.

    Args:
        source: the run.
        parts: number of a file, place of the first row, rows.
        totals: rows of each file in all.
    """
    strings = _Strings()
    columns = [{"file": number, "start": start, **_columns(rows, strings)} for number, start, rows in parts]
    return {
        "generation": source.generation,
        "files": [file.label for file in source.files],
        "totals": list(totals),
        "strings": strings.all(),
        "parts": columns,
    }


def _columns(rows: Iterable[IndexRow], strings: _Strings) -> Json:
    rows = list(rows)
    return {
        "id": [row.id for row in rows],
        "group": [strings(row.group_id) for row in rows],
        "question_id": [strings(row.question_id) for row in rows],
        "question": [strings(row.question) for row in rows],
        "class": [strings(row.question_class) for row in rows],
        "step": [row.step for row in rows],
        "version": [row.policy_version for row in rows],
        "outcome": [strings(row.outcome) for row in rows],
        "stop": [strings(row.stop_reason) for row in rows],
        "reward": [None if row.reward is None else round(row.reward.total, 4) for row in rows],
        "answer": [strings(row.answer) for row in rows],
        "operators": [strings("\t".join(row.operators)) for row in rows],
        "turns": [row.num_turns for row in rows],
        "tokens": [row.num_policy_tokens for row in rows],
        "seconds": [round(row.seconds, 2) for row in rows],
        "cost": [row.cost if row.cost is None else round(row.cost, 6) for row in rows],
    }
