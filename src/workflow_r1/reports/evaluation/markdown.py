"""A document as Markdown."""

import re
from collections.abc import Iterator, Sequence

from workflow_r1.printable import printable
from workflow_r1.reports.evaluation.blocks import Block, Document, Grid, Paragraph, Pictures, Points
from workflow_r1.reports.summary import escape_markdown, markdown_table


def write_markdown(document: Document, *, pictures: Sequence[str]) -> str:
    """Put a document into Markdown.

    Args:
        document: the report.
        pictures: names of the frontier's pictures beside the file; the first is shown.
    """
    parts = [f"# {_text(document.title)}"]
    if document.simulation:
        parts.append(f"> **{_text(document.simulation)}**")
    for section in document.sections:
        parts.append(f"## {_text(section.title)}")
        for block in section.blocks:
            parts += _write(block, pictures)
    return "\n\n".join(parts) + "\n"


def _write(block: Block, pictures: Sequence[str]) -> Iterator[str]:
    if isinstance(block, Paragraph):
        yield _text(block.text)
    elif isinstance(block, Points):
        yield "\n".join(f"* {_text(text)}" for text in block.texts)
    elif isinstance(block, Grid):
        yield f"**{_text(block.caption)}**"
        rows = [
            [f"**{_text(cell)}**" if (row, column) in block.best else _text(cell) for column, cell in enumerate(cells)]
            for row, cells in enumerate(block.rows)
        ]
        yield markdown_table([_text(name) for name in block.header], rows)
    elif isinstance(block, Pictures):
        yield from (f"![Accuracy and cost]({name})" for name in pictures[:1])
    else:
        yield f"**{_text(block.title)}**"
        for title, texts in block.entries:
            lines = [f"* {_text(title)}", *(f"  * {name}: {_text(text) or '(nothing)'}" for name, text in texts)]
            yield "\n".join(lines)


def _text(text: str) -> str:
    """Return any text as one line; a start that Markdown takes for a list, heading or rule is escaped, too."""
    return _BLOCK.sub(r"\\\g<0>", escape_markdown(printable(text)))


_BLOCK = re.compile(r"^[#+=-](?=[^\d])")
"""Not before a digit: a number with its sign starts nothing."""
