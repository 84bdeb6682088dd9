"""The parts of a report: words, tables, pictures and quotes, which Markdown, HTML and the terminal show each in its own way.

Every text here is plain text, much of it from outside. Each writer of a document makes it harmless for its form.
"""

from dataclasses import dataclass

from workflow_r1.reports.evaluation.frontier import Panel


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A few sentences."""

    text: str


@dataclass(frozen=True, slots=True)
class Points:
    """Sentences of one kind, a point each."""

    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Grid:
    """A table. The first cell of a row names it."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    best: frozenset[tuple[int, int]] = frozenset()
    """Cells, by row and column, that stand out."""
    num_names: int = 1
    """Number of first columns that hold names, not figures."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """The accuracy-cost frontier of each benchmark."""

    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Quotes:
    """Answers of one kind: a title each, and texts by name."""

    title: str
    entries: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]


Block = Paragraph | Points | Grid | Pictures | Quotes


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a document under its heading."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """A whole report."""

    title: str
    simulation: str | None
    """The mark of a simulation, where it is one."""
    sections: tuple[Section, ...]
