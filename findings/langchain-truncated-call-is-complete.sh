#!/usr/bin/env bash
# langchain-core makes a complete tool call of one whose arguments were cut off.
#
# Expected (a guess, made before running): arguments that end in the middle of a text, in the last chunk of a stream that ended
#   with `finish_reason` "length", are an entry of `invalid_tool_calls`, as they are in a message that did not come as a stream.
# What happens: a stream's chunks are read by a parser for partial JSON: the text that breaks off is closed, and the message has
#   a valid call with the wrong arguments (here the path `/data/old` in place of a longer one). `message_chunk_to_message` keeps
#   it, so an agent carries it out.
# Versions: langchain-core 1.8.3. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check langchain-core==1.8.3

"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import importlib.metadata

from langchain_core.messages import AIMessageChunk, message_chunk_to_message
from langchain_core.output_parsers.openai_tools import parse_tool_call

arguments = '{"path": "/data/old'
chunks = [
    AIMessageChunk("", tool_call_chunks=[{"name": "archive", "args": arguments[:9], "id": "1", "index": 0}]),
    AIMessageChunk("", tool_call_chunks=[{"name": None, "args": arguments[9:], "id": None, "index": 0}]),
    AIMessageChunk("", response_metadata={"finish_reason": "length"}, chunk_position="last"),
]
message = message_chunk_to_message(chunks[0] + chunks[1] + chunks[2])
try:
    whole = parse_tool_call({"id": "1", "function": {"name": "archive", "arguments": arguments}})
except Exception as error:
    whole = type(error).__name__
print("version: langchain-core", importlib.metadata.version("langchain-core"))
print("expected: no tool call, one invalid tool call")
print("seen:     tool calls", message.tool_calls, "invalid", message.invalid_tool_calls)
print("the same arguments outside a stream:", whole)
calls = [call["args"] for call in message.tool_calls]
as_described = calls == [{"path": "/data/old"}] and message.invalid_tool_calls == [] and whole == "OutputParserException"
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
