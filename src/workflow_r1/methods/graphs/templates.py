"""Templates of arguments: text with references to the question and to the results of other nodes.

    {question}       the question
    {name}           the result of the node of that name
    {name.text}      everything that its operator returned, reasoning included
    {name.answers}   each of its answers, where there are several: a value of a list argument, alone
    {{  }}           a brace

Filled-in text is never read as a template itself.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

QUESTION = "question"
"""Name of a reference to the question."""

Part = Literal["result", "text", "answers"]
"""Part of a node to which a reference leads."""

_PIECE = re.compile(r"\{\{|\}\}|\{(?P<name>[a-z][a-z0-9_]*)(?:\.(?P<part>text|answers))?\}|[{}]|[^{}]+")
"""Tells every character of a text to one piece; linear."""


@dataclass(frozen=True, slots=True)
class Reference:
    """One ``{...}`` of a template."""

    name: str
    """Name of a node, or ``question``."""
    part: Part = "result"
    """Part of the node."""

    def __str__(self) -> str:
        return f"{{{self.name}}}" if self.part == "result" else f"{{{self.name}.{self.part}}}"


def read_template(template: str) -> list[str | Reference]:
    """Part a template into texts and references.

    Raises:
        ValueError: a brace opens or closes no reference.
    """
    return list(_pieces(template))


def references(template: str) -> list[Reference]:
    """The references of a template that can be read, in order."""
    return [piece for piece in _pieces(template) if isinstance(piece, Reference)]


def _pieces(template: str) -> Iterator[str | Reference]:
    for match in _PIECE.finditer(template):
        piece = match.group()
        if match["name"]:
            yield Reference(match["name"], match["part"] or "result")  # type: ignore[arg-type]
        elif piece in ("{{", "}}"):
            yield piece[0]
        elif piece in "{}":
            around = template[max(0, match.start() - 10) : match.end() + 20]
            raise ValueError(
                f"a brace that belongs to no reference, near {around!r}: write {{question}}, {{name}}, {{name.text}} or "
                "{name.answers} with the name of a node in small letters, and {{ or }} for a brace"
            )
        else:
            yield piece
