"""A workflow graph as a Python module for LangGraph, which needs nothing of this package.

The module is data and one small interpreter of it: templates stand in it as lists of texts and references, so that no text of a
graph is read as code, and a filled-in text never as a template.
"""

from collections.abc import Mapping
from pprint import pformat

from workflow_r1.methods.graphs.graph import Node, WorkflowGraph
from workflow_r1.methods.graphs.templates import read_template
from workflow_r1.operators import Operator
from workflow_r1.operators.results import LABELS, SEVERAL_ANSWERS

_HEAD = '''\
import re
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypedDict

from langgraph.graph import END, START, StateGraph

Call = Callable[[str, dict[str, Any]], Awaitable[str]]
"""Carries out an operator: its name and its arguments by name (a list where it takes several values) -> its text."""
'''

_BODY = '''

def merge(one: dict, other: dict) -> dict:
    return {**one, **other}


class State(TypedDict, total=False):
    question: str
    results: Annotated[dict[str, dict[str, Any]], merge]
    answer: str


def read(operator: str, text: str) -> dict[str, Any]:
    """Return the text of a call, its result, and its answers where it has several."""
    label, result = LABELS.get(operator), text.strip()
    if label is not None:
        parts = re.split(rf"^{label}:", text, flags=re.MULTILINE)
        result = parts[-1].strip() if len(parts) > 1 else ""
    answers = re.split(r"^\\\\[Answer \\\\d+\\\\]", text, flags=re.MULTILINE)[1:] if operator == SEVERAL_ANSWERS else []
    return {"text": text, "result": result, "answers": [answer.strip() for answer in answers if answer.strip()]}


def fill(template: list, results: dict[str, dict[str, Any]]) -> str:
    return "".join(piece if isinstance(piece, str) else results[piece[0]][piece[1]] for piece in template).strip()


def values(templates: list, results: dict[str, dict[str, Any]]) -> list[str]:
    """Return the values of an argument; empty ones are left out."""
    found: list[str] = []
    for template in templates:
        if len(template) == 1 and not isinstance(template[0], str) and template[0][1] == "answers":
            found += results[template[0][0]]["answers"]
        else:
            found.append(fill(template, results))
    return [value for value in found if value]


def node(name: str, call: Call) -> Callable[[State], Awaitable[dict[str, Any]]]:
    async def run(state: State) -> dict[str, Any]:
        operator, arguments = NODES[name]
        results = {"question": {"text": state["question"], "result": state["question"], "answers": []}} | state.get("results", {})
        given: dict[str, Any] = {}
        for argument, (templates, is_list, is_optional) in arguments.items():
            found = values(templates, results)
            if not found and not is_optional:
                return {"results": {name: {"text": "", "result": "", "answers": []}}}
            if is_list and len(found) == 1:
                # Nothing to choose from: the one value is the result.
                return {"results": {name: {"text": found[0], "result": found[0], "answers": []}}}
            if found:
                given[argument] = found if is_list else found[0]
        return {"results": {name: read(operator, await call(operator, given))}}

    return run


def answer(state: State) -> dict[str, Any]:
    results = {"question": {"text": state["question"], "result": state["question"], "answers": []}} | state.get("results", {})
    return {"answer": fill(OUTPUT, results)}


def build(call: Call):
    """Return the compiled graph: ``(await build(call).ainvoke({"question": ...}))["answer"]``."""
    graph = StateGraph(State)
    # A node must not share its name with a field of the state.
    for name in NODES:
        graph.add_node(f"node_{name}", node(name, call))
    graph.add_node("write_answer", answer)
    for sources, target in EDGES:
        graph.add_edge([f"node_{source}" for source in sources] or START, target)
    graph.add_edge("write_answer", END)
    return graph.compile()
'''


def write_langgraph(graph: WorkflowGraph, operators: Mapping[str, Operator]) -> str:
    """Return the module.

    Args:
        graph: fits the operators (``check_graph``).
        operators: the pool; it says which arguments take several values or may be left out.
    """
    nodes = {
        node.name: (node.operator, _arguments(node, operators[node.operator])) for wave in graph.waves for node in wave
    }
    used = {name for node in graph.nodes for name in node.needs}
    last = [node.name for wave in graph.waves for node in wave if node.name not in used]
    edges = [(list(node.needs), f"node_{node.name}") for wave in graph.waves for node in wave]
    edges.append((last, "write_answer"))
    labels = {name: label for name, label in LABELS.items() if any(node.operator == name for node in graph.nodes)}
    data = [
        (
            "NODES",
            nodes,
            "Name -> operator and arguments: templates, whether it takes several values, whether it may be left out.",
        ),
        ("EDGES", edges, "The nodes that one waits for -> the node."),
        ("OUTPUT", _pieces(graph.output), "Template of the answer."),
        (
            "LABELS",
            labels,
            "Labels before the result in what an operator returns; without one all of it is the result.",
        ),
        ("SEVERAL_ANSWERS", SEVERAL_ANSWERS, "The operator that returns several answers."),
    ]
    described = " ".join(graph.description.split())
    parts = [_docstring(described), _HEAD]
    parts += [f'{name} = {pformat(value, width=116, sort_dicts=False)}\n"""{words}"""\n' for name, value, words in data]
    return "\n".join(parts) + _BODY.replace("\\\\", "\\")


def _docstring(description: str) -> str:
    # As a comment: a description may hold anything.
    words = "".join(character if character.isprintable() else " " for character in description)
    return f"# A workflow graph of Workflow-R1 for LangGraph. {words}".rstrip() + "\n"


def _arguments(node: Node, operator: Operator) -> dict[str, tuple[list[list[str | tuple[str, str]]], bool, bool]]:
    found = {}
    for argument in operator.arguments:
        value = node.arguments.get(argument.name)
        if value is not None:
            templates = [_pieces(template.strip()) for template in ((value,) if isinstance(value, str) else value)]
            found[argument.name] = (templates, argument.is_list, argument.is_optional)
    return found


def _pieces(template: str) -> list[str | tuple[str, str]]:
    return [piece if isinstance(piece, str) else (piece.name, piece.part) for piece in read_template(template)]
