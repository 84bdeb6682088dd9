"""Drawings of workflows: as Mermaid for viewers of Markdown, and as SVG that needs nothing.

Texts in them may come from anywhere: in Mermaid only letters, digits and a few signs are left of them, in SVG they are escaped.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from workflow_r1.printable import printable
from workflow_r1.workflows.flow import Flow

WIDTH, HEIGHT, LANE, GAP_X, GAP_Y, MARGIN = 168, 46, 2, 64, 18, 16
"""Size of a node, height of a lane, gaps between them and margin, in px."""

MAX_LABEL = 24
"""Longest line of a node, in characters."""

_STYLE = """
svg{--paper:#fff;--ink:#1f2430;--muted:#5b6472;--line:#9aa3b2;--good:#15803d;--bad:#b91c1c;--warn:#b45309}
@media(prefers-color-scheme:dark){svg{--paper:#14171c;--ink:#e6e8ec;--muted:#a3acba;--line:#6b7585;--good:#4ade80;--bad:#f87171;--warn:#fbbf24}}
.paper{fill:var(--paper)}.box{fill:var(--paper);stroke:var(--line);stroke-width:1.5}.name{fill:var(--ink);font-size:13px}
.note{fill:var(--muted);font-size:11px}.edge{fill:none;stroke:var(--line);stroke-width:1.5}.order{stroke-dasharray:4 4}
.head{fill:var(--line)}.right .box{stroke:var(--good)}.wrong .box,.invalid .box,.malformed .box{stroke:var(--bad)}
.no_answer .box,.out_of_budget .box{stroke:var(--bad)}.failed .box,.unanswered .box{stroke:var(--warn)}
"""


@dataclass(frozen=True, slots=True)
class Box:
    """A node of a drawing."""

    id: str
    """Unique in the drawing: letters, digits, hyphens and underscores."""
    label: str
    """First line."""
    note: str = ""
    """Second, smaller line."""
    state: str = ""
    """State that colours it: an outcome, ``invalid``, ``malformed`` or ``unanswered``; empty for none."""
    is_round: bool = False
    """True for the question and the answer."""


@dataclass(frozen=True, slots=True)
class Arrow:
    """An edge of a drawing, from an earlier node to a later one."""

    source: str
    """Id of the box that it leaves."""
    target: str
    """Id of the box that it reaches."""
    text: str = ""
    """Words on it."""
    is_order: bool = False
    """True where it stands for order alone."""


def flow_drawing(flow: Flow) -> tuple[list[Box], list[Arrow]]:
    """Return the boxes and arrows of a flow."""
    boxes = [
        Box(
            node.id,
            node.label,
            note=node.id if node.kind == "call" else node.state,
            state="malformed" if node.kind == "malformed" else node.state,
            is_round=node.kind in ("question", "answer"),
        )
        for node in flow.nodes
    ]
    return boxes, [Arrow(edge.source, edge.target, edge.text, edge.kind == "order") for edge in flow.edges]


def as_mermaid(boxes: Sequence[Box], arrows: Sequence[Arrow]) -> str:
    """Draw boxes and arrows as a Mermaid flowchart."""
    lines = ["flowchart LR"]
    for box in boxes:
        label = "<br/>".join(_plain(text) for text in (box.label, box.note) if text)
        opening, closing = ("([", "])") if box.is_round else ("[", "]")
        lines.append(f'    {_mermaid_id(box.id)}{opening}"{label}"{closing}')
    for arrow in arrows:
        line = "-.->" if arrow.is_order else "-->"
        words = f'|"{_plain(arrow.text)}"|' if _plain(arrow.text) else ""
        lines.append(f"    {_mermaid_id(arrow.source)} {line}{words} {_mermaid_id(arrow.target)}")
    return "\n".join(lines)


def as_svg(boxes: Sequence[Box], arrows: Sequence[Arrow], *, title: str) -> str:
    """Draw boxes and arrows as one SVG file, from left to right, in light or dark as the viewer asks.

    Args:
        boxes: every node, each before those that it leads to.
        arrows: edges between them; their words are shown where the mouse rests.
        title: title of the drawing, for screen readers as well.
    """
    layout = _Layout(boxes, arrows)
    width, height = layout.size
    drawn = [
        *(_arrow(arrow, layout.way(number, arrow)) for number, arrow in enumerate(arrows)),
        *(_box(box, *layout.corner(box.id)) for box in boxes),
    ]
    words = "; ".join(f"{arrow.source} to {arrow.target}{f': {arrow.text}' if arrow.text else ''}" for arrow in arrows)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        'aria-labelledby="t d" font-family="system-ui,-apple-system,\'Segoe UI\',Helvetica,Arial,sans-serif">'
        f'<title id="t">{_escaped(title)}</title><desc id="d">{_escaped(words)}</desc><style>{_STYLE}</style>'
        '<defs><marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path class="head" d="M0 0L8 4L0 8z"/></marker></defs>'
        f'<rect class="paper" width="{width}" height="{height}"/>{"".join(drawn)}</svg>\n'
    )


class _Layout:
    """Columns by the longest way from the left. An arrow over more than one column has a lane of its own in those between.

    Source: the layered drawing of Sugiyama, Tagawa and Toda (1981), with one pass of the barycentre rule.
    """

    def __init__(self, boxes: Sequence[Box], arrows: Sequence[Arrow]) -> None:
        self._column: dict[str, int] = {}
        for box in boxes:
            before = [self._column[arrow.source] for arrow in arrows if arrow.target == box.id]
            self._column[box.id] = max(before, default=-1) + 1
        columns: list[list[tuple[str, str]]] = [[] for _ in range(max(self._column.values(), default=-1) + 1)]
        for box in boxes:
            columns[self._column[box.id]].append((box.id, ""))
        sources: dict[str, list[str]] = {box.id: [] for box in boxes}
        for number, arrow in enumerate(arrows):
            last = arrow.source
            for at in range(self._column[arrow.source] + 1, self._column[arrow.target]):
                lane = _lane(number, at)
                columns[at].append((lane, "lane"))
                sources[lane] = [last]
                last = lane
            sources[arrow.target].append(last)
        self._middle: dict[str, int] = {}
        tallest = max((_height(column) for column in columns), default=0)
        for column in columns:
            column.sort(key=lambda each: _mean([self._middle[source] for source in sources[each[0]]]))
            y = MARGIN + (tallest - _height(column)) // 2
            for id, kind in column:
                height = LANE if kind else HEIGHT
                self._middle[id] = y + height // 2
                y += height + GAP_Y
        self.size = MARGIN * 2 + len(columns) * (WIDTH + GAP_X) - GAP_X, MARGIN * 2 + tallest

    def corner(self, id: str) -> tuple[int, int]:
        """Return the upper left corner of a box."""
        return self._left(self._column[id]), self._middle[id] - HEIGHT // 2

    def way(self, number: int, arrow: Arrow) -> list[tuple[int, int]]:
        """Return the points that an arrow passes: the right of its source, both ends of each lane, the left of its target."""
        first, last = self._column[arrow.source], self._column[arrow.target]
        points = [(self._left(first) + WIDTH, self._middle[arrow.source])]
        for at in range(first + 1, last):
            y = self._middle[_lane(number, at)]
            points += [(self._left(at), y), (self._left(at) + WIDTH, y)]
        return [*points, (self._left(last), self._middle[arrow.target])]

    @staticmethod
    def _left(column: int) -> int:
        return MARGIN + column * (WIDTH + GAP_X)


def _lane(number: int, column: int) -> str:
    # No box has a space in its id.
    return f"lane {number} {column}"


def _height(column: Sequence[tuple[str, str]]) -> int:
    return sum(LANE if kind else HEIGHT for _, kind in column) + GAP_Y * (len(column) - 1)


def _mean(values: Sequence[int]) -> float:
    return sum(values) / len(values) if values else 0.0


def _arrow(arrow: Arrow, points: Sequence[tuple[int, int]]) -> str:
    (x, y), *rest = points
    drawn = f"M{x} {y}"
    for number, (to_x, to_y) in enumerate(rest):
        bend = (to_x - x) // 2
        drawn += f"L{to_x} {to_y}" if number % 2 else f"C{x + bend} {y} {to_x - bend} {to_y} {to_x} {to_y}"
        x, y = to_x, to_y
    kind = "edge order" if arrow.is_order else "edge"
    words = f"<title>{_escaped(arrow.text)}</title>" if arrow.text else ""
    return f'<path class="{kind}" marker-end="url(#head)" d="{drawn}">{words}</path>'


def _box(box: Box, x: int, y: int) -> str:
    corner = HEIGHT // 2 if box.is_round else 6
    middle = x + WIDTH // 2
    lines = [("name", box.label, y + (20 if box.note else 28)), *([("note", box.note, y + 36)] if box.note else [])]
    texts = "".join(
        f'<text class="{kind}" x="{middle}" y="{at}" text-anchor="middle">{_escaped(_short(text))}</text>'
        for kind, text, at in lines
    )
    return (
        f'<g class="{escape(box.state)}"><rect class="box" x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="{corner}"/>'
        f"{texts}</g>"
    )


def _short(text: str) -> str:
    return text if len(text) <= MAX_LABEL else f"{text[: MAX_LABEL - 1]}…"


def _escaped(text: str) -> str:
    return escape(printable(text).replace("\n", " "))


def _plain(text: str) -> str:
    kept = "".join(character if character.isalnum() or character in " _-.,:" else " " for character in text)
    return " ".join(kept.split())


def _mermaid_id(id: str) -> str:
    # A prefix, since "end" and the like are words of Mermaid's.
    return f"n_{id.replace('-', '_')}"
