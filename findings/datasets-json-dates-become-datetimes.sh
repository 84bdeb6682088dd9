#!/usr/bin/env bash
# datasets turns gold answers that are dates into datetime objects.
#
# Expected (a guess, made before running): a JSON text loads as a text: "1969-07-20" stays "1969-07-20".
# What happens: where all values of a column look like dates, lists of aliases included, pyarrow's JSON reader makes timestamps
#   of them, and the row holds `datetime.datetime(1969, 7, 20, 0, 0)`, whose text is "1969-07-20 00:00:00". A single other
#   answer in the file keeps all of them texts. `Dataset.from_list` keeps the text.
# Versions: datasets 5.2.0, pyarrow 26.0.1. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check datasets==5.2.0 pyarrow==26.0.1

"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import datetime
import json
import sys
from pathlib import Path

import datasets

datasets.disable_progress_bars()


def load(rows):
    file = Path(sys.argv[1]) / f"{len(rows)}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return datasets.load_dataset("json", data_files=str(file), split="train", cache_dir=sys.argv[1] + "/cache")[0]["golden_answers"]


rows = [{"golden_answers": ["1969-07-20"]}, {"golden_answers": ["2001-01-01"]}]
dates, mixed = load(rows), load([*rows, {"golden_answers": ["Rome"]}])
in_memory = datasets.Dataset.from_list(rows)[0]["golden_answers"]
print("version: datasets", datasets.__version__)
print("expected:                       ", rows[0]["golden_answers"])
print("seen, all answers are dates:    ", dates)
print("seen, with one answer 'Rome':   ", mixed)
print("seen with Dataset.from_list:    ", in_memory)
as_described = dates == [datetime.datetime(1969, 7, 20)] and mixed == in_memory == ["1969-07-20"]
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
