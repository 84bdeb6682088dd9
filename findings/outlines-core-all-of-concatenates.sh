#!/usr/bin/env bash
# outlines-core reads `allOf` as one value after another.
#
# Expected (a guess, made before running): `allOf` accepts a value that meets every schema in it, as JSON Schema says, or is
#   refused as `not` is.
# What happens: the regular expressions of the members are joined in a row: `allOf` of two string schemas accepts `"a""b"` and
#   refuses `"a"`.
# Versions: outlines-core 0.2.14. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check outlines-core==0.2.14

"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import importlib.metadata
import json
import re

from outlines_core.json_schema import build_regex_from_schema


def accepts(schema, text):
    return re.fullmatch(build_regex_from_schema(json.dumps(schema)), text) is not None


def is_json(text):
    try:
        json.loads(text)
    except json.JSONDecodeError:
        return False
    return True


schema = {"allOf": [{"type": "string"}, {"type": "string", "maxLength": 3}]}
texts = ['"a"', '"a""b"']
print("version: outlines-core", importlib.metadata.version("outlines-core"))
print("expected: whatever the regular expression accepts is JSON")
for text in texts:
    print(f"{text}: accepted {accepts(schema, text)}, is JSON {is_json(text)}")
as_described = [accepts(schema, text) for text in texts] == [False, True] and not is_json(texts[1])
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
