#!/usr/bin/env bash
# SGLang's parser for Python-like tool calls drops a call that has a negative number.
#
# Expected (a guess, made before running): [shift(days=-1)] is a call with the argument -1, as [shift(days=1)] is one with 1.
# What happens: the call is dropped, and so is its text: the message is empty and has no call, as though the model had been silent.
#   Beside other calls, it alone is missing. Llama 4 and other models write their calls like this. An episode ends
#   there, or continues with one result less than the model asked for.
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
import json
import logging

from llm_router_utils.sglang.srt.entrypoints.openai.protocol import Tool
from llm_router_utils.sglang.srt.function_call.function_call_parser import FunctionCallParser

logging.disable(logging.CRITICAL)
parameters = {"type": "object", "properties": {"days": {"type": "integer"}}}
tools = [Tool.model_validate({"type": "function", "function": {"name": "shift", "parameters": parameters}})]


def parsed(answer):
    text, calls = FunctionCallParser(tools, "pythonic").parse_non_stream(answer)
    return text, [(call.name, json.loads(call.parameters)) for call in calls]


answers = ["[shift(days=1)]", "[shift(days=-1)]", "[shift(days=1), shift(days=-1)]"]
seen = [parsed(answer) for answer in answers]
print("version: llm-router-utils", importlib.metadata.version("llm-router-utils"))
print("expected: one call, one call with -1, and two calls")
for answer, result in zip(answers, seen, strict=True):
    print(f"seen, {answer}:", result)
one = ("shift", {"days": 1})
as_described = seen == [("", [one]), ("", []), ("", [one])]
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
