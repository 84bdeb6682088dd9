#!/usr/bin/env bash
# langgraph drops what a node returns under a key that the state does not have.
#
# Expected (a guess, made before running): a node that returns an unknown key, such as a misspelt one, is an error: the state's
#   keys are declared, and a value that is no dictionary is refused with InvalidUpdateError.
# What happens: the key is dropped without an error or a warning, as is an unknown key of the input, and the state keeps what it
#   had.
# Versions: langgraph 1.2.24. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check langgraph==1.2.24

"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import importlib.metadata
from typing import TypedDict

from langgraph.errors import InvalidUpdateError
from langgraph.graph import START, StateGraph


class State(TypedDict):
    answer: str


def run(update):
    graph = StateGraph(State)
    graph.add_node("answer_node", lambda state: update)
    graph.add_edge(START, "answer_node")
    try:
        return graph.compile().invoke({"answer": "none yet", "qestion": "?"})
    except InvalidUpdateError as error:
        return f"InvalidUpdateError: {str(error).splitlines()[0]}"


misspelt, no_dictionary = run({"anwser": "Paris"}), run("Paris")
print("version: langgraph", importlib.metadata.version("langgraph"))
print("expected: an error that names the key 'anwser'")
print("seen:    ", misspelt)
print("with a text in place of the dictionary:", no_dictionary)
as_described = misspelt == {"answer": "none yet"} and no_dictionary.startswith("InvalidUpdateError")
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
