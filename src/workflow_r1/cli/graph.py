"""``workflow-r1 graph show|schema``."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from workflow_r1.cli.parameters import OldConfigOption, Overrides, Trust
from workflow_r1.errors import ConfigError
from workflow_r1.running.configuration import open_config

graph = typer.Typer(
    name="graph",
    help="Check and draw workflow graphs, which `evaluate -m graph -o methods.graph.file=FILE` carries out.",
    no_args_is_help=True,
)


class Drawing(StrEnum):
    """Form of a drawn graph."""

    TEXT = "text"
    MERMAID = "mermaid"
    JSON = "json"


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
    form: Annotated[
        Drawing,
        typer.Option(
            "--as",
            help="Form of the drawing: text; mermaid, which Markdown viewers draw; json, every default filled in.",
        ),
    ] = Drawing.TEXT,
    old_config: OldConfigOption = None,
) -> None:
    """Check a graph against the operators that the configuration knows, plug-ins included, and draw it."""
    from workflow_r1.methods.graphs import draw_mermaid, draw_text, load_graph
    from workflow_r1.operators import find_operators

    *sources, file = places
    if len(sources) > 1:
        raise ConfigError(f"expected at most a configuration before the graph, received {', '.join(sources)}")
    found = find_operators(open_config(sources[0] if sources else old_config, override, trust=trust).plugins).operators
    loaded = load_graph(Path(file), {name: each.operator for name, each in found.items()})
    draw = {Drawing.TEXT: draw_text, Drawing.MERMAID: draw_mermaid, Drawing.JSON: lambda it: it.to_json().rstrip()}
    typer.echo(draw[form](loaded))
    if form is Drawing.TEXT:
        typer.echo(f"{len(loaded.nodes)} nodes in {loaded.depth} waves; fingerprint {loaded.fingerprint}")


@graph.command()
def schema() -> None:
    """Print the JSON schema of a workflow graph, for editors."""
    import json

    from workflow_r1.methods.graphs import graph_schema

    typer.echo(json.dumps(graph_schema(), indent=2))
