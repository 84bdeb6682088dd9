"""Workflows as data: a graph of operator calls, checked before it runs, written by a person or found by a search."""

from workflow_r1.methods.graphs.checking import check_graph, graph_schema, load_graph, read_graph
from workflow_r1.methods.graphs.drawing import draw_mermaid, draw_svg, draw_text
from workflow_r1.methods.graphs.generalising import generalise
from workflow_r1.methods.graphs.graph import Node, WorkflowGraph
from workflow_r1.methods.graphs.langgraph_code import write_langgraph
from workflow_r1.methods.graphs.method import GRAPH
from workflow_r1.methods.graphs.running import GraphPolicy, carry_out

__all__ = [
    "GRAPH",
    "GraphPolicy",
    "Node",
    "WorkflowGraph",
    "carry_out",
    "check_graph",
    "draw_mermaid",
    "draw_svg",
    "draw_text",
    "generalise",
    "graph_schema",
    "load_graph",
    "read_graph",
    "write_langgraph",
]
