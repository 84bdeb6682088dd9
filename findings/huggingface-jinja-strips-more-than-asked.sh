#!/usr/bin/env bash
# Hugging Face's Jinja for JavaScript strips all white space where a chat template asks for line breaks only.
#
# Expected (a guess, made before running): `strip("\n")` cuts line breaks and keeps spaces, as in jinja2. Qwen's templates write
#   their answers with it.
# What happens: the argument of `strip`, `lstrip` and `rstrip` is ignored, so the indent of an answer's first line and the spaces
#   at its end are cut too, and `strip("x")` cuts no x. A browser or a Node.js server gives the model another prompt than training
#   did.
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
const cases = JSON.parse(process.argv[1]);
console.log(JSON.stringify(cases.map(([template, text]) => new Template(template).render({text}))));
"""
answer = "\n    return total  \n"
cases = [
    ("{{ text.strip('\\n') }}", answer),
    ("{{ text.lstrip('\\n') }}", answer),
    ("{{ text.rstrip('\\n') }}", answer),
    ("{{ text.split('</think>')[-1].lstrip('\\n') }}", f"<think>\nSum up.\n</think>\n{answer}"),
    ("{{ text.strip('*') }}", "**Paris**"),
]
output = subprocess.run(["node", "-e", script, json.dumps(cases)], cwd=sys.argv[1], check=True, capture_output=True, text=True)
seen = json.loads(output.stdout)
expected = [jinja2.Template(template).render(text=text) for template, text in cases]
print("version: @huggingface/jinja 0.5.11 and jinja2", importlib.metadata.version("jinja2"))
for (template, _), wanted, got in zip(cases, expected, seen, strict=True):
    print(f"{template}: expected (jinja2): {wanted!r}, seen: {got!r}")
ends = ["return total", "return total  \n", "\n    return total", "return total  \n", "**Paris**"]
as_described = seen == ends and all(wanted != got for wanted, got in zip(expected, seen, strict=True))
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
