#!/usr/bin/env bash
# agent-tool-parser finds a tool call in an answer that quotes a record with a name.
#
# Expected (a guess, made before running): a final answer in prose has no tool call; a call needs markup, or at least a name and
#   arguments.
# What happens: any JSON object with the key `name` is a call of a tool of that name, in lower case, whose arguments are the other
#   fields, and a line such as `f(x) = 2` is a call as well. An agent goes on where it has answered, unless the parser is given
#   the list of allowed tools.
# Versions: agent-tool-parser 0.1.3. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check agent-tool-parser==0.1.3

"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata

from agent_tool_parser import ToolParser

answers = [
    'The record is {"name": "Ada Lovelace", "born": 1815}.',
    "f(x) = 2",
    "She was born in 1815.",
    'The answer is {"born": 1815}.',
]


def calls(parser):
    return [[(call.name, call.args) for call in parser.try_parse_all(answer)] for answer in answers]


seen, limited = calls(ToolParser()), calls(ToolParser(allowed_tools={"search"}))
print("version: agent-tool-parser", importlib.metadata.version("agent-tool-parser"))
print("expected: no call in any answer")
for answer, found in zip(answers, seen, strict=True):
    print("seen:", answer, found)
print("seen with a list of allowed tools:", limited)
as_described = seen == [[("ada lovelace", {"born": 1815})], [("f", {"arg0": "x"})], [], []] and not any(limited)
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
