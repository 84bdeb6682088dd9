"""Settings of workflow graphs, and of the methods that search for one or learn to choose one (``evaluation/methods``)."""

from pathlib import Path

from workflow_r1.trajectory.records import Record


class GraphConfig(Record):
    """The method that carries out a workflow graph of the user's own."""

    file: Path | None = None
    """The graph, in JSON; ``workflow-r1 graph schema`` prints its form."""
