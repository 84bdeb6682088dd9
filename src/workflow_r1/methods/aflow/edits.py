"""Random valid edits of a workflow graph. They know the operators' signatures, but not which edits help."""

import random
from collections.abc import Callable, Collection, Mapping
from typing import get_args

from workflow_r1.errors import DataError
from workflow_r1.methods.graphs import Node, WorkflowGraph, check_graph
from workflow_r1.methods.graphs.templates import QUESTION, references
from workflow_r1.operators import Argument, Operator
from workflow_r1.operators.results import SEVERAL_ANSWERS

INSTRUCTIONS = (
    "Answer in as few words as possible.",
    "Break this into steps, solve each, and give the final answer alone.",
    "Check every fact before answering, then give the answer alone.",
    "Write the answer as a bare name, date, number, yes or no.",
)
"""Texts for an argument called ``instruction``."""

MAX_TRIES = 1000
"""Draws until one is valid and new."""

_NEW_INPUT_SHARE = 0.3
"""Share of a new node's arguments that get a new node of their own."""

_QUESTION_SHARE = 0.7
"""Share of the arguments called like a question that get the question."""

_LIKE_A_QUESTION = ("question", "query", "task")

Place = tuple[int, str, int]
"""A template: index of the node (-1: the output), name of the argument, position in a list (-1: no list)."""


class _Draft:
    """A graph in the making. Later entries of ``nodes`` may use values of earlier ones."""

    def __init__(self, graph: WorkflowGraph, operators: Mapping[str, Operator], rng: random.Random) -> None:
        self.nodes = [node for wave in graph.waves for node in wave]
        self.output = graph.output
        self.operators = operators
        self.rng = rng

    def places(self) -> list[Place]:
        """Places of the references in a template."""
        found: list[Place] = [(-1, "", -1)]
        for index, node in enumerate(self.nodes):
            for name, value in node.arguments.items():
                if isinstance(value, str):
                    found.append((index, name, -1))
                else:
                    found += [(index, name, position) for position in range(len(value))]
        return [place for place in found if references(self.read(place))]

    def read(self, place: Place) -> str:
        index, name, position = place
        if index < 0:
            return self.output
        value = self.nodes[index].arguments[name]
        return value if isinstance(value, str) else value[position]

    def write(self, place: Place, template: str) -> None:
        index, name, position = place
        if index < 0:
            self.output = template
            return
        node = self.nodes[index]
        value = node.arguments[name]
        changed = template if isinstance(value, str) else (*value[:position], template, *value[position + 1 :])
        self.nodes[index] = node.model_copy(update={"arguments": {**node.arguments, name: changed}})

    def before(self, index: int) -> list[str]:
        """Names of the nodes that the node at ``index`` may use; -1 may use all."""
        return [node.name for node in (self.nodes if index < 0 else self.nodes[:index])]

    def new_name(self) -> str:
        """A name that is free."""
        names = {node.name for node in self.nodes}
        return next(name for name in (f"n{number}" for number in range(1, 1000)) if name not in names)

    def add_node(self, operator: Operator, index: int, given: str | None, *, may_add: bool = True) -> int:
        """Insert a node before ``index`` (-1: at the end), fed with ``given`` where that fits, and with new nodes of its own.

        Returns:
            The index of the inserted node.
        """
        at = len(self.nodes) if index < 0 else index
        arguments: dict[str, str | tuple[str, ...]] = {}
        for argument in operator.arguments:
            value, num_added, given = self._fill(argument, at, given, may_add=may_add)
            at += num_added
            if value is not None:
                arguments[argument.name] = value
        self.nodes.insert(at, Node(name=self.new_name(), operator=operator.name, arguments=arguments))
        return at

    def _fill(
        self, argument: Argument, at: int, given: str | None, *, may_add: bool
    ) -> tuple[str | tuple[str, ...] | None, int, str | None]:
        """Return a value, the number of nodes added before ``at`` for it, and the rest of ``given``."""
        rng = self.rng
        if argument.is_optional:
            return None, 0, given
        if not argument.expected.startswith("a text"):
            choices = [choice for choice in get_args(argument.type) if isinstance(choice, str)]
            return (rng.choice(choices) if choices else "1"), 0, given
        if argument.name == "instruction":
            return rng.choice(INSTRUCTIONS), 0, given
        if argument.is_list:
            before = len(self.nodes)
            values = [] if given is None else [given]
            values += [f"{{{name}}}" for name in self.before(at) if rng.random() < 0.5]
            while len(dict.fromkeys(values)) < 2 and may_add:
                values.append(f"{{{self._add_input(at + len(self.nodes) - before)}}}")
            several = {
                f"{{{node.name}}}": f"{{{node.name}.answers}}"
                for node in self.nodes
                if node.operator == SEVERAL_ANSWERS
            }
            values = [several.get(value, value) for value in values]
            return tuple(dict.fromkeys(values)), len(self.nodes) - before, None
        if argument.name in _LIKE_A_QUESTION and rng.random() < _QUESTION_SHARE:
            return f"{{{QUESTION}}}", 0, given
        if given is not None:
            return given, 0, None
        if may_add and rng.random() < _NEW_INPUT_SHARE:
            return f"{{{self._add_input(at)}}}", 1, None
        return f"{{{rng.choice([QUESTION, *self.before(at)])}}}", 0, None

    def _add_input(self, at: int) -> str:
        return self.nodes[self.add_node(self.draw_operator(), at, None, may_add=False)].name

    def draw_operator(self) -> Operator:
        return self.operators[self.rng.choice(sorted(self.operators))]

    def finish(self) -> WorkflowGraph:
        """Return the graph without the nodes that nothing uses any more.

        Raises:
            ValueError: it is not valid.
        """
        used = {reference.name for reference in references(self.output)}
        kept = []
        for node in reversed(self.nodes):
            if node.name in used:
                used.update(node.needs)
                kept.append(node)
        graph = WorkflowGraph(nodes=tuple(reversed(kept)), output=self.output)
        problems = check_graph(graph, self.operators)
        if problems:
            raise ValueError("; ".join(problems))
        return graph


