#!/usr/bin/env bash
# json_repair keeps an unquoted `1/2` or `2026-11-28` whole and cuts `12:30` or `50%`.
#
# Expected (a guess, made before running): a value without quotes that is no number becomes a text as a whole, as `1/2`,
#   `2026-11-28`, `1,000` and `1.10.2` do.
# What happens: `12:30` becomes the number 12, and `50%`, `$5`, `5 km` become 50, 5 and 5. A reward that compares the number
#   counts `5 km` and `5 m` as equal. No error, and the repair log is silent by default.
# Versions: json_repair 0.64.6. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check json-repair==0.64.6

"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import importlib.metadata

import json_repair

values = ["1/2", "2026-11-28", "1,000", "12:30", "50%", "$5", "5 km"]
seen = {value: json_repair.loads(f'{{"answer": {value}}}')["answer"] for value in values}
print("version: json_repair", importlib.metadata.version("json_repair"))
print("expected:", {value: value for value in values})
print("seen:    ", seen)
as_described = list(seen.values()) == ["1/2", "2026-11-28", "1,000", 12, 50, 5, 5]
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
