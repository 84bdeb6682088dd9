#!/usr/bin/env bash
# An MCP server shows the model a list of lists as one flat row, and an empty list as nothing.
#
# Expected (a guess, made before running): the text of a tool's result holds the list as JSON, as it does for a dictionary.
# What happens: every element of a list becomes a content block of its own, at any depth, and None becomes no block. `[["a", "b"],
#   ["c"]]` and `["a", "b", "c"]` look alike, `[1, None, 2]` looks like `[1, 2]`, and a search without hits has no content at all.
#   Only the structured content, where a tool has one, keeps them apart.
# Versions: mcp 2.3.0. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check mcp==2.3.0

"$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import importlib.metadata

from mcp import Client
from mcp.server import MCPServer

server = MCPServer("lists")
RESULTS = {"nested": [["a", "b"], ["c"]], "flat": ["a", "b", "c"], "gap": [1, None, 2], "empty": [], "dictionary": {"a": []}}


@server.tool()
def result(name: str) -> list | dict:
    return RESULTS[name]


async def blocks(name):
    async with Client(server) as client:
        return [block.text for block in (await client.call_tool("result", {"name": name})).content]


seen = {name: asyncio.run(blocks(name)) for name in RESULTS}
print("version: mcp", importlib.metadata.version("mcp"))
print("expected: four lists that differ, each as a text")
for name, texts in seen.items():
    print(f"seen: {RESULTS[name]} is shown as {texts}")
dictionary = seen["dictionary"]
as_described = seen == {
    "nested": ["a", "b", "c"],
    "flat": ["a", "b", "c"],
    "gap": ["1", "2"],
    "empty": [],
    "dictionary": dictionary,
} and len(dictionary) == 1
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
