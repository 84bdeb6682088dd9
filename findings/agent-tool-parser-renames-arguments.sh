#!/usr/bin/env bash
# agent-tool-parser gives the arguments of a tool call other names, and drops some.
#
# Expected (a guess, made before running): the arguments of a well-formed call keep their names, as long as no `param_aliases` are
#   given.
# What happens: a built-in table of aliases, made for file and shell tools, is applied to every tool: `query` arrives as
#   `pattern`, `file` and `filename` as `path`, `cmd` as `command`, and of a call with both `file` and `path` one value is lost.
#   An argument named `input` is taken for a wrapper, so the call has no arguments. A search tool with the parameter `query` fails
#   on all its calls.
# Versions: agent-tool-parser 0.1.3. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check agent-tool-parser==0.1.3

"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata
import json

from agent_tool_parser import ToolParser

parser = ToolParser(allowed_tools={"search"})
calls = [{"query": "tower"}, {"file": "a.txt"}, {"cmd": "ls"}, {"input": "tower"}, {"file": "a.txt", "path": "b.txt"}, {"q": "tower"}]
seen = []
print("version: agent-tool-parser", importlib.metadata.version("agent-tool-parser"))
for arguments in calls:
    written = json.dumps({"name": "search", "arguments": arguments})
    (call,) = parser.parse_all(f"<tool_call>\n{written}\n</tool_call>")
    seen.append(call.args)
    print(f"expected: {arguments}, seen: {call.args}")
as_described = seen == [{"pattern": "tower"}, {"path": "a.txt"}, {"command": "ls"}, {}, {"path": "b.txt"}, {"q": "tower"}]
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
