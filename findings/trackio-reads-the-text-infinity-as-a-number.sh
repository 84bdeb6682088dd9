#!/usr/bin/env bash
# Trackio reads the logged text "Infinity" as the number infinity.
#
# Expected (a guess, made before running): a text that is logged reads back as that text, as "inf" and "5" do.
# What happens: infinity and NaN are stored as the texts "Infinity", "-Infinity" and "NaN", and on reading every such text becomes
#   a number, also one that was logged as a text. The answer "Infinity" to a question about a limit is a float in the log, and the
#   text "NaN" no longer equals itself. Inside a dictionary or a list the texts are kept.
# Versions: trackio 0.43.0. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check trackio==0.43.0

TRACKIO_DIR="$folder/trackio" "$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata

import trackio
from trackio.sqlite_storage import SQLiteStorage

answers = ["Infinity", "-Infinity", "NaN", "inf", "5"]
trackio.init(project="answers", name="run")
for answer in answers:
    trackio.log({"answer": answer})
trackio.log({"record": {"answer": "Infinity", "answers": ["Infinity"]}})
trackio.finish()
rows = SQLiteStorage.get_logs("answers", "run")
seen = [row["answer"] for row in rows[:-1]]
nested = rows[-1]["record"]
print("version: trackio", importlib.metadata.version("trackio"))
print("expected:", answers)
print("seen:    ", seen, "and in a record", nested)
as_described = (str(seen), str(nested)) == ("[inf, -inf, nan, 'inf', '5']", "{'answer': 'Infinity', 'answers': ['Infinity']}")
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
