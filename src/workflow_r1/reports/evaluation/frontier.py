"""The picture of accuracy against cost: a panel per benchmark, laid out here, written as SVG and PNG elsewhere.

A panel is a list of lines, dots and texts with their places, for every form of the picture.
"""

import math
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from workflow_r1.evaluation.comparison import CostKind
from workflow_r1.reports.evaluation.record import EvaluationReport

LineKind = Literal["axis", "grid", "bar", "frontier", "leader"]
TextKind = Literal["title", "tick", "axis", "name", "strong"]

Anchor = Literal["start", "middle", "end"]

WIDTH, HEIGHT = 560.0, 400.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 16.0, 40.0, 46.0
SIZES: dict[TextKind, float] = {"title": 14.0, "tick": 10.5, "axis": 11.0, "name": 11.0, "strong": 11.0}
"""Heights of letters, in px."""

RADIUS = 4.0
"""Radius of a dot."""

LOG_FROM = 8.0
"""The costs of a panel are drawn by their logarithm where the largest is so many times the smallest, or more."""

MOST_TICKS = 7
"""Most numbers along an axis."""

MAX_NAME = 30
"""Longest name in a panel."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line through points."""

    points: tuple[tuple[float, float], ...]
    kind: LineKind


@dataclass(frozen=True, slots=True)
class Dot:
    """A method."""

    x: float
    y: float
    filled: bool


@dataclass(frozen=True, slots=True)
class Text:
    """A text; ``y`` is where its letters stand."""

    x: float
    y: float
    text: str
    kind: TextKind
    anchor: Anchor = "start"
    upright: bool = True


@dataclass(frozen=True, slots=True)
class Panel:
    """A picture of one benchmark, in px from its upper left corner."""

    title: str
    """Name of the benchmark."""
    description: str
    """The picture in words, for those who cannot see it."""
    marks: tuple[Line | Dot | Text, ...]
    """Marks in the order in which they are drawn."""
    width: float = WIDTH
    height: float = HEIGHT


@dataclass(frozen=True, slots=True, order=True)
class _Point:
    method: str
    cost: float
    score: float
    low: float
    high: float
    on_frontier: bool
    is_ceiling: bool


def make_panels(report: EvaluationReport, kind: CostKind, *, cost_name: str, score_name: str) -> tuple[Panel, ...]:
    """Lay out one panel for each benchmark that has a method whose cost and score are known.

    Args:
        report: the report to draw.
        kind: kind of the cost.
        cost_name: name of the cost.
        score_name: name of the score.
    """
    frontiers = {each.benchmark: each for each in report.comparison.frontiers if each.cost == kind}
    panels = []
    for benchmark in report.benchmarks:
        points = []
        for row in report.comparison.figures:
            score, cost = getattr(row, report.comparison.figure), getattr(row, kind)
            if row.benchmark == benchmark and score is not None and cost is not None:
                on = row.method in frontiers[benchmark].methods
                points.append(
                    _Point(
                        row.method, cost, score.estimate, max(0.0, score.low), min(1.0, score.high), on,
                        row.method in report.ceilings,
                    )
                )  # fmt: skip
        if points:
            panels.append(_lay_out(benchmark, points, cost_name=cost_name, score_name=score_name))
    return tuple(panels)


def text_width(text: str, kind: TextKind) -> float:
    """Return the largest width of a text, in px, in the fonts that such pictures are shown with."""
    per_letter = SIZES[kind] * (0.7 if kind in ("strong", "title") else 0.64)
    return sum(per_letter * (1.7 if unicodedata.east_asian_width(letter) in "WF" else 1.0) for letter in text)


# -------------------------------------------------------------------------------------------------------------- layout


