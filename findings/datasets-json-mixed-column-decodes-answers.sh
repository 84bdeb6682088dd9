#!/usr/bin/env bash
# datasets reads the text of an answer as JSON when one other row holds a number.
#
# Expected (a guess, made before running): a JSONL column with texts and one number is refused, as pyarrow refuses it, or all
#   rows become texts. In either case the text "12" stays a text.
# What happens: the column becomes `Json(decode=True)`, and every text that happens to be JSON is decoded: "12" becomes 12,
#   "007" becomes 7, "null" becomes None, "true" becomes True. Without the number in the last row all of them stay texts.
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


def load(answers):
    file = Path(sys.argv[1]) / f"{len(answers)}.jsonl"
    file.write_text("".join(json.dumps({"answer": answer}) + "\n" for answer in answers))
    return datasets.load_dataset("json", data_files=str(file), split="train", cache_dir=sys.argv[1] + "/cache")


texts = ["12", "007", "null", "true", "Paris"]
alone, mixed = load(texts), load([*texts, 13])
print("version: datasets", datasets.__version__)
print("expected:                ", texts, "or an error")
print("seen without a number:   ", alone["answer"][:])
print("seen with 13 in row six: ", mixed["answer"][:], mixed.features)
as_described = alone["answer"][:] == texts and mixed["answer"][:] == [12, 7, None, True, "Paris", 13]
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
