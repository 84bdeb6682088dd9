#!/usr/bin/env bash
# polars turns a list of answers into a text when another row holds one answer.
#
# Expected (a guess, made before running): an NDJSON column that holds a text in one row and a list of texts in another is
#   refused, as pyarrow refuses it, or the single text becomes a list of one.
# What happens: the list becomes the text of a JSON list, `["Rome", "Roma"]`, in a column of texts: one gold answer that no
#   prediction equals, without an error.
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

rows = [{"answer": "Paris"}, {"answer": ["Rome", "Roma"]}]
file = Path(sys.argv[1]) / "questions.jsonl"
file.write_text("".join(json.dumps(row) + "\n" for row in rows))
frame = polars.read_ndjson(file)
print("version: polars", polars.__version__)
print("expected: an error, or", [["Paris"], ["Rome", "Roma"]])
print("seen:    ", frame["answer"].to_list(), frame["answer"].dtype)
as_described = frame["answer"].to_list() == ["Paris", '["Rome", "Roma"]']
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
