#!/usr/bin/env bash
# agentpile gives a tool call without arguments an argument named `_raw`.
#
# Expected (a guess, made before running): the arguments of a call come back from the record as they went in; the empty text,
#   which some servers send for a tool without parameters, stays empty or becomes `{}`.
# What happens: a text that is not a JSON object becomes `{"_raw": ...}`, also the empty one and `null`, and `to_chat` writes that
#   as the arguments of the call. A model trained on these rows learns to call such tools with a key that they do not have.
# Versions: agentpile 0.3.1. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check agentpile==0.3.1

"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import importlib.metadata
import json
import pathlib
import sys

import agentpile

file = pathlib.Path(sys.argv[1], "run.json")


def back(arguments):
    call = {"id": "call-1", "type": "function", "function": {"name": "today", "arguments": arguments}}
    messages = [
        {"role": "user", "content": "What day is it?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call-1", "content": "Monday"},
        {"role": "assistant", "content": "Monday."},
    ]
    file.write_text(json.dumps({"messages": messages}))
    (row,) = agentpile.to_chat(next(iter(agentpile.load(str(file)))))
    return row["messages"][1]["tool_calls"][0]["function"]["arguments"]


texts = ["{}", "", "null"]
seen = [back(text) for text in texts]
print("version: agentpile", importlib.metadata.version("agentpile"))
print("expected:", texts, "or {} for each")
print("seen:    ", seen)
as_described = [json.loads(text) for text in seen] == [{}, {"_raw": ""}, {"_raw": "null"}]
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
