"""Settings of the methods that an evaluation compares (``evaluation/methods``)."""

from workflow_r1.config.workflow_search import GraphConfig
from workflow_r1.trajectory.records import Record


class MethodsConfig(Record):
    """A section for each method that has settings; ``docs/methods.md`` says what they do."""

    graph: GraphConfig = GraphConfig()
