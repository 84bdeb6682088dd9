#!/usr/bin/env bash
# outlines-core puts a schema's `pattern` between quotes as it stands.
#
# Expected (a guess, made before running): generation under a JSON schema gives JSON: characters that JSON must escape (the
#   quote, the backslash, a line break) are escaped or left out where a pattern such as `.` would match them.
# What happens: the pattern is put into the regular expression unchanged, so `^.+$` accepts a bare quote or backslash, and the
#   "guaranteed" JSON does not parse. llguidance, asked the same, refuses both texts.
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


schema = {"type": "string", "pattern": "^.+$"}
texts = ['"Rome"', '"the "Eternal" City"', r'"C:\dir"']
print("version: outlines-core", importlib.metadata.version("outlines-core"))
print("expected: whatever the regular expression accepts is JSON")
for text in texts:
    print(f"{text}: accepted {accepts(schema, text)}, is JSON {is_json(text)}")
as_described = [accepts(schema, text) for text in texts] == [True] * 3 and [is_json(text) for text in texts] == [True, False, False]
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
