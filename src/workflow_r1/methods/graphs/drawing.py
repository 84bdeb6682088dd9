"""Shows a graph: as text for a terminal, as Mermaid for viewers of Markdown, as SVG."""

from collections.abc import Iterator

from workflow_r1.methods.graphs.graph import Node, WorkflowGraph
from workflow_r1.methods.graphs.templates import QUESTION, references
from workflow_r1.printable import printable
from workflow_r1.workflows.drawing import Arrow, Box, as_svg

MAX_SHOWN = 100
"""Characters of a template that are shown."""


def draw_text(graph: WorkflowGraph) -> str:
    """Write the graph wave by wave."""
    lines = [f"# {_short(graph.description)}"] if graph.description else []
    for number, wave in enumerate(graph.waves, start=1):
        together = " (side by side)" if len(wave) > 1 else ""
        lines.append(f"{number}.{together}")
        for node in wave:
            lines.append(f"   {node.name} = {node.operator}")
            for name, value in node.arguments.items():
                for template in (value,) if isinstance(value, str) else value:
                    lines.append(f"       {printable(name)}: {_short(template)}")
    return "\n".join([*lines, f"-> {_short(graph.output)}"])


def draw_mermaid(graph: WorkflowGraph) -> str:
    """Write the graph as a Mermaid flowchart."""
    return "\n".join(["flowchart LR", *(f"    {line}" for line in _lines(graph))])


def draw_svg(graph: WorkflowGraph) -> str:
    """Draw the graph as one SVG file."""
    boxes = [
        Box(QUESTION, "Question", is_round=True),
        *(Box(_id(node.name), printable(node.operator), note=node.name) for wave in graph.waves for node in wave),
        Box("answer", "Answer", is_round=True),
    ]
    return as_svg(boxes, list(_arrows(graph)), title=_short(graph.description) or "Workflow graph")


def _arrows(graph: WorkflowGraph) -> Iterator[Arrow]:
    places = [(f"n_{node.name}", name, value) for node in graph.nodes for name, value in node.arguments.items()]
    for target, name, value in [*places, ("answer", "", graph.output)]:
        templates = (value,) if isinstance(value, str) else value
        for source in dict.fromkeys(each.name for template in templates for each in references(template)):
            yield Arrow(_id(source), target, name)


def _lines(graph: WorkflowGraph) -> Iterator[str]:
    yield f"{QUESTION}([question])"
    for node in graph.nodes:
        yield f'n_{node.name}["{_label(node)}"]'
    yield "answer([answer])"
    for node in graph.nodes:
        for source in dict.fromkeys(each.name for template in node.templates() for each in references(template)):
            yield f"{_id(source)} --> n_{node.name}"
    for source in dict.fromkeys(each.name for each in references(graph.output)):
        yield f"{_id(source)} --> answer"


def _id(name: str) -> str:
    # A prefix, since "end" and the like are words of Mermaid's.
    return name if name == QUESTION else f"n_{name}"


def _label(node: Node) -> str:
    # An operator of a graph that was checked against no pool may have any name.
    operator = "".join(character if character.isalnum() or character == "_" else "?" for character in node.operator)
    return f"{node.name}<br/>{operator}"


def _short(text: str) -> str:
    line = " ".join(printable(text).split())
    return line if len(line) <= MAX_SHOWN else f"{line[: MAX_SHOWN - 1]}…"
