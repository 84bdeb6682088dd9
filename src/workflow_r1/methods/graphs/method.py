"""The method that carries out a graph of the user's own."""

from workflow_r1.errors import ConfigError, DataError
from workflow_r1.methods.graphs.checking import load_graph
from workflow_r1.methods.graphs.running import GraphPolicy
from workflow_r1.methods.method import SEARCH, WITH_SEARCH, Method, MethodContext
from workflow_r1.operators import OPERATORS
from workflow_r1.rollout.policy import Policy


def open_graph(context: MethodContext) -> Policy:
    """Make the policy of the configured graph.

    Raises:
        ConfigError: no graph is configured.
        DataError: the graph cannot be read, or does not fit the pool.
    """
    file = context.settings.graph.file
    if file is None:
        raise ConfigError(
            "methods.graph.file: expected a workflow graph in JSON, received none; set it, e.g. -o methods.graph.file=my.json"
        )
    try:
        return GraphPolicy(load_graph(file, context.operators), context.operators)
    except DataError as error:
        if SEARCH in context.operators or SEARCH not in str(error):
            raise
        raise DataError(f"{error}\nA graph that searches is the method graph{WITH_SEARCH}.") from None


GRAPH = (
    Method("graph", "carries out a workflow graph of your own (methods.graph.file)", open_graph, takes_pool=True),
    Method(
        f"graph{WITH_SEARCH}",
        "carries out a workflow graph of your own that searches",
        open_graph,
        operators={SEARCH: OPERATORS[SEARCH]},
        takes_pool=True,
    ),
)
