#!/usr/bin/env bash
# json_repair strips the line breaks at the end of every text as soon as anything needs repair.
#
# Expected (a guess, made before running): what is valid stays as it is: in `{"code": "x = 1\n",}` only the last comma goes.
# What happens: the text loses its trailing line breaks and the blanks before them although it needed no repair. The same object
#   without the comma keeps them, so a file that a model writes through a tool call ends in a line break or not by a comma
#   elsewhere. Leading line breaks stay.
# Versions: json_repair 0.64.6. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check json-repair==0.64.6

"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import importlib.metadata

import json_repair

valid = r'{"path": "a.py", "code": "\nx = 1\n\n"}'
broken = valid[:-1] + ",}"
expected = {"path": "a.py", "code": "\nx = 1\n\n"}
print("version: json_repair", importlib.metadata.version("json_repair"))
print("expected:               ", expected)
print("seen, valid:            ", json_repair.loads(valid))
print("seen, one comma too many:", json_repair.loads(broken))
as_described = json_repair.loads(valid) == expected and json_repair.loads(broken) == {**expected, "code": "\nx = 1"}
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
