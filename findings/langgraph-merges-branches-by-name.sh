#!/usr/bin/env bash
# langgraph merges the results of parallel nodes in the order of their names.
#
# Expected (a guess, made before running): with a reducer such as list concatenation the parallel branches' updates are applied
#   in the order in which the edges, or the nodes, were added.
# What happens: they are applied in the alphabetical order of the nodes' names. Renaming a node reorders the messages of the
#   next prompt, and branch "10" comes before branch "9".
# Versions: langgraph 1.2.24. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check langgraph==1.2.24

"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import importlib.metadata
import operator
from typing import Annotated, TypedDict

from langgraph.graph import END, START, StateGraph


class State(TypedDict):
    log: Annotated[list, operator.add]


def run(names):
    graph = StateGraph(State)
    for name in names:
        graph.add_node(name, lambda state, name=name: {"log": [name]})
        graph.add_edge(START, name)
        graph.add_edge(name, END)
    return graph.compile().invoke({"log": []})["log"]


orders = [["search", "answer", "review"], ["8", "9", "10"]]
seen = [run(names) for names in orders]
print("version: langgraph", importlib.metadata.version("langgraph"))
print("expected:", orders)
print("seen:    ", seen)
as_described = seen == [sorted(names) for names in orders]
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
