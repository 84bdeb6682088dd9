#!/usr/bin/env bash
# Lance's filter `reward > 0.5` keeps the rows whose reward is NaN.
#
# Expected (a guess, made before running): NaN is greater than nothing, as in pyarrow, so the filter leaves it out.
# What happens: NaN is greater than every number, also where the filter is a pyarrow expression, and pyarrow itself leaves it out. A
#   selection of good trajectories by a threshold holds those whose reward failed. `reward < 0.5` leaves NaN and null out.
# Versions: pylance 14.0.2, pyarrow 26.0.1. Date: November 2026.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pylance==14.0.2 pyarrow==26.0.1

"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import importlib.metadata
import math
import sys

import lance
import pyarrow
import pyarrow.compute
import pyarrow.dataset

table = pyarrow.table({"id": [1, 2, 3, 4], "reward": [1.0, math.nan, 0.0, None]})
dataset = lance.write_dataset(table, f"{sys.argv[1]}/rows.lance")
expression = pyarrow.compute.field("reward") > 0.5
seen = {
    "lance, text": dataset.to_table(filter="reward > 0.5")["id"].to_pylist(),
    "lance, expression": dataset.to_table(filter=expression)["id"].to_pylist(),
    "lance, below": dataset.to_table(filter="reward < 0.5")["id"].to_pylist(),
    "pyarrow": pyarrow.dataset.dataset(table).to_table(filter=expression)["id"].to_pylist(),
}
print("version:", {name: importlib.metadata.version(name) for name in ("pylance", "pyarrow")})
print("expected: row 1 alone above 0.5, and row 3 below")
print("seen:", seen)
as_described = seen == {"lance, text": [1, 2], "lance, expression": [1, 2], "lance, below": [3], "pyarrow": [1]}
print("behaviour: as described" if as_described else "behaviour: CHANGED")
raise SystemExit(0 if as_described else 1)
PYTHON