def _lay_out(title: str, points: Sequence[_Point], *, cost_name: str, score_name: str) -> Panel:
    x_of, x_ticks, by_log = _cost_axis([point.cost for point in points])
    y_of, y_ticks = _score_axis(points)
    bottom = HEIGHT - BOTTOM
    marks: list[Line | Dot | Text] = [Text(LEFT, 20, _cut(title), "title")]
    for value, label in y_ticks:
        y = y_of(value)
        marks += [Line(((LEFT, y), (WIDTH - RIGHT, y)), "grid"), Text(LEFT - 6, y + 3.5, label, "tick", "end")]
    for value, label in x_ticks:
        x = x_of(value)
        marks += [Line(((x, bottom), (x, bottom + 4)), "axis"), Text(x, bottom + 16, label, "tick", "middle")]
    marks += [
        Line(((LEFT, bottom), (WIDTH - RIGHT, bottom)), "axis"),
        Text(
            (LEFT + WIDTH - RIGHT) / 2,
            HEIGHT - 10,
            f"{cost_name} per answer{' (log)' if by_log else ''}",
            "axis",
            "middle",
        ),
        Text(14, (TOP + bottom) / 2, score_name, "axis", "middle", upright=False),
    ]
    # Methods of equal cost would hide each other's bars.
    places = _spread([(x_of(point.cost), y_of(point.score)) for point in points])
    stairs: list[tuple[float, float]] = []
    for (x, y), _ in sorted((place, point) for place, point in zip(places, points, strict=True) if point.on_frontier):
        if stairs:
            stairs.append((x, stairs[-1][1]))
        stairs.append((x, y))
    if len(stairs) > 1:
        marks.append(Line(tuple(stairs), "frontier"))
    bars = [(x, y_of(point.low), y_of(point.high)) for (x, _), point in zip(places, points, strict=True)]
    marks += [Line(((x, low), (x, high)), "bar") for x, low, high in bars]
    marks += [Dot(x, y, point.on_frontier) for (x, y), point in zip(places, points, strict=True)]
    names = [_cut(point.method) + (" (ceiling)" if point.is_ceiling else "") for point in points]
    kinds: list[TextKind] = ["strong" if point.on_frontier else "name" for point in points]
    marks += _place_names(names, kinds, _Placing(places, bars, tuple(pairwise(stairs))))
    words = "; ".join(
        f"{_cut(point.method)}: {point.score:.3f} at {point.cost:.4g}{' (on the frontier)' if point.on_frontier else ''}"
        for point in sorted(points, key=lambda point: point.cost)
    )
    return Panel(title=title, description=f"{score_name} by {cost_name} per answer. {words}.", marks=tuple(marks))


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= MAX_NAME else f"{text[: MAX_NAME - 1]}…"


def _cost_axis(costs: Sequence[float]) -> tuple[Callable[[float], float], list[tuple[float, str]], bool]:
    """Place of a cost, ticks with their labels, and True for a logarithmic axis."""
    left, right = LEFT + 18, WIDTH - RIGHT - 18
    positive = [cost for cost in costs if cost > 0]
    largest = max(costs)
    if not positive:
        return (lambda cost: left), [(0.0, "0")], False
    smallest = min(positive)
    if largest / smallest < LOG_FROM:
        top = largest * 1.05
        ticks = [(value, _short(value)) for value in _nice_steps(0.0, top)]
        return (lambda cost: left + (right - left) * cost / top), ticks, False
    # A cost of 0 has no logarithm: it stands by itself at the left.
    start = left + (60.0 if min(costs) == 0 else 0.0)
    low, high = math.log10(smallest), math.log10(largest)
    ticks = [(value, _short(value)) for value in _log_steps(smallest, largest)]
    if min(costs) == 0:
        ticks.insert(0, (0.0, "0"))

    def place(cost: float) -> float:
        return left if cost == 0 else start + (right - start) * (math.log10(cost) - low) / (high - low)

    return place, ticks, True


def _score_axis(points: Sequence[_Point]) -> tuple[Callable[[float], float], list[tuple[float, str]]]:
    low, high = min(point.low for point in points), max(point.high for point in points)
    margin = 0.08 * max(high - low, 0.05)
    low, high = max(0.0, low - margin), min(1.0, high + margin)
    top, bottom = TOP, HEIGHT - BOTTOM
    ticks = [(value, f"{value:.4g}") for value in _nice_steps(low, high)]
    return (lambda score: bottom - (bottom - top) * (score - low) / (high - low)), ticks


def _nice_steps(low: float, high: float) -> list[float]:
    """Round numbers from low to high."""
    exponent = math.floor(math.log10((high - low) / MOST_TICKS))
    for factor in (1, 2, 5, 10, 20):
        step = factor * 10.0**exponent
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first + 1 <= MOST_TICKS:
            break
    return [round(number * step, 12) for number in range(first, last + 1)]


