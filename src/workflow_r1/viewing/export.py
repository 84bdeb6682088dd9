"""Some runs as one HTML file to send to somebody: the same page, with its data in it."""

import base64
import gzip
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from workflow_r1.trajectory.index import IndexRow
from workflow_r1.trajectory.storage import write_atomically
from workflow_r1.viewing.comparison import usual_sides
from workflow_r1.viewing.page import write_page
from workflow_r1.viewing.reading import Reading
from workflow_r1.viewing.rows import as_columns
from workflow_r1.viewing.source import Json, Source

BLOCK = 25
"""Trajectories that are packed together, and unpacked together when one is looked at."""

MAX_TRAJECTORIES = 1000
"""Trajectories in a file, unless it is asked for more."""

Place = tuple[int, int]


def export_page(reading: Reading, path: Path, *, limit: int = MAX_TRAJECTORIES) -> int:
    """Write the page with its data as one file.

    Curves, tables and comparisons are those of all trajectories; of the trajectories themselves some are in the file
    where there are more than ``limit``: those that the tables point to, then whole groups, spread over the run.

    Args:
        reading: the runs.
        path: the file, replaced where there is one.
        limit: most trajectories of each run.

    Returns:
        Number of the trajectories in the file.
    """
    state = reading.state()
    sides = usual_sides(reading.sources)
    compared = [sides, *([sides[0], side] for side in sides[1:])] if len(sides) > 2 else [sides]
    comparisons = {" ".join(pair): reading.compare(pair) for pair in compared if len(pair) > 1}
    sources, total = [], 0
    for number, source in enumerate(reading.sources):
        chosen = _choose(source, _pointed_at(reading, number, comparisons), limit)
        total += len(chosen)
        sources.append(_pack(reading, number, chosen))
        state[number] |= {"rows": sources[-1]["rows"]["totals"], "live": False}
        _renumber(comparisons, number, chosen)
    data = {"state": state, "sources": sources, "comparisons": comparisons}
    write_atomically(path, write_page(", ".join(each["title"] for each in state), data))
    return total


def _pointed_at(reading: Reading, number: int, comparisons: dict[str, Json]) -> Iterator[Place]:
    """Places of the trajectories that tables of the page lead to, the most telling first."""
    summary, source = reading.summary(number), reading.sources[number]
    ids = [id for pair in summary["pairs"] for id in (pair["before"], pair["after"])]
    ids += [workflow["example"] for part in summary["atlas"]["parts"] for workflow in part["workflows"]]
    places = {row.id: (file, place) for file, place, row in _all_rows(source)}
    yield from (places[id] for id in ids if id in places)
    for comparison in comparisons.values():
        for question in comparison["questions"][:100]:
            for side, cell in zip(comparison["sides"], question["cells"], strict=True):
                if cell is not None and side["source"] == number:
                    yield cell["place"][0], cell["place"][1]


def _all_rows(source: Source) -> Iterator[tuple[int, int, IndexRow]]:
    for file, each in enumerate(source.files):
        for place, row in enumerate(each.index.rows):
            yield file, place, row


def _choose(source: Source, wanted: Iterator[Place], limit: int) -> list[Place]:
    """Choose at most so many trajectories: all; or the wanted ones, at most half, and whole groups from all over the run."""
    groups: dict[str, list[Place]] = {}
    for file, place, row in _all_rows(source):
        groups.setdefault(row.group_id, []).append((file, place))
    total = sum(map(len, groups.values()))
    if total <= limit:
        return sorted(itertools.chain(*groups.values()))
    chosen = set(itertools.islice(dict.fromkeys(wanted), limit // 2))
    ordered = list(groups.values())
    # Every second group, then every fourth of the rest, and so on: wherever it ends, the run is covered evenly.
    stride = 1 << (len(ordered) - 1).bit_length()
    seen: set[int] = set()
    while stride:
        for at in range(0, len(ordered), stride):
            if at not in seen:
                seen.add(at)
                new = [place for place in ordered[at] if place not in chosen]
                if len(chosen) + len(new) > limit:
                    return sorted(chosen)
                chosen.update(new)
        stride //= 2
    return sorted(chosen)


def _pack(reading: Reading, number: int, chosen: Sequence[Place]) -> Json:
    source = reading.sources[number]
    by_file = [[place for file, place in chosen if file == each] for each in range(len(source.files))]
    rows = [
        (file, 0, [source.files[file].index.rows[place] for place in places])
        for file, places in enumerate(by_file)
        if places
    ]
    effects: list[Json | list[object]] = []
    blocks: list[str] = []
    for first in range(0, len(chosen), BLOCK):
        part = reading.trajectories(number, chosen[first : first + BLOCK])
        blocks.append(base64.b64encode(gzip.compress(json.dumps(part, default=str).encode(), mtime=0)).decode())
        for (file, place), one in zip(chosen[first : first + BLOCK], part, strict=True):
            calls = [call for turn in one.get("turns", ()) for call in turn["calls"] if call["effect"] is not None]
            if calls:
                at = by_file[file].index(place)
                effects.append([file, at, [[call["operator"], call["effect"], call["right_after"]] for call in calls]])
    totals = [len(places) for places in by_file]
    summary = dict(reading.summary(number))
    num_all = sum(len(file.index.rows) for file in source.files)
    if num_all > len(chosen):
        told = f"{len(chosen):,} of {num_all:,} trajectories are in this file; curves, atlas and comparisons are of all"
        summary["problems"] = [told, *summary["problems"]]
    return {
        "summary": summary | {"live": False},
        "rows": as_columns(source, rows, totals),
        "offsets": list(itertools.accumulate(totals, initial=0))[:-1],
        "size": BLOCK,
        "blocks": blocks,
        "effects": effects,
    }


def _renumber(comparisons: dict[str, Json], number: int, chosen: Sequence[Place]) -> None:
    """Have comparisons point to the places in the file; to nowhere where a trajectory is not in it."""
    places: dict[Place, list[int]] = {}
    counts: dict[int, int] = {}
    for file, place in chosen:
        places[file, place] = [file, counts.get(file, 0)]
        counts[file] = counts.get(file, 0) + 1
    for comparison in comparisons.values():
        for question in comparison["questions"]:
            for side, cell in zip(comparison["sides"], question["cells"], strict=True):
                if cell is not None and side["source"] == number:
                    cell["place"] = places.get((cell["place"][0], cell["place"][1]))
