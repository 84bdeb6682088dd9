#!/usr/bin/env bash
# LlamaIndex reads an unquoted 12:30 in a model's JSON as 750.
#
# Expected (a guess, made before running): an object that is not quite JSON is an error, or its unquoted value is a text.
# What happens: what the JSON reader refuses is read as YAML 1.1, where 12:30 is a number to the base of 60, 010 is 8, `no` is
#   False, and a date is a date. The answer `1,000` is 1, with a key 0 beside it. The same object with the value in quotes is right.
# Versions: llama-index-core 0.14.25, PyYAML 6.0.4. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check llama-index-core==0.14.25 PyYAML==6.0.4

"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata

from llama_index.core.output_parsers.utils import parse_json_markdown

values = ["12:30", "1:02:03", "010", "no", "1,000", '"12:30"']
seen = [parse_json_markdown('{"answer": %s}' % value) for value in values]
print("version:", {name: importlib.metadata.version(name) for name in ("llama-index-core", "PyYAML")})
print("expected: an error, or the value as a text")
for value, read in zip(values, seen, strict=True):
    print(f"seen: {value} is read as {read}")
as_described = [read["answer"] for read in seen] == [750, 3723, 8, False, 1, "12:30"]
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
