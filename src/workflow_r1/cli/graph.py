"""``workflow-r1 graph show|schema|flow|dominant``."""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workflow_r1.cli.parameters import Conditions, OldConfigOption, Overrides, Stored, Trust
from workflow_r1.errors import ConfigError, UserError
from workflow_r1.printable import printable
from workflow_r1.running.configuration import open_config

if TYPE_CHECKING:
    from workflow_r1.methods.graphs import WorkflowGraph
    from workflow_r1.operators import Operator
    from workflow_r1.running.stored import Selected

graph = typer.Typer(
    name="graph",
    help="Draw the workflows of stored trajectories; check and draw workflow graphs, which `evaluate -m graph -o "
    "methods.graph.file=FILE` carries out.",
    no_args_is_help=True,
)


class Drawing(StrEnum):
    """Form of a drawn graph."""

    TEXT = "text"
    MERMAID = "mermaid"
    SVG = "svg"
    JSON = "json"
    LANGGRAPH = "langgraph"


class FlowDrawing(StrEnum):
    """Form of a drawn flow of data."""

    MERMAID = "mermaid"
    SVG = "svg"
    JSON = "json"


Form = Annotated[
    Drawing,
    typer.Option(
        "--as",
        metavar="FORM",
        help="Form of the graph: text; mermaid, which Markdown viewers draw; svg; json, every default filled in; langgraph, a "
        "Python module.",
    ),
]
Output = Annotated[
    Path | None,
    typer.Option("--output", metavar="FILE", help="File to write to. Default: the terminal.", show_default=False),
]


@graph.command()
def show(
    places: Annotated[
        list[str],
        typer.Argument(
            metavar="[CONFIG] FILE",
            help="A workflow graph in JSON; before it a configuration, preset or run, where not the embedded one.",
            show_default=False,
        ),
    ],
    override: Overrides = None,
    trust: Trust = False,
    form: Form = Drawing.TEXT,
    output: Output = None,
    old_config: OldConfigOption = None,
) -> None:
    """Check a graph against the operators that the configuration knows, plug-ins included, and draw it."""
    from workflow_r1.methods.graphs import load_graph
    from workflow_r1.operators import find_operators

    *sources, file = places
    if len(sources) > 1:
        raise ConfigError(f"expected at most a configuration before the graph, received {', '.join(sources)}")
    found = find_operators(open_config(sources[0] if sources else old_config, override, trust=trust).plugins).operators
    operators = {name: each.operator for name, each in found.items()}
    _show_graph(load_graph(Path(file), operators), form, operators, output)


@graph.command()
def flow(
    place: Stored,
    conditions: Conditions = None,
    form: Annotated[
        FlowDrawing,
        typer.Option("--as", help="Form of the drawing: mermaid, which Markdown viewers draw; svg; json."),
    ] = FlowDrawing.MERMAID,
    output: Output = None,
) -> None:
    """Draw the flow of data through one stored trajectory: the origins of each call's input and of the answer.

    The conditions select it, e.g. id=ID; of several the first is drawn.
    """
    import json
    from dataclasses import asdict

    from workflow_r1.workflows import trace_flow
    from workflow_r1.workflows.drawing import as_mermaid, as_svg, flow_drawing

    trajectory = next(found for each in _select(place, conditions) for found in each.read())
    traced = trace_flow(trajectory)
    boxes, arrows = flow_drawing(traced)
    draw = {
        FlowDrawing.MERMAID: lambda: as_mermaid(boxes, arrows),
        FlowDrawing.SVG: lambda: as_svg(boxes, arrows, title=trajectory.question.text),
        FlowDrawing.JSON: lambda: json.dumps(asdict(traced), indent=2),
    }
    _write(draw[form](), output)


@graph.command()
def dominant(place: Stored, conditions: Conditions = None, form: Form = Drawing.JSON, output: Output = None) -> None:
    """Make a workflow graph of the sequence of operators that the selected trajectories took most often.

    `evaluate -m graph+search -o methods.graph.file=FILE` carries it out: the policy's dominant workflow without the policy. An
    LLM reads in its place. Conditions such as step=40-50 select the end of training.
    """
    from workflow_r1.running.dominant import dominant_workflow

    found = dominant_workflow(_select(place, conditions))
    _show_graph(found.graph, form, found.operators, output)
    share = f"{found.num} of {found.num_trajectories:,} trajectories took {' > '.join(found.sequence)}"
    typer.echo(printable(share), err=True)


def _select(place: Path, conditions: list[str] | None) -> "list[Selected]":
    from workflow_r1.running.stored import select_stored
    from workflow_r1.workflows.selection import read_conditions

    selected = [each for each in select_stored(place, read_conditions(conditions or [])) if each.rows]
    if not selected:
        raise UserError(f"expected a trajectory in {place}, found none that is selected")
    return selected


def _show_graph(
    loaded: "WorkflowGraph", form: Drawing, operators: "Mapping[str, Operator]", output: Path | None
) -> None:
    from workflow_r1.methods.graphs import draw_mermaid, draw_svg, draw_text, write_langgraph

    draw = {
        Drawing.TEXT: lambda: (
            f"{draw_text(loaded)}\n{len(loaded.nodes)} nodes in {loaded.depth} waves; fingerprint {loaded.fingerprint}"
        ),
        Drawing.MERMAID: lambda: draw_mermaid(loaded),
        Drawing.SVG: lambda: draw_svg(loaded),
        Drawing.JSON: loaded.to_json,
        Drawing.LANGGRAPH: lambda: write_langgraph(loaded, operators),
    }
    _write(draw[form](), output)


def _write(text: str, output: Path | None) -> None:
    if output is None:
        typer.echo(text.rstrip("\n"))
        return
    output.write_text(text.rstrip("\n") + "\n", encoding="utf-8")


@graph.command()
def schema() -> None:
    """Print the JSON schema of a workflow graph, for editors."""
    import json

    from workflow_r1.methods.graphs import graph_schema

    typer.echo(json.dumps(graph_schema(), indent=2))