def draw_edit(
    graph: WorkflowGraph,
    operators: Mapping[str, Operator],
    *,
    max_nodes: int,
    rng: random.Random,
    known: Collection[str] = (),
) -> tuple[str, WorkflowGraph]:
    """Draw one edit of a graph whose result is valid and does something else.

    Args:
        graph: the graph to change.
        operators: the pool.
        max_nodes: most nodes of the result.
        rng: source of the draws.
        known: fingerprints of graphs that the result must not equal either.

    Returns:
        The change in words, and the result.

    Raises:
        DataError: many draws found no such edit.
    """
    edits: tuple[Callable[[_Draft], str], ...] = (_insert, _insert, _rewire, _replace, _drop, _reword)
    for _ in range(MAX_TRIES):
        draft = _Draft(graph, operators, rng)
        try:
            words = rng.choice(edits)(draft)
            result = draft.finish()
        except (ValueError, IndexError):
            continue
        if len(result.nodes) <= max_nodes and result.fingerprint not in (graph.fingerprint, *known):
            return words, result
    raise DataError(f"expected an edit of the workflow with {', '.join(operators)}, found none in {MAX_TRIES} draws")


def _insert(draft: _Draft) -> str:
    """Put a new node in place of one reference, and give that reference to the new node."""
    place = draft.rng.choice(draft.places())
    template = draft.read(place)
    old = draft.rng.choice(references(template))
    given = f"{{{old.name}}}"
    operator = draft.draw_operator()
    before = len(draft.nodes)
    at = draft.add_node(operator, place[0], given)
    index = place[0] + len(draft.nodes) - before if place[0] >= 0 else -1
    name = draft.nodes[at].name
    draft.write((index, *place[1:]), template.replace(str(old), f"{{{name}}}"))
    target = "the answer" if index < 0 else f"{place[1]} of {draft.nodes[index].name}"
    return f"add {name} = {operator.name} in place of {old} in {target}"


def _rewire(draft: _Draft) -> str:
    """Let one reference name another value that is known at its place."""
    place = draft.rng.choice(draft.places())
    template = draft.read(place)
    old = draft.rng.choice(references(template))
    new = draft.rng.choice([QUESTION, *draft.before(place[0])])
    draft.write(place, template.replace(str(old), f"{{{new}}}"))
    target = "the answer" if place[0] < 0 else f"{place[1]} of {draft.nodes[place[0]].name}"
    return f"use {{{new}}} in place of {old} in {target}"


def _replace(draft: _Draft) -> str:
    """Let another operator do a node's work; arguments of the same name stay."""
    index = draft.rng.randrange(len(draft.nodes))
    old = draft.nodes[index]
    operator = draft.draw_operator()
    given = next((f"{{{name}}}" for name in old.needs), None)
    before = len(draft.nodes)
    at = draft.add_node(operator, index, given)
    new = draft.nodes[at]
    expected = {argument.name: argument.is_list for argument in operator.arguments}
    kept = {
        name: value
        for name, value in old.arguments.items()
        if name in expected and expected[name] != isinstance(value, str)
    }
    del draft.nodes[index + len(draft.nodes) - before]
    draft.nodes[at] = new.model_copy(update={"name": old.name, "arguments": {**new.arguments, **kept}})
    return f"let {operator.name} do the work of {old.name}, which was {old.operator}"


def _drop(draft: _Draft) -> str:
    """Take a node out; the users of its result use one of its inputs."""
    index = draft.rng.randrange(len(draft.nodes))
    node = draft.nodes[index]
    instead = draft.rng.choice([f"{{{name}}}" for name in node.needs] or [f"{{{QUESTION}}}"])
    for place in draft.places():
        template = draft.read(place)
        for reference in references(template):
            if reference.name == node.name:
                template = template.replace(str(reference), instead)
        draft.write(place, template)
    draft.nodes = [each for each in draft.nodes if each.name != node.name]
    return f"take {node.name} ({node.operator}) out"


def _reword(draft: _Draft) -> str:
    """Give another instruction."""
    found = [index for index, node in enumerate(draft.nodes) if "instruction" in node.arguments]
    index = draft.rng.choice(found)
    node = draft.nodes[index]
    instruction = draft.rng.choice(INSTRUCTIONS)
    draft.nodes[index] = node.model_copy(update={"arguments": {**node.arguments, "instruction": instruction}})
    return f"instruct {node.name}: {instruction}"
