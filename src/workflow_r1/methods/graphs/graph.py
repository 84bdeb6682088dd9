"""The record of a workflow graph. One that exists has sound references, no cycle, and no node for nothing."""

import hashlib
import json
from collections.abc import Iterator
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from workflow_r1.methods.graphs.templates import QUESTION, Reference, read_template, references
from workflow_r1.nearest import did_you_mean
from workflow_r1.trajectory.records import Record

MAX_NODES = 32
"""Most nodes of any graph."""

MAX_DEPTH = 16
"""Nodes of the longest chain, in any graph."""

MAX_CHARS = 8192
"""Longest template, in characters."""

Template = Annotated[str, StringConstraints(max_length=MAX_CHARS)]
"""A text with references; see ``templates``."""


class Node(Record):
    """One call of an operator."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")
    """Name in references: small letters, digits and underscores."""
    operator: str
    """Name of the operator, as in the pool."""
    arguments: dict[str, Template | tuple[Template, ...]] = Field(min_length=1)
    """Template by name of the argument, or several where the argument takes several values."""

    def templates(self) -> Iterator[str]:
        """Every template, in order."""
        for value in self.arguments.values():
            yield from (value,) if isinstance(value, str) else value

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the nodes whose results it uses, each once."""
        found = (reference.name for template in self.templates() for reference in references(template))
        return tuple(dict.fromkeys(name for name in found if name != QUESTION))


class WorkflowGraph(Record):
    """A workflow: calls of operators that use the question and one another's results, and the answer made of them."""

    schema_version: Literal[1] = 1
    """Version of this form."""
    description: Annotated[str, StringConstraints(max_length=MAX_CHARS)] = ""
    """Description of the workflow, for people."""
    nodes: tuple[Node, ...] = Field(min_length=1, max_length=MAX_NODES)
    """Nodes in any order."""
    output: Template
    """Template of the answer, usually one reference: ``{pick}``."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems = list(_find_problems(self))
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @cached_property
    def waves(self) -> tuple[tuple[Node, ...], ...]:
        """The nodes in the order in which they run: those of one wave need nothing but earlier ones, and run side by side."""
        return tuple(tuple(wave) for wave in _waves(self.nodes))

    @property
    def depth(self) -> int:
        """Nodes of the longest chain."""
        return len(self.waves)

    @cached_property
    def fingerprint(self) -> str:
        """Equal for graphs that do the same; names and order of their nodes do not matter."""
        of_node: dict[str, str] = {}

        def spell(template: str) -> list[Any]:
            return [
                [of_node.get(piece.name, piece.name), piece.part] if isinstance(piece, Reference) else piece
                for piece in read_template(template)
            ]

        for node in (node for wave in self.waves for node in wave):
            arguments = {
                name: spell(value) if isinstance(value, str) else [spell(template) for template in value]
                for name, value in node.arguments.items()
            }
            of_node[node.name] = _digest([node.operator, arguments])
        return _digest([sorted(of_node.values()), spell(self.output)])

    def to_json(self) -> str:
        """Return the text of the graph's file."""
        return json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"


def _digest(value: object) -> str:
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=8).hexdigest()


def _waves(nodes: tuple[Node, ...]) -> list[list[Node]]:
    """Order the nodes; those on a cycle, or behind one, are left out."""
    done: set[str] = set()
    waves: list[list[Node]] = []
    left = list(nodes)
    while wave := [node for node in left if done.issuperset(node.needs)]:
        waves.append(wave)
        done |= {node.name for node in wave}
        left = [node for node in left if node.name not in done]
    return waves


def _find_problems(graph: WorkflowGraph) -> Iterator[str]:
    """Return the mistakes of a graph in itself, for any pool of operators."""
    names = [node.name for node in graph.nodes]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        yield f"nodes: expected names that differ, received {', '.join(repeated)} more than once; rename one"
    if QUESTION in names:
        yield f"nodes: {QUESTION} stands for the question; give that node another name"
    broken = False
    used: list[str] = []
    places = [(f"node {node.name}", template) for node in graph.nodes for template in node.templates()]
    for place, template in [*places, ("output", graph.output)]:
        try:
            found = [piece for piece in read_template(template) if isinstance(piece, Reference)]
        except ValueError as error:
            yield f"{place}: {error}"
            broken = True
            continue
        used += [reference.name for reference in found]
        for reference in found:
            if reference.name == QUESTION and reference.part != "result":
                yield f"{place}: received {reference}; the question has no parts, write {{{QUESTION}}}"
            elif reference.name not in (QUESTION, *names):
                hint = did_you_mean(f"{{{reference.name}}}", [f"{{{name}}}" for name in (QUESTION, *names)])
                yield (
                    f"{place}: {reference} names no node; expected one of "
                    f"{', '.join(f'{{{name}}}' for name in (QUESTION, *names))}{hint}"
                )
    if broken or repeated:
        return  # The next checks need sound references.
    if not graph.output.strip():
        yield "output: expected a template of the answer such as {last}, received nothing"
    for node in graph.nodes:
        if node.name not in used:
            yield f"node {node.name}: nothing uses its result; refer to {{{node.name}}}, or leave the node out"
    waves = _waves(graph.nodes)
    ordered = {node.name for wave in waves for node in wave}
    known = {QUESTION, *names}
    on_cycle = [node.name for node in graph.nodes if node.name not in ordered and known.issuperset(node.needs)]
    if on_cycle:
        yield f"nodes: expected no cycle, received one among or before {', '.join(on_cycle)}; let one of them do without another"
    if len(waves) > MAX_DEPTH:
        yield f"nodes: expected chains of at most {MAX_DEPTH} nodes, received one of {len(waves)}; shorten it"
