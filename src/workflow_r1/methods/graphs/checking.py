"""Reads a graph and holds it to a pool of operators. All mistakes are reported together, each with its fix."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from workflow_r1.errors import DataError
from workflow_r1.methods.graphs.graph import Node, WorkflowGraph
from workflow_r1.methods.graphs.templates import Reference, read_template
from workflow_r1.nearest import did_you_mean
from workflow_r1.operators import Argument, Operator
from workflow_r1.operators.results import SEVERAL_ANSWERS

MAX_BYTES = 2**20
"""Longest file or reply that is read as a graph."""

MAX_PROBLEMS = 12
"""Most mistakes that one message reports."""


def read_graph(text: str, operators: Mapping[str, Operator]) -> WorkflowGraph:
    """Read a graph from JSON.

    Args:
        text: one JSON object; any string.
        operators: the pool.

    Raises:
        DataError: the text is not such a graph; the message says what to write instead.
    """
    if len(text) > MAX_BYTES:
        raise DataError(f"expected a graph of at most {MAX_BYTES:,} characters, received {len(text):,}")
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"expected one JSON object, received text that is not JSON ({error})") from None
    return make_graph(row, operators)


def make_graph(row: object, operators: Mapping[str, Operator]) -> WorkflowGraph:
    """Make a graph of parsed JSON; see :func:`read_graph`."""
    if not isinstance(row, dict):
        raise DataError(f"expected a JSON object with nodes and output, received a {type(row).__name__}")
    try:
        graph = WorkflowGraph.model_validate(row)
    except ValidationError as error:
        _refuse(list(dict.fromkeys(_explain(error, row))))
    problems = check_graph(graph, operators)
    if problems:
        _refuse(problems)
    return graph


def load_graph(path: Path, operators: Mapping[str, Operator]) -> WorkflowGraph:
    """Read a graph from a file.

    Raises:
        DataError: there is no such file, or it holds no such graph.
    """
    if not path.is_file():
        raise DataError(
            f"expected a workflow graph in JSON, found {'a folder' if path.is_dir() else 'nothing'} at {path}"
        )
    if path.stat().st_size > 4 * MAX_BYTES:
        raise DataError(f"{path}: expected a workflow graph, found a file of {path.stat().st_size:,} bytes")
    try:
        return read_graph(path.read_text(encoding="utf-8-sig"), operators)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected UTF-8 text, found byte {error.object[error.start]:#04x}") from None
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def check_graph(graph: WorkflowGraph, operators: Mapping[str, Operator]) -> list[str]:
    """Return the mistakes of a graph for a pool of operators, each with its fix; empty where all fits."""
    return [problem for node in graph.nodes for problem in _check_node(node, graph, operators)] + [
        f"output: {problem}" for problem in _check_parts(graph.output, graph, as_value=False)
    ]


def graph_schema() -> dict[str, Any]:
    """The JSON schema of a graph, for editors and for LLMs that are held to one."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **WorkflowGraph.model_json_schema()}


def _check_node(node: Node, graph: WorkflowGraph, operators: Mapping[str, Operator]) -> Iterator[str]:
    place = f"node {node.name}"
    operator = operators.get(node.operator)
    if operator is None:
        hint = did_you_mean(node.operator, operators)
        yield f"{place}: expected an operator among {', '.join(operators)}, received {node.operator!r}{hint}"
        return
    expected = {argument.name: argument for argument in operator.arguments}
    for name in node.arguments:
        if name not in expected:
            hint = did_you_mean(name, expected)
            yield f"{place}: {node.operator} takes {', '.join(expected)}, received {name!r}{hint}"
    for argument in operator.arguments:
        value = node.arguments.get(argument.name)
        if value is None:
            if not argument.is_optional:
                yield f"{place}: {node.operator} needs {argument.name!r}; write {_example(argument)}"
            continue
        for problem in _check_value(value, argument, graph):
            yield f"{place}: {argument.name}: {problem}"


def _check_value(value: str | tuple[str, ...], argument: Argument, graph: WorkflowGraph) -> Iterator[str]:
    if argument.is_list != isinstance(value, tuple):
        form = "a list of templates" if argument.is_list else "one template, no list"
        yield f"expected {form}; write {_example(argument)}"
        return
    if isinstance(value, str):
        yield from _check_template(value, argument, graph, as_value=False)
        return
    for template in value:
        yield from _check_template(template, argument, graph, as_value=True)
    several = any(piece.part == "answers" for template in value for piece in _references(template))
    if len(value) < 2 and not several:
        yield f"expected two or more values, received {len(value)}; write {_example(argument)}"


def _check_template(template: str, argument: Argument, graph: WorkflowGraph, *, as_value: bool) -> Iterator[str]:
    found = _references(template)
    if not found:
        try:
            if not template.strip():
                raise ValueError
            argument.read("".join(piece for piece in read_template(template) if isinstance(piece, str)).strip())
        except ValueError:
            yield f"expected {argument.expected}, received {template!r}"
    elif not argument.expected.startswith("a text"):
        yield f"expected {argument.expected}, written out; a reference gives any text"
    yield from _check_parts(template, graph, as_value=as_value)


def _check_parts(template: str, graph: WorkflowGraph, *, as_value: bool) -> Iterator[str]:
    """Hold references to several answers to where there are any, and to where they can stand."""
    operators = {node.name: node.operator for node in graph.nodes}
    for reference in _references(template):
        if reference.part != "answers":
            continue
        if operators[reference.name] != SEVERAL_ANSWERS:
            yield f"{reference}: only {SEVERAL_ANSWERS} gives several answers; write {{{reference.name}}}"
        elif not as_value or template.strip() != str(reference):
            yield f"{reference} can only be a value of a list, alone; write {{{reference.name}}} for all of it as one text"


def _references(template: str) -> list[Reference]:
    return [piece for piece in read_template(template) if isinstance(piece, Reference)]


def _example(argument: Argument) -> str:
    content = "{question}" if argument.expected.startswith("a text") else argument.expected
    value = ["{first}", "{second}"] if argument.is_list else content
    return json.dumps({argument.name: value})[1:-1]


def _explain(error: ValidationError, row: Mapping[str, Any]) -> Iterator[str]:
    for detail in error.errors(include_url=False):
        location = [part for part in detail["loc"] if part not in ("constrained-str", "tuple[constrained-str, ...]")]
        place = ".".join(str(part) for part in location)
        if detail["type"] == "value_error":
            yield detail["msg"].removeprefix("Value error, ")
        elif detail["type"] == "extra_forbidden":
            known = Node.model_fields if len(location) > 1 else WorkflowGraph.model_fields
            yield f"{place}: no such key; expected {', '.join(known)}{did_you_mean(str(location[-1]), known)}"
        elif detail["type"] == "missing":
            yield f"{place}: expected a value, received none"
        else:
            received = json.dumps(detail["input"], default=str, ensure_ascii=True)[:80]
            yield f"{place}: {detail['msg']}, received {received}"


def _refuse(problems: list[str]) -> Any:
    told = problems[:MAX_PROBLEMS]
    more = [f"and {len(problems) - len(told)} more problems"] if len(problems) > len(told) else []
    raise DataError("the workflow graph cannot be used:\n" + "\n".join(f"- {each}" for each in [*told, *more]))
