#!/usr/bin/env bash
# SGLang's parser for Mistral's tool calls loses the second call of a list in a stream.
#
# Expected (a guess, made before running): two calls in one list are two calls, streamed or not.
# What happens: the whole text gives two calls, and the same text in pieces gives the first alone; the second is part of the
#   message's text, without its closing bracket. A workflow that streams runs one of two parallel calls and shows the other as an
#   answer, so it leaves the prompt that a run without streaming has.
# Versions: llm-router-utils 0.8.1, which carries SGLang's parsers. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
# SGLang needs torch; this package carries its parsers alone, and of the rest they need only the packages named here.
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps llm-router-utils==0.8.1 xgrammar==0.2.7 \
  apache-tvm-ffi==0.1.15.post2
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check openai==2.6.1 orjson==3.13.0 numpy==2.3.5 json_repair==0.64.6 \
  partial-json-parser==0.2.1.1.post7

"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata
import re

from llm_router_utils.sglang.srt.entrypoints.openai.protocol import Tool
from llm_router_utils.sglang.srt.function_call.function_call_parser import FunctionCallParser

parameters = {"type": "object", "properties": {"query": {"type": "string"}}}
tools = [Tool.model_validate({"type": "function", "function": {"name": "search", "parameters": parameters}})]
answer = '[TOOL_CALLS] [{"name": "search", "arguments": {"query": "x"}}, {"name": "search", "arguments": {"query": "y"}}]'


def joined(results):
    text, arguments = "", {}
    for piece, calls in results:
        text += piece
        for call in calls:
            arguments[call.tool_index] = arguments.get(call.tool_index, "") + call.parameters
    return text, list(arguments.values())


_, calls = FunctionCallParser(tools, "mistral").parse_non_stream(answer)
whole = ("", [call.parameters for call in calls])
parser = FunctionCallParser(tools, "mistral")
pieces = ["[TOOL_CALLS]", *re.findall(r" ?\w+|\W", answer.removeprefix("[TOOL_CALLS]"))]
streamed = joined([*(parser.parse_stream_chunk(piece) for piece in pieces), parser.parse_stream_end()])
print("version: llm-router-utils", importlib.metadata.version("llm-router-utils"))
print("expected: the arguments of two calls, and no text, in both")
print("seen, whole:   ", whole)
print("seen, streamed:", streamed)
first, second = '{"query": "x"}', '{"query": "y"}'
as_described = whole == ("", [first, second]) and streamed == (', {"name": "search", "arguments": {"query": "y"}}', [first])
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
