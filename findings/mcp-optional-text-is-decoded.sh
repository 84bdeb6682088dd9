#!/usr/bin/env bash
# An MCP server decodes the argument of an optional text parameter as JSON.
#
# Expected (a guess, made before running): a parameter of type `str | None` gets the text that the client sent, as one of type
#   `str` does.
# What happens: any parameter that is not plainly `str` is first read as JSON. The text `null` arrives as None, and the text
#   `["a"]` is refused as a list in place of a text, so a tool that takes code, JSON or a quoted list as its optional input fails
#   on some inputs only.
# Versions: mcp 2.3.0. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check mcp==2.3.0

"$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import importlib.metadata
import logging

from mcp import Client
from mcp.server import MCPServer

logging.disable(logging.CRITICAL)
server = MCPServer("texts")


@server.tool()
def required(text: str) -> str:
    return repr(text)


@server.tool()
def optional(text: str | None = None) -> str:
    return repr(text)


async def call(tool, text):
    async with Client(server) as client:
        result = await client.call_tool(tool, {"text": text})
        return "refused" if result.is_error else result.content[0].text


texts = ["tower", "12", "null", '["a"]', '{"a": 1}']
expected = {text: repr(text) for text in texts}
plain = {text: asyncio.run(call("required", text)) for text in texts}
seen = {text: asyncio.run(call("optional", text)) for text in texts}
print("version: mcp", importlib.metadata.version("mcp"))
print("expected:       ", expected)
print("seen, required: ", plain)
print("seen, optional: ", seen)
as_described = plain == expected and list(seen.values()) == ["'tower'", "'12'", "None", "refused", "refused"]
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
