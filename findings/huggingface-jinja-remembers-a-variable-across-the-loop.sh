#!/usr/bin/env bash
# Hugging Face's Jinja for JavaScript carries a variable from one message to the next.
#
# Expected (a guess, made before running): what a chat template sets inside a loop over the messages lasts for that message, as in
#   jinja2.
# What happens: it lasts to the end of the loop. A template that sets a variable for some messages only (for those with a call,
#   say) writes it for all the later ones too, so the prompt of a conversation with tools differs from the one in training.
# Versions: @huggingface/jinja 0.5.11 on Node.js 20, jinja2 3.1.6. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check jinja2==3.1.6
npm install --silent --no-audit --no-fund --prefix "$folder" @huggingface/jinja@0.5.11

"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import importlib.metadata
import json
import subprocess
import sys

import jinja2

script = """
const {Template} = require("@huggingface/jinja");
const [template, messages] = JSON.parse(process.argv[1]);
console.log(JSON.stringify(new Template(template).render({messages})));
"""
template = (
    "{% for message in messages %}"
    "{% if message.tool_calls %}{% set suffix = ' [calls a tool]' %}{% endif %}"
    "<{{ message.role }}{{ suffix }}>"
    "{% endfor %}"
)
messages = [
    {"role": "user"},
    {"role": "assistant", "tool_calls": [{"name": "search"}]},
    {"role": "tool"},
    {"role": "assistant"},
]
case = json.dumps([template, messages])
output = subprocess.run(["node", "-e", script, case], cwd=sys.argv[1], check=True, capture_output=True, text=True)
seen = json.loads(output.stdout)
expected = jinja2.Template(template).render(messages=messages)
print("version: @huggingface/jinja 0.5.11 and jinja2", importlib.metadata.version("jinja2"))
print("expected (jinja2):", expected)
print("seen:             ", seen)
mark = " [calls a tool]"
ends = [f"<user><assistant{mark}><tool><assistant>", f"<user><assistant{mark}><tool{mark}><assistant{mark}>"]
as_described = [expected, seen] == ends
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
