#!/usr/bin/env bash
# SGLang's parser for the tool calls of Llama 3 cuts the braces out of answers that hold no call.
#
# Expected (a guess, made before running): an answer without a tool call is the text of the message, streamed or not.
# What happens: in a stream, an opening brace that a piece begins with is taken for the start of a call, and what follows is kept back
#   and dropped at the end: the answer \boxed{5} arrives as \boxed. Without streaming, that answer is whole, but an answer that is
#   a JSON object, such as {"answer": 5}, is the empty text. Both hold for every request that offers tools. A reward that reads the
#   box or the object gives nothing for a right answer.
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
import logging

from llm_router_utils.sglang.srt.entrypoints.openai.protocol import Tool
from llm_router_utils.sglang.srt.function_call.function_call_parser import FunctionCallParser

logging.disable(logging.CRITICAL)
parameters = {"type": "object", "properties": {"query": {"type": "string"}}}
tools = [Tool.model_validate({"type": "function", "function": {"name": "search", "parameters": parameters}})]


def streamed(pieces):
    parser = FunctionCallParser(tools, "llama3")
    results = [*(parser.parse_stream_chunk(piece) for piece in pieces), parser.parse_stream_end()]
    return "".join(text for text, _ in results), [call for _, calls in results for call in calls]


def whole(text):
    return FunctionCallParser(tools, "llama3").parse_non_stream(text)


boxed = ["It", " is", " \\", "boxed", "{", "5", "}", "."]
seen = [whole("".join(boxed)), streamed(boxed), whole('{"answer": 5}')]
print("version: llm-router-utils", importlib.metadata.version("llm-router-utils"))
print("expected: the text of each answer, and no call")
print("seen, whole:   ", seen[0])
print("seen, streamed:", seen[1])
print('seen, {"answer": 5}:', seen[2])
as_described = seen == [("It is \\boxed{5}.", []), ("It is \\boxed", []), ("", [])]
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
