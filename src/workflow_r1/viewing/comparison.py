"""Sides beside each other, question by question: runs, spans of a run's steps, methods of an evaluation.

A side is written ``SOURCE``, ``SOURCE@FROM-TO`` for some steps of a run, or ``SOURCE/FILE`` for one method of an
evaluation, all by number. The first side is the one that the others are compared with.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from workflow_r1.errors import DataError
from workflow_r1.evaluation.statistics import Interval, bootstrap_interval, paired_rate_interval, rate_interval
from workflow_r1.reports.comparison.figures import SAMPLED_FIGURES, question_of
from workflow_r1.trajectory.index import IndexRow
from workflow_r1.viewing.source import Json, Source

MAX_QUESTIONS = 400
"""Most questions of the table: those on which the sides differ most."""

NUM_RESAMPLES = 2000
"""Resamples of each bootstrap."""

_SIDE = re.compile(r"(\d{1,4})(?:@(\d{1,9})-(\d{1,9})|/(\d{1,4}))?", re.ASCII)

Place = tuple[int, int]


FIGURES: Mapping[str, Callable[[IndexRow], float | None]] = {
    "right" if name == "success" else name: figure for name, figure in SAMPLED_FIGURES.items()
}
"""Figures of a trajectory, by the names that the pages have for them."""


@dataclass(frozen=True, slots=True)
class Side:
    """One side."""

    label: str
    """Name in tables."""
    source: int
    """Number of its source."""
    rows: Mapping[str, Sequence[tuple[Place, IndexRow]]]
    """Its trajectories by question, infrastructure failures left out."""
    num_failed: int
    """Infrastructure failures."""


def read_side(text: str, sources: Sequence[Source], titles: Sequence[str]) -> Side:
    """Read a side as it is written.

    Raises:
        DataError: it is not written so, or there is no such run.
    """
    found = _SIDE.fullmatch(text)
    if found is None or int(found[1]) >= len(sources):
        raise DataError(
            f"expected a side such as 0, 0@1-10 or 1/0 below {len(sources)} sources, received {text[:50]!r}"
        )
    number = int(found[1])
    source, label = sources[number], titles[number]
    first, last = (int(found[2]), int(found[3])) if found[2] else (None, None)
    if first is not None:
        label = f"{label}, steps {first} to {last}" if first != last else f"{label}, step {first}"
    only = None if found[4] is None else int(found[4])
    rows: dict[str, list[tuple[Place, IndexRow]]] = {}
    num_failed = 0
    with source.lock:
        if only is not None:
            if only >= len(source.files):
                raise DataError(f"expected a file below {len(source.files)} of {label}, received {only}")
            label = source.files[only].label or label
        for file, each in enumerate(source.files):
            if only is not None and file != only:
                continue
            keys = [(row.id, question_of(row)) for row in each.index.rows]
            latest = {key: place for place, key in enumerate(keys)}
            for place, row in enumerate(each.index.rows):
                if latest[keys[place]] != place or (first is not None and not _is_within(row.step, first, last)):
                    continue
                if row.stop_reason.is_infrastructure:
                    num_failed += 1
                else:
                    rows.setdefault(question_of(row), []).append(((file, place), row))
    return Side(label, number, rows, num_failed)


def _is_within(step: int | None, first: int, last: int | None) -> bool:
    return step is not None and first <= step <= (first if last is None else last)


def span_of(source: Source) -> list[int] | None:
    """First and last step of a run; None where its trajectories have none."""
    with source.lock:
        steps = [row.step for file in source.files for row in file.index.rows if row.step is not None]
    return [min(steps), max(steps)] if steps else None


def usual_sides(sources: Sequence[Source]) -> list[str]:
    """The sides that a page compares at first: all sources, or the first and the last third of the only one."""
    if len(sources) > 1:
        return [str(number) for number in range(len(sources))][:6]
    span = span_of(sources[0])
    if span is None or span[0] == span[1]:
        return []
    third = max(0, (span[1] - span[0] + 1) // 3 - 1)
    return [f"0@{span[0]}-{span[0] + third}", f"0@{span[1] - third}-{span[1]}"]


def compare_sides(sides: Sequence[Side]) -> Json:
    """Compare each side with the first.

    Returns:
        ``sides``; ``figures``: by name each side's mean with its interval and its difference from the first side;
        ``questions``: those on which the sides differ most.

    Raises:
        DataError: there are fewer than two sides.
    """
    if len(sides) < 2:
        raise DataError(f"expected at least two sides to compare, received {len(sides)}")
    means = [{name: _means(side, figure) for name, figure in FIGURES.items()} for side in sides]
    figures = []
    for name in FIGURES:
        by_side = [of_side[name] for of_side in means]
        if not any(by_side):
            continue
        intervals = [_interval(values, is_share=name == "right") for values in by_side]
        figures.append(
            {
                "name": name,
                "means": [
                    _as_json(interval) or ({"estimate": min(values.values()), "low": None, "high": None} if values else None)
                    for interval, values in zip(intervals, by_side, strict=True)
                ],
                "differences": [None, *(_difference(by_side[0], other, intervals[0], interval)
                                        for other, interval in zip(by_side[1:], intervals[1:], strict=True))],
            }
        )  # fmt: skip
    return {
        "sides": [
            {
                "label": side.label,
                "source": side.source,
                "num_questions": len(side.rows),
                "num_trajectories": sum(map(len, side.rows.values())),
                "num_failed": side.num_failed,
            }
            for side in sides
        ],
        "num_common": len(set.intersection(*(set(side.rows) for side in sides))),
        "figures": figures,
        "questions": _questions(sides),
    }


def _means(side: Side, figure: Callable[[IndexRow], float | None]) -> dict[str, float]:
    """Mean of a figure for each question that has one."""
    means = {}
    for question, rows in side.rows.items():
        values = [value for _, row in rows if (value := figure(row)) is not None]
        if values:
            means[question] = math.fsum(values) / len(values)
    return means


def _interval(values: Mapping[str, float], *, is_share: bool) -> Interval | None:
    """Mean over questions with its interval; None where there are fewer than two, which tell no width."""
    scores = [*values.values()]
    if len(scores) < 2:
        return None
    if is_share and set(scores) <= {0.0, 1.0}:
        # A bootstrap over answers that are all right, or all wrong, would say that all others are, too.
        return rate_interval(scores=scores)
    return bootstrap_interval(scores=scores, num_resamples=NUM_RESAMPLES)


def _difference(
    first: Mapping[str, float], other: Mapping[str, float], of_first: Interval | None, of_other: Interval | None
) -> Json | None:
    """The other side minus the first: over their common questions, or between their means where there are fewer than two."""
    common = sorted(first.keys() & other.keys())
    if len(common) > 1:
        one, two = (np.array([values[question] for question in common]) for values in (other, first))
        if np.isin(one, (0.0, 1.0)).all() and np.isin(two, (0.0, 1.0)).all():
            interval = paired_rate_interval(first=one, second=two)
        else:
            interval = bootstrap_interval(scores=one - two, num_resamples=NUM_RESAMPLES)
        return {**(_as_json(interval) or {}), "num_common": len(common), "is_paired": True}
    if of_first is None or of_other is None:
        return None
    # Method of variance estimates recovery (Zou and Donner 2008), as in interval_of_mean.
    estimate = of_other.estimate - of_first.estimate
    below = math.hypot(of_other.estimate - of_other.low, of_first.high - of_first.estimate)
    above = math.hypot(of_other.high - of_other.estimate, of_first.estimate - of_first.low)
    return {
        "estimate": estimate, "low": estimate - below, "high": estimate + above,
        "num_common": len(common), "is_paired": False,
    }  # fmt: skip


def _as_json(interval: Interval | None) -> Json | None:
    return None if interval is None else {"estimate": interval.estimate, "low": interval.low, "high": interval.high}


def _questions(sides: Sequence[Side]) -> list[Json]:
    """The questions that at least two sides have, those first on which the sides differ most."""
    shown = []
    for question in {question for side in sides for question in side.rows}:
        held = [side.rows.get(question, ()) for side in sides]
        if sum(bool(rows) for rows in held) < 2:
            continue
        cells = [_cell(rows) for rows in held]
        shares = [cell["right"] / cell["num"] for cell in cells if cell and cell["num"]]
        row = next(rows[0][1] for rows in held if rows)
        spread = max(shares) - min(shares) if shares else 0.0
        shown.append(
            (
                -spread,
                question,
                {"id": row.question_id, "text": row.question, "class": row.question_class, "cells": cells},
            )
        )
    return [entry for _, _, entry in sorted(shown, key=lambda each: each[:2])[:MAX_QUESTIONS]]


def _cell(rows: Sequence[tuple[Place, IndexRow]]) -> Json | None:
    if not rows:
        return None
    scored = [success for _, row in rows if (success := FIGURES["right"](row)) is not None]
    # Shown is a trajectory of the more frequent outcome.
    usual = sum(scored) * 2 > len(scored)
    place, shown = next(((place, row) for place, row in rows if FIGURES["right"](row) == float(usual)), rows[0])
    return {"right": sum(scored), "num": len(scored), "place": list(place), "id": shown.id, "answer": shown.answer}
