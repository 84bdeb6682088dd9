#!/usr/bin/env bash
# toonify writes texts that look like numbers without quotes, and reads them as numbers.
#
# Expected (a guess, made before running): a record reads back as it was, since the format quotes a text that would be read as
#   another type, as toonify does for "true" and "null" at the top level.
# What happens: "00501" is written as 00501 and read as 501; "1e3" is 1000.0 and "1_000" is 1000. In the prompt the text and the
#   number look alike, in objects, lists and rows, and in rows the text "null" is None. A gold answer or an identifier that passes
#   through is another one.
# Versions: toonify 1.6.0. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check toonify==1.6.0

"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata

from toon import decode, encode

records = [
    {"zip": "00501"},
    {"answer": "1e3"},
    {"answer": "1_000"},
    {"answers": [1, "1"]},
    {"rows": [{"answer": "05"}, {"answer": "null"}]},
    {"answer": "true"},
    {"answer": "null"},
]
seen = [decode(encode(record)) for record in records]
print("version: toonify", importlib.metadata.version("toonify"))
print("expected: each record reads back equal")
for record, read in zip(records, seen, strict=True):
    print(f"seen: {record} is written as {encode(record)!r} and read as {read}")
as_described = seen == [
    {"zip": 501},
    {"answer": 1000.0},
    {"answer": 1000},
    {"answers": [1, 1]},
    {"rows": [{"answer": 5}, {"answer": None}]},
    {"answer": "true"},
    {"answer": "null"},
]
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