def _log_steps(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        found = [factor * 10.0**decade for decade in decades for factor in factors]
        found = [value for value in found if low * 0.999 <= value <= high * 1.001]
        if len(found) <= MOST_TICKS:
            break
    return found or [low, high]


def _short(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.4g}{letter}"
    return f"{value:.4g}"


def _spread(places: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return places that hide no other one: neighbours at nearly the same spot are moved aside by a few px."""
    gap = 5.0
    moved: list[tuple[float, float]] = []
    for x, y in places:
        for step in range(40):
            aside = x + gap * ((step + 1) // 2) * (1 if step % 2 else -1)
            if all(abs(aside - other) >= gap or abs(y - height) > 60 for other, height in moved):
                break
        moved.append((min(max(aside, LEFT + 4), WIDTH - RIGHT - 4), y))
    return moved


# --------------------------------------------------------------------------------------------------------------- names

Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""

_DIRECTIONS = [(math.cos(angle), math.sin(angle)) for angle in (math.tau * step / 16 for step in range(16))]
_DISTANCES = (9.0, 16.0, 26.0, 40.0, 58.0, 80.0, 108.0, 140.0, 180.0)
_LEADER_FROM = 16.0
"""A name that stands further off than this has a line to its dot."""


@dataclass(slots=True)
class _Placing:
    """Names placed so far."""

    dots: Sequence[tuple[float, float]]
    bars: Sequence[tuple[float, float, float]]
    stairs: Sequence[tuple[tuple[float, float], tuple[float, float]]]
    boxes: list[Box] = field(default_factory=list)
    leaders: list[tuple[float, float, float, float]] = field(default_factory=list)
    penalty: float = 0.0

    def price(self, box: Box, own: tuple[float, float], leader: tuple[float, float, float, float] | None) -> float:
        """Badness of a place: names and dots must stay readable, bars should."""
        left, top, right, bottom = box
        price = 0.0
        if left < LEFT or right > WIDTH - 2 or top < TOP - 14 or bottom > HEIGHT - BOTTOM:
            price += 1e6
        price += sum(1e4 + 100 * _shared(box, other) for other in self.boxes if _shared(box, other) > 0)
        price += sum(
            2e3 for x, y in self.dots if left - RADIUS < x < right + RADIUS and top - RADIUS < y < bottom + RADIUS
        )
        # A name beside another dot would be taken for that one's.
        price += sum(
            40 for x, y in self.dots if (x, y) != own and left - 9 < x < right + 9 and top - 7 < y < bottom + 7
        )
        price += sum(60 for (x1, y1), (x2, y2) in self.stairs if _crosses((x1, y1, x2, y2), box))
        price += sum(12 for x, low, high in self.bars if left < x < right and high < bottom and low > top)
        price += sum(400 for line in self.leaders if _crosses(line, box))
        if leader is not None:
            price += 8 + sum(400 for other in self.boxes if _crosses(leader, other))
        return price


def _place_names(names: Sequence[str], kinds: Sequence[TextKind], empty: _Placing) -> list[Line | Text]:
    """Give each name the free place nearest to its dot; of a few orders, the one that works best."""
    numbers, dots = range(len(names)), empty.dots
    orders = [
        sorted(numbers, key=lambda number: dots[number][1]),
        sorted(numbers, key=lambda number: -dots[number][1]),
        sorted(numbers, key=lambda number: dots[number][0]),
        sorted(numbers, key=lambda number: -dots[number][0]),
        sorted(numbers, key=lambda number: -text_width(names[number], kinds[number])),
    ]
    best, marks = math.inf, list[Line | Text]()
    for order in orders:
        placing, found = _Placing(empty.dots, empty.bars, empty.stairs), list[Line | Text]()
        for number in order:
            found += _place_name(names[number], kinds[number], dots[number], placing)
        if placing.penalty < best:
            best, marks = placing.penalty, found
    # Lines first, so that they lie under the names.
    return sorted(marks, key=lambda mark: isinstance(mark, Text))


def _place_name(name: str, kind: TextKind, dot: tuple[float, float], placing: _Placing) -> list[Line | Text]:
    width, height = text_width(name, kind), SIZES[kind]
    best, chosen = math.inf, None
    for distance in _DISTANCES:
        if distance >= best:
            break
        for across, down in _DIRECTIONS:
            x, y = dot[0] + across * distance, dot[1] + down * distance
            anchor: Anchor = "start" if across > 0.3 else "end" if across < -0.3 else "middle"
            left = x - width * {"start": 0.0, "middle": 0.5, "end": 1.0}[anchor]
            box = (left, y - height / 2 - 1, left + width, y + height / 2 + 1)
            leader = (*dot, x, y) if distance > _LEADER_FROM else None
            price = distance + 3 * abs(down) + placing.price(box, dot, leader)
            if price < best:
                best, chosen = price, (box, leader, anchor, x)
    assert chosen is not None
    box, leader, anchor, x = chosen
    placing.boxes.append(box)
    placing.penalty += best
    marks: list[Line | Text] = [Text(x, (box[1] + box[3]) / 2 + 0.35 * height, name, kind, anchor)]
    if leader is not None:
        placing.leaders.append(leader)
        marks.append(Line(((leader[0], leader[1]), (leader[2], leader[3])), "leader"))
    return marks


def _shared(one: Box, other: Box) -> float:
    """Area that two boxes share."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return width * height if width > 0 and height > 0 else 0.0


def _crosses(line: tuple[float, float, float, float], box: Box) -> bool:
    x1, y1, x2, y2 = line
    along = ((x1 + (x2 - x1) * step / 12, y1 + (y2 - y1) * step / 12) for step in range(1, 12))
    return any(box[0] < x < box[2] and box[1] < y < box[3] for x, y in along)
