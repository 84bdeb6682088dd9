import random
from types import SimpleNamespace
from typing import Any

import pytest

from workflow_r1.reports.evaluation import build_report
from workflow_r1.reports.evaluation.frontier import (
    HEIGHT,
    SIZES,
    WIDTH,
    Dot,
    Line,
    Panel,
    Text,
    _cost_axis,
    _lay_out,
    _nice_steps,
    _Point,
    make_panels,
    text_width,
)

NAMES = (
    "direct", "cot", "self-consistency", "medprompt", "medprompt-knn", "react", "expert-workflow", "random", "oracle-choice",
    "aflow", "maas", "policy", "direct+search", "cot+search", "self-consistency+search", "policy+search",
)  # fmt: skip


def lay_out(places: list[tuple[float, float]]) -> Panel:
    points = [
        _Point(name, cost, score, max(0.0, score - 0.04), min(1.0, score + 0.04), number % 3 == 0, False)
        for number, (name, (cost, score)) in enumerate(zip(NAMES, places, strict=False))
    ]
    return _lay_out("nq", points, cost_name="tokens", score_name="exact match")


def boxes(panel: Panel) -> list[tuple[float, float, float, float]]:
    found = []
    for mark in panel.marks:
        if isinstance(mark, Text) and mark.kind in ("name", "strong"):
            left = mark.x - {"start": 0.0, "middle": 0.5, "end": 1.0}[mark.anchor] * text_width(mark.text, mark.kind)
            found.append(
                (
                    left,
                    mark.y - 0.8 * SIZES[mark.kind],
                    left + text_width(mark.text, mark.kind),
                    mark.y + 0.15 * SIZES[mark.kind],
                )
            )
    return found


def overlapping(panel: Panel) -> int:
    found = boxes(panel)
    return sum(
        one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
        for number, one in enumerate(found)
        for other in found[:number]
    )


def test_names_never_cover_each_other() -> None:
    for seed in range(20):
        rng = random.Random(seed)
        places = [(10 ** rng.uniform(2, 4), rng.gauss(0.4, 0.08)) for _ in NAMES]
        panel = lay_out(places)
        assert len(boxes(panel)) == len(NAMES)
        assert overlapping(panel) == 0, seed
        for left, top, right, bottom in boxes(panel):
            assert left >= 0 and right <= WIDTH and top >= 0 and bottom <= HEIGHT


def test_names_of_methods_at_one_spot_are_readable() -> None:
    panel = lay_out([(100.0, 0.4)] * 14)
    assert overlapping(panel) == 0
    dots = [mark for mark in panel.marks if isinstance(mark, Dot)]
    assert len({dot.x for dot in dots}) == 14


def test_an_axis_is_logarithmic_where_costs_are_far_apart() -> None:
    assert not _cost_axis([100.0, 700.0])[2]
    place, ticks, by_log = _cost_axis([100.0, 1000.0, 10_000.0])
    assert by_log
    assert place(1000.0) - place(100.0) == pytest.approx(place(10_000.0) - place(1000.0))
    assert [label for _, label in ticks] == ["100", "200", "500", "1k", "2k", "5k", "10k"]


def test_a_cost_of_nought_stands_left_of_a_logarithmic_axis() -> None:
    place, ticks, by_log = _cost_axis([0.0, 100.0, 10_000.0])
    assert by_log and ticks[0] == (0.0, "0")
    assert place(0.0) + 50 < place(100.0)
    assert _cost_axis([0.0, 0.0])[1] == [(0.0, "0")]


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.31, 0.36), (0.0, 12_345.0), (0.0, 3e-7), (0.9, 1.0)])
def test_steps_are_few_and_within(low: float, high: float) -> None:
    steps = _nice_steps(low, high)
    assert 2 <= len(steps) <= 7
    assert low - 1e-9 <= steps[0] and steps[-1] <= high + 1e-9


def test_the_stairs_lead_through_the_frontier_and_bars_are_the_intervals(write: Any, logs: SimpleNamespace) -> None:
    rows = [
        *logs.rows("cheap", "nq", "1000", calls=1),
        *logs.rows("dear", "nq", "1110", calls=5),
        *logs.rows("wasteful", "nq", "1000", calls=9),
    ]
    report = build_report([write(rows)])
    (panel,) = make_panels(report, "llm_calls", cost_name="LLM calls", score_name="exact match")
    (stairs,) = [mark for mark in panel.marks if isinstance(mark, Line) and mark.kind == "frontier"]
    dots = [mark for mark in panel.marks if isinstance(mark, Dot)]
    assert stairs.points[0] == (dots[0].x, dots[0].y)
    assert stairs.points[-1] == (dots[1].x, dots[1].y)
    assert [dot.filled for dot in dots] == [True, True, False]
    bars = [mark.points for mark in panel.marks if isinstance(mark, Line) and mark.kind == "bar"]
    assert all(low[1] > dot.y > high[1] for (low, high), dot in zip(bars, dots, strict=True))
    assert "dear: 0.750 at 5 (on the frontier)" in panel.description
