"""Carries out a graph: wave after wave, the nodes of one wave side by side.

An empty value is left out. A node that then lacks an argument is not run and has an empty result. A node with a single
value left of several to choose from is not run, and its result is that value. An empty output is not an answer.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager

from workflow_r1.methods.graphs.graph import Node, WorkflowGraph
from workflow_r1.methods.graphs.templates import QUESTION, Reference, read_template
from workflow_r1.methods.workflow import FixedWorkflow, FixedWorkflowSession, Workflow
from workflow_r1.operators import Operator
from workflow_r1.operators.results import Result, read_result
from workflow_r1.prompts import neutralise


class GraphPolicy:
    """A policy that carries out one graph for every question.

    Args:
        graph: fits the operators (``check_graph``).
        operators: the pool.
        name: name in records and reports.
    """

    def __init__(self, graph: WorkflowGraph, operators: Mapping[str, Operator], *, name: str = "graph") -> None:
        self.graph = graph
        self._workflow = FixedWorkflow(name, lambda question, rng: carry_out(graph, operators, question))

    @property
    def name(self) -> str:
        """Name for records and reports."""
        return self._workflow.name

    @asynccontextmanager
    async def session(self, *, seed: int) -> AsyncIterator[FixedWorkflowSession]:
        """Open a session. A graph draws nothing."""
        async with self._workflow.session(seed=seed) as session:
            yield session


def carry_out(graph: WorkflowGraph, operators: Mapping[str, Operator], question: str) -> Workflow:
    """Carry out a graph for one question."""
    results = {QUESTION: Result(text=question, result=question)}
    tags = tuple(
        f"<{slash}{argument.name}>" for each in operators.values() for argument in each.arguments for slash in ("", "/")
    )
    for wave in graph.waves:
        calls: dict[str, str] = {}
        for node in wave:
            call = _call(node, operators[node.operator], results, tags)
            if isinstance(call, Result):
                results[node.name] = call
            else:
                calls[node.name] = call
        if not calls:
            continue
        observations = yield list(calls.values())
        by_name = {node.name: node.operator for node in wave}
        for name, observation in zip(calls, observations, strict=False):
            results[name] = read_result(by_name[name], observation)
    return neutralise(_fill(graph.output, results), tags).strip()


def _call(node: Node, operator: Operator, results: Mapping[str, Result], tags: tuple[str, ...]) -> str | Result:
    """Return the call as a turn holds it, or the result in its place where it is not made."""
    values: list[tuple[str, str]] = []
    for argument in operator.arguments:
        template = node.arguments.get(argument.name)
        if template is None:
            continue
        texts = [_fill(template, results)] if isinstance(template, str) else list(_fill_list(template, results))
        filled = [neutralise(text, tags).strip() for text in texts]
        filled = [text for text in filled if text]
        if not filled and not argument.is_optional:
            return Result()
        if argument.is_list and len(filled) == 1:
            return Result(text=filled[0], result=filled[0])
        values += [(argument.name, text) for text in filled]
    if not values:
        return Result()
    if len(operator.arguments) == 1 and not operator.arguments[0].is_list:
        return f"{operator.name}: {values[0][1]}"
    return f"{operator.name}: " + "".join(f"<{name}>{text}</{name}>" for name, text in values)


def _fill(template: str, results: Mapping[str, Result]) -> str:
    """Fill in a template. Filled-in text is never read as a template itself."""
    pieces = read_template(template)
    return "".join(_part(piece, results) if isinstance(piece, Reference) else piece for piece in pieces)


def _fill_list(templates: tuple[str, ...], results: Mapping[str, Result]) -> Iterator[str]:
    for template in templates:
        (first, *others) = read_template(template.strip()) or [""]
        if isinstance(first, Reference) and first.part == "answers" and not others:
            yield from results[first.name].answers
        else:
            yield _fill(template, results)


def _part(reference: Reference, results: Mapping[str, Result]) -> str:
    result = results[reference.name]
    return result.text if reference.part == "text" else result.result
