#!/usr/bin/env bash
# polars drops a column that first appears late in an NDJSON file.
#
# Expected (a guess, made before running): a field that first appears beyond the rows from which polars infers the schema
#   becomes a column, or an error, as a late value of another type is.
# What happens: `read_ndjson` returns the frame without the column: no error, no warning. A log whose first failure comes after
#   row 100 has no failures. A late float in a column of integers, in contrast, is an error. `infer_schema_length=None` keeps
#   the column.
# Versions: polars 2.1.0. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check polars==2.1.0

"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import json
import sys
from pathlib import Path

import polars

file = Path(sys.argv[1]) / "log.jsonl"


def columns(rows, **options):
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    try:
        return polars.read_ndjson(file, **options).columns
    except polars.exceptions.ComputeError as error:
        return f"ComputeError: {error}"


late_column = [{"reward": 1}] * 1500 + [{"reward": 0, "error": "timeout"}]
late_float = [{"reward": 1}] * 1500 + [{"reward": 0.5}]
seen, whole, refused = columns(late_column), columns(late_column, infer_schema_length=None), columns(late_float)
print("version: polars", polars.__version__)
print("expected:                     ", ["reward", "error"], "or an error")
print("seen:                         ", seen)
print("with infer_schema_length=None:", whole)
print("a late float:                 ", refused)
as_described = seen == ["reward"] and whole == ["reward", "error"] and "cannot parse" in refused
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
