#!/usr/bin/env bash
# datasets.Dataset.from_list drops every key that the first row lacks.
#
# Expected (a guess, made before running): a key that only later rows have becomes a column with None in the first row, as in
#   the JSON loader, or an error.
# What happens: the first row's keys are the columns. A key of a later row is dropped without an error or a warning, so a list
#   of records whose first has no `error` field loses all errors. `load_dataset("json")` on the same rows keeps the column.
# Versions: datasets 5.2.0, pyarrow 26.0.1. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check datasets==5.2.0 pyarrow==26.0.1

"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import json
import sys
from pathlib import Path

import datasets

datasets.disable_progress_bars()
rows = [{"id": "q1", "reward": 1.0}, {"id": "q2", "reward": 0.0, "error": "timeout"}]
file = Path(sys.argv[1]) / "rows.jsonl"
file.write_text("".join(json.dumps(row) + "\n" for row in rows))
from_list = datasets.Dataset.from_list(rows)
from_file = datasets.load_dataset("json", data_files=str(file), split="train", cache_dir=sys.argv[1] + "/cache")
print("version: datasets", datasets.__version__)
print("expected:            ", rows[1])
print("seen with from_list: ", from_list[1])
print("seen with the loader:", from_file[1])
as_described = from_list[1] == {"id": "q2", "reward": 0.0} and from_file[1] == rows[1]
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
